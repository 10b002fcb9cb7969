//! The state directory: the last configuration and the ring, from one life of the client to the next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostwatch_daemon::files;
use hostwatch_daemon::sealed::Broken;
use hostwatch_wire::{HostConfig, HostId};

use crate::clock::{Clock, wall_millis};
use crate::ring::Ring;
use crate::settings::Settings;
use crate::{config_file, ring_file};

/// Saving the ring may take so long: 16 MiB on a slow disk, within the 10 s that a stop may take.
const SAVE_LIMIT: Duration = Duration::from_secs(4);

/// Where state is kept.
pub(crate) struct State {
    directory: PathBuf,
}

impl State {
    /// Makes the directories that are missing. A client without them runs, but forgets.
    #[must_use]
    pub(crate) fn open(settings: &Settings) -> Self {
        for directory in [Some(settings.state_directory.as_path()), settings.status_file.parent()].into_iter().flatten()
        {
            if let Err(error) = std::fs::create_dir_all(directory) {
                tracing::warn!("cannot make the directory {}: {error}", directory.display());
            }
        }
        Self { directory: settings.state_directory.clone() }
    }

    /// What an earlier life has left: its configuration, and its reports in `ring`.
    #[must_use]
    pub(crate) fn load(&self, host: &HostId, ring: Ring, clock: Clock) -> (Option<HostConfig>, Ring) {
        let config = read(&self.config_file(), |bytes| config_file::load(bytes, host));
        let (current, limits) = (ring.current(), ring.limits());
        let ring = read(&self.ring_file(), |bytes| ring_file::load(bytes, host, ring, clock.now(), wall_millis()));
        (config, ring.unwrap_or_else(|| Ring::new(current, limits)))
    }

    /// Saves the ring, within a few seconds.
    pub(crate) async fn save(&self, ring: Ring, host: HostId) {
        let (file, reports) = (self.ring_file(), ring.len());
        let shown = file.display().to_string();
        let write = tokio::task::spawn_blocking(move || files::write_atomically(&file, &ring_file::save(&ring, &host)));
        match tokio::time::timeout(SAVE_LIMIT, write).await {
            Ok(Ok(Ok(()))) => tracing::info!("{reports} reports are saved in {shown}"),
            Ok(Ok(Err(error))) => tracing::warn!("cannot save the ring in {shown}: {error}"),
            Ok(Err(error)) => tracing::warn!("cannot save the ring in {shown}: {error}"),
            Err(_) => tracing::warn!("cannot save the ring in {shown} within {SAVE_LIMIT:?}"),
        }
    }

    /// Where the last configuration is kept.
    #[must_use]
    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.join("config")
    }

    fn ring_file(&self) -> PathBuf {
        self.directory.join("ring")
    }
}

/// Reads a file of an earlier life. One that is broken is set aside for people to look at.
fn read<T>(file: &Path, parse: impl FnOnce(&[u8]) -> Result<T, Broken>) -> Option<T> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", file.display());
            return None;
        }
    };
    let error = match parse(&bytes) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    match files::set_aside(file) {
        Ok(aside) => tracing::warn!("{} is not used: {error}; it is {} now", file.display(), aside.display()),
        Err(failure) => tracing::warn!("{} is not used: {error}; cannot set it aside: {failure}", file.display()),
    }
    None
}
