//! The signals that a daemon obeys.

use std::io;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::Shutdown;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read the settings again.
    Reload,
    /// SIGTERM or SIGINT: stop in an orderly way.
    Stop,
}

/// The signals that arrived and were not taken yet; of several of one kind, one is kept.
pub struct Signals(Source);

enum Source {
    System(signal_hook_tokio::Signals),
    Owner(Shutdown),
}

impl Signals {
    /// From now on the signals are caught instead of ending the process; call this before anything is spawned.
    ///
    /// # Errors
    /// The system refuses the handlers or the socket that wakes us.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn register() -> io::Result<Self> {
        signal_hook_tokio::Signals::new([SIGHUP, SIGTERM, SIGINT]).map(Source::System).map(Self)
    }

    /// For a daemon that shares its process with others: the signals of the system are not its own, and it stops when `owner`
    /// says so.
    pub fn of_owner(owner: Shutdown) -> Self {
        Self(Source::Owner(owner))
    }

    /// The next signal. No signal is lost when this future is dropped before its end.
    pub async fn next(&mut self) -> Signal {
        match &mut self.0 {
            Source::System(signals) => match signals.next().await {
                Some(SIGHUP) => Signal::Reload,
                // The stream only ends when its handle closes it, and nobody has that; a daemon deaf to signals had better stop.
                Some(_) | None => Signal::Stop,
            },
            Source::Owner(owner) => {
                owner.cancelled().await;
                Signal::Stop
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signal_hook::low_level::raise;

    use super::*;

    #[tokio::test]
    async fn signals_are_taken_one_by_one_and_not_lost_while_nobody_waits() {
        let mut signals = Signals::register().unwrap();
        let nothing = tokio::time::timeout(Duration::ZERO, signals.next()).await;
        assert!(nothing.is_err());
        for (number, signal) in [(SIGHUP, Signal::Reload), (SIGTERM, Signal::Stop), (SIGINT, Signal::Stop)] {
            raise(number).unwrap();
            assert_eq!(signals.next().await, signal);
        }
        raise(SIGHUP).unwrap();
        raise(SIGHUP).unwrap();
        assert_eq!(signals.next().await, Signal::Reload);
    }

    #[tokio::test]
    async fn an_owner_can_only_stop() {
        let owner = Shutdown::new();
        let mut signals = Signals::of_owner(owner.clone());
        let nothing = tokio::time::timeout(Duration::ZERO, signals.next()).await;
        assert!(nothing.is_err());
        owner.cancel();
        assert_eq!(signals.next().await, Signal::Stop);
    }
}
