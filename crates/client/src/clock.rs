//! The client's time line: steady like the monotonic clock, placed by what the wall clock said at the start.
//!
//! One kind of time serves deadlines, ticks that are aligned to the wall clock, and the age of reports that an earlier
//! process collected. Pure code gets it passed in.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A point of the time line, as the time since 1970 by the clock that was set at the start and never since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// The moment that lies `millis` milliseconds after 1970.
    #[must_use]
    pub(crate) fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whole milliseconds since 1970.
    #[must_use]
    pub(crate) fn as_millis(self) -> u64 {
        millis(self.0)
    }

    /// The time since `earlier`; zero when that lies ahead.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// Where the time line is fixed to the machine's clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    start: Moment,
}

impl Clock {
    /// A time line that begins now.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), start: Moment::from_millis(wall_millis()) }
    }

    /// The present moment.
    #[must_use]
    pub(crate) fn now(&self) -> Moment {
        self.start + self.started.elapsed()
    }

    /// When `moment` comes, for a timer; one that has passed is at once.
    #[must_use]
    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.started + moment.since(self.start)
    }
}

/// What the wall clock says, in milliseconds since 1970: for people and for messages, never for deadlines.
#[must_use]
pub fn wall_millis() -> u64 {
    millis(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}

/// Whole milliseconds of a duration.
#[must_use]
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
