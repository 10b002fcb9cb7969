//! Reads every configuration key after a connect: whose it is, who wrote it, and which revision.

use std::time::Duration;

use hostwatch_bus::{Error, Link};
use hostwatch_wire::{Names, ServerBody, ServerMessage};
use tracing::warn;

use crate::fleet::FoundKey;

/// So many values are held at once.
const CHUNK: usize = 500;
/// The pause before Redis is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads all keys; tries again until it succeeds. To be dropped when the link is lost.
pub(crate) async fn read_all(link: &Link, names: &Names) -> Vec<FoundKey> {
    loop {
        match try_read_all(link, names).await {
            Ok(found) => return found,
            Err(error) => {
                warn!("the configuration keys could not be read and are tried again: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_read_all(link: &Link, names: &Names) -> Result<Vec<FoundKey>, Error> {
    let keys = link.scan(&names.config_key_pattern()).await?;
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        let values = link.get_all(chunk).await?;
        for (key, value) in chunk.iter().zip(values) {
            // A key that vanished meanwhile is none, and one that is not ours to write is left alone.
            let (Some(value), Some(host)) = (value, names.host_of_config_key(key)) else { continue };
            let config = match ServerMessage::decode(&value) {
                Ok(ServerMessage { server, body: ServerBody::Config(config), .. }) => Some((server, config.revision)),
                _ => None,
            };
            found.push(FoundKey { host, config });
        }
    }
    Ok(found)
}
