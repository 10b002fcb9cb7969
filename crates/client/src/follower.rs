//! Follows the link to Redis: after each connection it reads the retained configuration, and only then tells the main
//! loop that the link is up. The commands channel is subscribed by then, so that no change falls between the two.

use std::sync::Arc;

use hostwatch_bus::{Link, LinkState};
use hostwatch_daemon::Shutdown;
use tokio::sync::{Notify, mpsc};

/// What became of the link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Connected and subscribed; with the value of the configuration key, if there is one.
    Up(Option<Vec<u8>>),
    /// The configuration key was read again.
    Config(Option<Vec<u8>>),
    /// The connection is gone.
    Down,
}

/// Follows the link until `shutdown`. `again` asks for another look at the configuration key.
pub(crate) async fn follow(
    link: Link,
    config_key: String,
    again: Arc<Notify>,
    events: mpsc::Sender<LinkEvent>,
    shutdown: Shutdown,
) {
    let work = async {
        let mut state = link.state();
        let mut current = None;
        loop {
            let generation = match *state.borrow_and_update() {
                LinkState::Connected { generation, .. } => Some(generation),
                LinkState::Waiting { .. } => None,
            };
            if generation != current {
                current = generation;
                let event = match generation {
                    Some(_) => LinkEvent::Up(read(&link, &config_key).await),
                    None => LinkEvent::Down,
                };
                if events.send(event).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = again.notified(), if current.is_some() => {
                    if events.send(LinkEvent::Config(read(&link, &config_key).await)).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let _ = shutdown.run_until_cancelled(work).await;
    // The end of the main loop's receiver or of the link's driver is their task's to report.
    shutdown.cancelled().await;
}

/// A refusal is no reason not to join: the server shows which revision is missing, and the log why.
async fn read(link: &Link, key: &String) -> Option<Vec<u8>> {
    match link.get_all(std::slice::from_ref(key)).await {
        Ok(values) => values.into_iter().next().flatten(),
        Err(hostwatch_bus::Error::Disconnected) => None,
        Err(error) => {
            tracing::warn!("cannot read the configuration key {key}: {error}");
            None
        }
    }
}
