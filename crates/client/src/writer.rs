//! Writes files off the main loop, each by a task of its own: only the newest content counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::Shutdown;
use tokio::sync::watch;

/// A write that failed is tried again this often: the configuration changes rarely, and a full disk gets room again.
const RETRY: Duration = Duration::from_secs(60);

/// What a file is to hold; nothing as long as nobody has said.
pub(crate) type Content = Option<Arc<[u8]>>;

/// How a file is written.
pub(crate) type Write = fn(&Path, &[u8]) -> std::io::Result<()>;

/// Has `write` keep the file at `path` at the newest `content` until `shutdown`, whose last content is still written.
pub(crate) async fn keep_written(
    path: PathBuf,
    write: Write,
    mut content: watch::Receiver<Content>,
    shutdown: Shutdown,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            // New content goes before the end.
            biased;
            Ok(()) = content.changed() => {}
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY), if failing => {}
        }
        let Some(bytes) = content.borrow_and_update().clone() else { continue };
        let file = path.clone();
        let outcome = tokio::task::spawn_blocking(move || write(&file, &bytes)).await;
        let outcome = outcome.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        match &outcome {
            Ok(()) if failing => tracing::info!("{} can be written again", path.display()),
            Err(error) if !failing => tracing::warn!("cannot write {}: {error}", path.display()),
            _ => {}
        }
        failing = outcome.is_err();
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_daemon::{Tasks, files};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_failed_is_tried_again_and_the_last_content_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/config");
        let (content, receiver) = watch::channel(None);
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        let writer = keep_written(path.clone(), files::replace, receiver, shutdown);
        tasks.spawn("writer", async move {
            writer.await;
            Ok(())
        });
        content.send_replace(Some(Arc::from(*b"first")));
        tokio::time::sleep(RETRY / 2).await;
        std::fs::create_dir(directory.path().join("state")).unwrap();
        assert!(!path.exists());
        tokio::time::sleep(RETRY).await;
        assert_eq!(std::fs::read(&path).unwrap(), b"first");

        content.send_replace(Some(Arc::from(*b"last")));
        tasks.drain(RETRY).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"last");
    }
}
