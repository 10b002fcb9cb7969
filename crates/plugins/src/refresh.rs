//! Facts that hardly ever change are not read with every sample.

use std::time::{Duration, Instant};

/// How old facts may be that change when somebody installs or renames something.
pub(crate) const FACTS_AGE: Duration = Duration::from_secs(60);

/// Says when facts are to be read again.
#[derive(Debug)]
pub(crate) struct Refresh {
    every: Duration,
    last: Option<Instant>,
}

impl Refresh {
    /// Due at once, and then `every` so often.
    pub(crate) fn every(every: Duration) -> Self {
        Self { every, last: None }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= self.every)
    }

    /// The facts have been read.
    pub(crate) fn done(&mut self) {
        self.last = Some(Instant::now());
    }

    /// The facts may have changed.
    #[cfg(target_os = "linux")]
    pub(crate) fn hasten(&mut self) {
        self.last = None;
    }
}
