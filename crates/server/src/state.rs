//! The state directory: the server's lasting identity, and the fleet and its alerts as they were.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hostwatch_daemon::files;
use hostwatch_wire::ServerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::fleet::Saved;
use crate::judge::SavedAlerts;

/// The first byte of a saved file: a later format has another one.
const FORMAT: u8 = 1;

/// What survives the server, and where.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the state directory {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// This server's lasting identity, drawn at the first start.
    ///
    /// # Errors
    /// When it can neither be read nor written: without it every restart would look like another server.
    pub(crate) fn server_id(&self) -> anyhow::Result<ServerId> {
        let file = self.path.join("server-id");
        let context = || format!("cannot keep this server's identity in {}", file.display());
        match std::fs::read_to_string(&file) {
            Ok(text) => match u64::from_str_radix(text.trim(), 16) {
                Ok(id) => return Ok(ServerId(id)),
                Err(_) => set_aside(&file),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(context),
        }
        let id = ServerId(rand::random());
        files::write_atomically(&file, format!("{id}\n").as_bytes()).with_context(context)?;
        Ok(id)
    }

    /// The fleet as it was saved; an empty one at the first start. A damaged file is set aside.
    ///
    /// # Errors
    /// When there is a file that cannot be read: it would be overwritten.
    pub(crate) fn load_fleet(&self) -> anyhow::Result<Saved> {
        self.load("fleet.state")
    }

    /// Writes the fleet. It waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is then still there.
    pub(crate) fn save_fleet(&self, saved: &Saved) -> anyhow::Result<()> {
        self.save("fleet.state", saved)
    }

    /// The alerts as they were saved; none at the first start. A damaged file is set aside.
    ///
    /// # Errors
    /// When there is a file that cannot be read: it would be overwritten.
    pub(crate) fn load_alerts(&self) -> anyhow::Result<SavedAlerts> {
        self.load("alerts.state")
    }

    /// Writes the alerts. It waits for the disk.
    ///
    /// # Errors
    /// When they cannot be written; what was there before is then still there.
    pub(crate) fn save_alerts(&self, saved: &SavedAlerts) -> anyhow::Result<()> {
        self.save("alerts.state", saved)
    }

    fn load<T: DeserializeOwned + Default>(&self, name: &str) -> anyhow::Result<T> {
        let file = self.path.join(name);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                info!("there is no {} yet: starting without", file.display());
                return Ok(T::default());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let saved = bytes.strip_prefix(&[FORMAT]).and_then(|body| rmp_serde::from_slice(body).ok());
        Ok(saved.unwrap_or_else(|| {
            set_aside(&file);
            T::default()
        }))
    }

    fn save(&self, name: &str, saved: &impl Serialize) -> anyhow::Result<()> {
        let mut bytes = vec![FORMAT];
        rmp_serde::encode::write_named(&mut bytes, saved).with_context(|| format!("cannot encode {name}"))?;
        let file = self.path.join(name);
        files::write_atomically(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn set_aside(file: &Path) {
    match files::set_aside(file) {
        Ok(aside) => warn!("{} is damaged and was set aside as {}", file.display(), aside.display()),
        Err(error) => warn!("{} is damaged and cannot be set aside: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let open = || StateDirectory::open(&directory.path().join("deep/state")).unwrap();
        let id = open().server_id().unwrap();
        assert_eq!(open().server_id().unwrap(), id);
    }

    #[test]
    fn a_damaged_fleet_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        assert_eq!(state.load_fleet().unwrap(), Saved::default());
        state.save_fleet(&Saved::default()).unwrap();
        assert_eq!(state.load_fleet().unwrap(), Saved::default());
        for damage in [&b"\x01\xC1"[..], b"", b"\xFFx"] {
            std::fs::write(directory.path().join("fleet.state"), damage).unwrap();
            assert_eq!(state.load_fleet().unwrap(), Saved::default());
            assert!(!directory.path().join("fleet.state").exists());
        }
        std::fs::create_dir(directory.path().join("fleet.state")).unwrap();
        assert!(state.load_fleet().is_err(), "what cannot be read is not overwritten");
    }
}
