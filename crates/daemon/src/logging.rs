//! The log: to the journal where that is what reads our stderr, else as lines on stdout, where containers are looked at.
//!
//! The journal shows a line's message only, so what people must read belongs into the message; what they search for is a
//! field too, and is `HOSTWATCH_HOST`, `HOSTWATCH_SERVICE` and so on there.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tracing::warn;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Starts the log of this process. Levels come from `$HOSTWATCH_LOG` (`debug`, `hostwatch_bus=trace,info`); the default is `info`.
///
/// A second call changes nothing.
pub fn init() {
    let wish = std::env::var("HOSTWATCH_LOG").unwrap_or_default();
    let (filter, refused) = filter(&wish);
    if tracing_subscriber::registry().with(output().with_filter(filter)).try_init().is_ok()
        && let Some(error) = refused
    {
        warn!("HOSTWATCH_LOG={wish:?} is not understood ({error}); logging at info");
    }
}

/// The filter that `wish` describes, or the default and what is wrong with `wish`.
fn filter(wish: &str) -> (Targets, Option<ParseError>) {
    let default = Targets::new().with_default(LevelFilter::INFO);
    if wish.is_empty() {
        return (default, None);
    }
    match wish.parse() {
        Ok(filter) => (filter, None),
        Err(error) => (default, Some(error)),
    }
}

/// Says on stderr what keeps a program from running, just before it ends; in the journal with the priority of an error.
///
/// The journal knows the unit behind stderr. Behind a message of the log it looks for the process, which may be gone by then:
/// `journalctl --unit` would not show why a unit did not start. Source of the prefix: sd-daemon(3).
pub fn complain(what: impl Display) {
    let prefix = if is_journal(&journal_stream(), io::stderr()) { "<3>" } else { "" };
    let lines: String = what.to_string().lines().map(|line| format!("{prefix}{line}\n")).collect();
    // Nobody is left to tell when stderr is gone.
    let _ = io::stderr().write_all(lines.as_bytes());
}

fn output() -> Box<dyn Layer<Registry> + Send + Sync> {
    // A journal that is not there after all is no reason to be silent.
    if is_journal(&journal_stream(), io::stderr())
        && let Ok(journal) = tracing_journald::layer()
    {
        return Box::new(journal.with_field_prefix(Some("HOSTWATCH".to_owned())));
    }
    // A full disk or a closed pipe behind stdout must not become a panic, which the report of a failed write could be.
    let lines = fmt::layer().compact().with_target(false).log_internal_errors(false);
    Box::new(lines.with_ansi(io::stdout().is_terminal()).with_writer(io::stdout))
}

fn journal_stream() -> String {
    std::env::var("JOURNAL_STREAM").unwrap_or_default()
}

/// Whether `stream`, `DEVICE:INODE` as systemd sets it, is `stderr` itself and not only something a parent had.
fn is_journal(stream: &str, stderr: impl AsFd) -> bool {
    rustix::fs::fstat(stderr).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::linux::fs::MetadataExt;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// What this thread logged since [`capture`].
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        pub(crate) fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Catches what this thread logs until the guard is dropped.
    pub(crate) fn capture() -> (Log, DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let lines = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        (log, tracing_subscriber::registry().with(lines).set_default())
    }

    fn most(filter: &Targets) -> Option<LevelFilter> {
        Layer::<Registry>::max_level_hint(filter)
    }

    #[test]
    fn the_level_is_info_unless_the_environment_says_otherwise() {
        for (wish, level) in [
            ("", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("warn", LevelFilter::WARN),
            ("hostwatch_bus=trace,info", LevelFilter::TRACE),
        ] {
            let (filter, refused) = filter(wish);
            assert_eq!((most(&filter), refused.is_none()), (Some(level), true), "{wish:?}");
        }
        let (filter, refused) = filter("a=b=c");
        assert_eq!((most(&filter), refused.is_some()), (Some(LevelFilter::INFO), true));
    }

    #[test]
    fn stderr_is_the_journal_only_if_device_and_inode_say_so() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.st_dev(), metadata.st_ino());
        assert!(is_journal(&format!("{device}:{inode}"), &file));
        for other in [format!("{device}:{}", inode + 1), format!("{device}"), String::new()] {
            assert!(!is_journal(&other, &file));
        }
    }
}
