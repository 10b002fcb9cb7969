//! Writes files off the main loop, each by a task of its own: only the newest content counts.

use std::path::PathBuf;
use std::sync::Arc;

use hostwatch_daemon::{Shutdown, files};
use tokio::sync::watch;

/// What a file is to hold; nothing as long as nobody has said.
pub(crate) type Content = Option<Arc<[u8]>>;

/// Keeps the file at `path` at the newest `content` until `shutdown`, whose last content is still written.
pub(crate) async fn keep_written(path: PathBuf, mut content: watch::Receiver<Content>, shutdown: Shutdown) {
    let mut failing = false;
    loop {
        let changed = shutdown.run_until_cancelled(content.changed()).await;
        let is_over = !matches!(changed, Some(Ok(())));
        if is_over && !content.has_changed().unwrap_or(false) {
            return shutdown.cancelled().await;
        }
        let Some(bytes) = content.borrow_and_update().clone() else { continue };
        let file = path.clone();
        let outcome = tokio::task::spawn_blocking(move || files::write_atomically(&file, &bytes)).await;
        let outcome = outcome.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        match &outcome {
            Ok(()) if failing => tracing::info!("{} can be written again", path.display()),
            Err(error) if !failing => tracing::warn!("cannot write {}: {error}", path.display()),
            _ => {}
        }
        failing = outcome.is_err();
    }
}
