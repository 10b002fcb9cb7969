//! The state directory: the server's lasting identity, and the fleet and its alerts as they were.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hostwatch_daemon::files;
use hostwatch_daemon::sealed::{Broken, Kind};
use hostwatch_wire::ServerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::fleet::Saved;
use crate::judge::SavedAlerts;

const FLEET: Kind = Kind { program: "hostwatch-server", name: "fleet", version: 1 };
const ALERTS: Kind = Kind { program: "hostwatch-server", name: "alerts", version: 1 };

/// What a file holds: the state of the server that wrote it.
#[derive(Serialize, Deserialize)]
struct Content<T> {
    server: ServerId,
    state: T,
}

/// What survives the server, and where.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    server: ServerId,
}

impl StateDirectory {
    /// Makes the directory if it is not there, and draws the server's identity if it has none yet.
    ///
    /// # Errors
    /// When the directory cannot be made, or the identity neither be read nor written: without it every restart would look
    /// like another server.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the state directory {}", path.display()))?;
        Ok(Self { path: path.to_owned(), server: server_id(&path.join("server-id"))? })
    }

    /// This server's lasting identity.
    #[must_use]
    pub(crate) fn server_id(&self) -> ServerId {
        self.server
    }

    /// The fleet as it was saved; an empty one at the first start. A file that is damaged, or another server's, is set
    /// aside.
    ///
    /// # Errors
    /// When there is a file that cannot be read: it would be overwritten.
    pub(crate) fn load_fleet(&self) -> anyhow::Result<Saved> {
        self.load(&FLEET)
    }

    /// Writes the fleet. It waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is then still there.
    pub(crate) fn save_fleet(&self, saved: &Saved) -> anyhow::Result<()> {
        self.save(&FLEET, saved)
    }

    /// The alerts as they were saved; none at the first start. A file that is damaged, or another server's, is set aside.
    ///
    /// # Errors
    /// When there is a file that cannot be read: it would be overwritten.
    pub(crate) fn load_alerts(&self) -> anyhow::Result<SavedAlerts> {
        self.load(&ALERTS)
    }

    /// Writes the alerts. It waits for the disk.
    ///
    /// # Errors
    /// When they cannot be written; what was there before is then still there.
    pub(crate) fn save_alerts(&self, saved: &SavedAlerts) -> anyhow::Result<()> {
        self.save(&ALERTS, saved)
    }

    fn load<T: DeserializeOwned + Default>(&self, kind: &Kind) -> anyhow::Result<T> {
        let file = self.file(kind);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                info!("there is no {} yet: starting without", file.display());
                return Ok(T::default());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        Ok(self.parse(kind, &bytes).unwrap_or_else(|error| {
            set_aside(&file, &error);
            T::default()
        }))
    }

    fn parse<T: DeserializeOwned>(&self, kind: &Kind, bytes: &[u8]) -> Result<T, Broken> {
        let content = rmp_serde::from_slice(kind.open(bytes)?);
        let Content { server, state } = content.map_err(|error| Broken::Content(error.to_string()))?;
        if server != self.server {
            return Err(Broken::Content(format!("it is the {} of server {server}", kind.name)));
        }
        Ok(state)
    }

    fn save(&self, kind: &Kind, state: &impl Serialize) -> anyhow::Result<()> {
        let content = rmp_serde::to_vec_named(&Content { server: self.server, state });
        let content = content.with_context(|| format!("cannot encode the {}", kind.name))?;
        let file = self.file(kind);
        files::write_atomically(&file, &kind.seal(&content)).with_context(|| format!("cannot write {}", file.display()))
    }

    fn file(&self, kind: &Kind) -> PathBuf {
        self.path.join(kind.name).with_extension("state")
    }
}

/// The identity in `file`, drawn when there is none.
fn server_id(file: &Path) -> anyhow::Result<ServerId> {
    let context = || format!("cannot keep this server's identity in {}", file.display());
    match std::fs::read_to_string(file) {
        Ok(text) => match u64::from_str_radix(text.trim(), 16) {
            Ok(id) => return Ok(ServerId(id)),
            Err(_) => set_aside(file, &"it is no identity"),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(context),
    }
    let id = ServerId(rand::random());
    files::write_atomically(file, format!("{id}\n").as_bytes()).with_context(context)?;
    Ok(id)
}

fn set_aside(file: &Path, why: &dyn fmt::Display) {
    match files::set_aside(file) {
        Ok(aside) => warn!("{} is not used: {why}; it is {} now", file.display(), aside.display()),
        Err(error) => warn!("{} is not used: {why}; cannot set it aside: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let open = || StateDirectory::open(&directory.path().join("deep/state")).unwrap();
        let id = open().server_id();
        assert_eq!(open().server_id(), id);
        std::fs::write(directory.path().join("deep/state/server-id"), "who?").unwrap();
        assert_ne!(open().server_id(), id);
    }

    #[test]
    fn what_is_damaged_or_of_another_server_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("alerts.state");
        let state = StateDirectory::open(directory.path()).unwrap();
        let (kind, value) = (&ALERTS, vec![1_u8, 2, 3]);
        assert_eq!(state.load::<Vec<u8>>(kind).unwrap(), [0; 0]);
        state.save(kind, &value).unwrap();
        assert_eq!(state.load::<Vec<u8>>(kind).unwrap(), value);
        let bytes = std::fs::read(&file).unwrap();
        let mut turned = bytes.clone();
        *turned.last_mut().unwrap() ^= 1;
        let unreadable = kind.seal(b"\xC1");
        let foreign = kind.seal(&rmp_serde::to_vec_named(&Content { server: ServerId(1), state: &value }).unwrap());
        for damage in [&bytes[..bytes.len() - 1], b"", &turned, &unreadable, &foreign] {
            std::fs::write(&file, damage).unwrap();
            assert_eq!(state.load::<Vec<u8>>(kind).unwrap(), [0; 0]);
            assert!(!file.exists());
        }
        std::fs::create_dir(&file).unwrap();
        assert!(state.load_alerts().is_err(), "what cannot be read is not overwritten");
        assert_eq!(state.load_fleet().unwrap(), Saved::default());
    }
}
