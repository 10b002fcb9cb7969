//! Notices that `web.yml` or a file that it names has changed, and reads them again.

use std::path::PathBuf;
use std::sync::Arc;

use hostwatch_daemon::settings::{MistakeList, Mistakes};

use super::witness::{Look, Witness};
use super::{Gate, WebConfig};

/// Looks at the files as often as its owner calls it: once a second is enough for people, and costs four calls of stat.
#[derive(Debug)]
pub(crate) struct Watch {
    gate: Arc<Gate>,
    /// The last look, if the files were not as they had been read.
    changing: Option<Vec<Look>>,
    /// What was in force when the last reading failed, and the files of that reading: it is not repeated until one of
    /// them changes.
    failed: Option<(Arc<WebConfig>, Witness)>,
}

/// What a look has led to.
#[derive(Debug)]
pub(crate) enum Change {
    /// The files have changed, and what they say now is in force.
    Applied(PathBuf),
    /// They have changed, and there are mistakes in them; what was in force stays so.
    Refused(MistakeList),
}

impl Watch {
    /// Over what is in force at `gate`.
    #[must_use]
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, changing: None, failed: None }
    }

    /// Reads the files again if they have changed since they were last read, and are the same as at the last look: one
    /// that is still being written may be half of what it will be.
    pub(crate) fn look(&mut self) -> Option<Change> {
        let in_force = self.gate.config();
        let file = in_force.file.clone()?;
        // A reload has read them meanwhile.
        self.failed.take_if(|(config, _)| !Arc::ptr_eq(config, &in_force));
        let witness = self.failed.as_ref().map_or(&in_force.witness, |(_, witness)| witness);
        let now = witness.now();
        if now == witness.then() {
            self.changing = None;
            return None;
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return None;
        }
        self.changing = None;
        let (mistakes, mut witness) = (Mistakes::default(), Witness::default());
        let config = WebConfig::read(&file, &mut witness, &mistakes);
        match mistakes.into_result() {
            Ok(()) => {
                self.gate.put(config);
                self.failed = None;
                Some(Change::Applied(file.value))
            }
            Err(mistakes) => {
                self.failed = Some((in_force, witness));
                Some(Change::Refused(mistakes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hostwatch_daemon::settings::{Document, Environment, Located};

    use super::*;
    use crate::metrics::Metrics;

    const USERS: &str = "basic_auth_users:\n  bob: $2b$04$v62KeX.5E7mP1LkLcHjuZevaSidmd5QnpZPXcvmrhDmw2YEg9Du/C\n";

    fn located(file: &Path) -> Located<PathBuf> {
        let (mistakes, environment) = (Mistakes::default(), Environment::none());
        let text = format!("config_file = {file:?}\n");
        let document = Document::parse(Path::new("server.toml"), &text, &mistakes);
        let file = document.root(&environment, &mistakes).string("config_file").unwrap();
        file.map(PathBuf::from)
    }

    /// What each of so many looks has led to, in a word.
    fn looks(watch: &mut Watch, count: usize) -> Vec<&'static str> {
        let look = |_| match watch.look() {
            None => "nothing",
            Some(Change::Applied(_)) => "applied",
            Some(Change::Refused(_)) => "refused",
        };
        (0..count).map(look).collect()
    }

    #[test]
    fn a_change_is_taken_once_when_it_has_settled() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write(USERS);
        let config = WebConfig::load(&located(&file), &Mistakes::default());
        let gate = Gate::new(config, &Metrics::new().unwrap());
        let mut watch = Watch::new(Arc::clone(&gate));
        assert_eq!(looks(&mut watch, 2), ["nothing"; 2]);

        write("http_server_config:\n  headers:\n    X-Frame-Options: deny\n");
        assert_eq!(looks(&mut watch, 3), ["nothing", "applied", "nothing"]);
        assert_eq!(gate.config().headers.len(), 1);

        write("");
        assert_eq!(looks(&mut watch, 4), ["nothing", "refused", "nothing", "nothing"]);
        assert_eq!(gate.config().headers.len(), 1, "what was in force stays");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(looks(&mut watch, 3), ["nothing", "refused", "nothing"]);

        // One who writes slowly is waited for.
        for length in 1..USERS.len() {
            write(&USERS[..length]);
            assert_eq!(looks(&mut watch, 1), ["nothing"], "{length} bytes");
        }
        write(USERS);
        assert_eq!(looks(&mut watch, 3), ["nothing", "applied", "nothing"]);
        assert!(gate.config().users.is_some());
    }

    #[test]
    fn a_reload_in_between_is_what_later_changes_are_compared_with() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        std::fs::write(&file, USERS).unwrap();
        let load = || WebConfig::load(&located(&file), &Mistakes::default());
        let gate = Gate::new(load(), &Metrics::new().unwrap());
        let mut watch = Watch::new(Arc::clone(&gate));
        std::fs::write(&file, "nonsense: 1\n").unwrap();
        assert_eq!(looks(&mut watch, 3), ["nothing", "refused", "nothing"]);
        std::fs::write(&file, format!("{USERS}# mended\n")).unwrap();
        gate.put(load());
        assert_eq!(looks(&mut watch, 2), ["nothing"; 2]);
    }
}
