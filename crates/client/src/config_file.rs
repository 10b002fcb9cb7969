//! The last host configuration on disk, from which the client starts when Redis or the server is away.
//! The content is the host's id on a line of its own, then the server's message as it came.

use hostwatch_daemon::sealed::{Broken, Kind};
use hostwatch_wire::{HostConfig, HostId, ServerBody, ServerMessage};

const KIND: Kind = Kind { program: "hostwatch-client", name: "config", version: 1 };

/// The bytes of a file that holds `message`, an encoded server message with a configuration.
#[must_use]
pub(crate) fn save(host: &HostId, message: &[u8]) -> Vec<u8> {
    let mut content = format!("{host}\n").into_bytes();
    content.extend_from_slice(message);
    KIND.seal(&content)
}

/// The configuration that `bytes` hold.
///
/// # Errors
/// When the file is not as [`save`] writes it, or belongs to another host.
pub(crate) fn load(bytes: &[u8], host: &HostId) -> Result<HostConfig, Broken> {
    let content = KIND.open(bytes)?;
    let line = format!("{host}\n");
    let message = content
        .strip_prefix(line.as_bytes())
        .ok_or_else(|| Broken::Content("it is the configuration of another host".to_owned()))?;
    match ServerMessage::decode(message) {
        Ok(ServerMessage { body: ServerBody::Config(config), .. }) => Ok(config),
        Ok(_) => Err(Broken::Content("it holds no configuration".to_owned())),
        Err(error) => Err(Broken::Content(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Life, Revision, ServerId};

    use super::*;

    #[test]
    fn only_this_hosts_configuration_is_loaded() {
        let services = Vec::new();
        let revision = Revision { number: 7, content: HostConfig::content_hash(&services) };
        let config = HostConfig { revision, services };
        let body = ServerBody::Config(config.clone());
        let message = ServerMessage { server: ServerId(1), life: Life(2), body }.encode().unwrap();
        let bytes = save(&"web01".parse().unwrap(), &message);
        assert_eq!(load(&bytes, &"web01".parse().unwrap()), Ok(config));
        assert!(load(&bytes, &"web0".parse().unwrap()).unwrap_err().to_string().contains("another host"));
        assert_eq!(load(&bytes[..bytes.len() - 1], &"web01".parse().unwrap()), Err(Broken::Checksum));
    }
}
