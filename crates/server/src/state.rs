//! The state directory: the server's lasting identity, and the fleet as it was.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hostwatch_daemon::files;
use hostwatch_wire::ServerId;
use tracing::{info, warn};

use crate::fleet::Saved;

/// The first byte of the saved fleet: a later format has another one.
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

    /// The fleet as it was saved; an empty one at the first start. A file that cannot be read is set aside.
    #[must_use]
    pub(crate) fn load_fleet(&self) -> Saved {
        let file = self.fleet_file();
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                info!(file = %file.display(), "no saved fleet: starting with an empty one");
                return Saved::default();
            }
            Err(error) => {
                warn!(file = %file.display(), %error, "the saved fleet cannot be read");
                return Saved::default();
            }
        };
        let saved = bytes.strip_prefix(&[FORMAT]).and_then(|body| rmp_serde::from_slice(body).ok());
        saved.unwrap_or_else(|| {
            set_aside(&file);
            Saved::default()
        })
    }

    /// Writes the fleet. It waits for the disk.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is then still there.
    pub(crate) fn save_fleet(&self, saved: &Saved) -> anyhow::Result<()> {
        let mut bytes = vec![FORMAT];
        rmp_serde::encode::write_named(&mut bytes, saved).context("cannot encode the fleet")?;
        let file = self.fleet_file();
        files::write_atomically(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))
    }

    fn fleet_file(&self) -> PathBuf {
        self.path.join("fleet.state")
    }
}

fn set_aside(file: &Path) {
    match files::set_aside(file) {
        Ok(aside) => {
            warn!(file = %file.display(), aside = %aside.display(), "a state file is damaged and was set aside")
        }
        Err(error) => warn!(file = %file.display(), %error, "a state file is damaged and cannot be set aside"),
    }
}
