//! The time of one event, read once and passed in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// For what people read: milliseconds since 1970.
    pub wall_ms: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub(crate) fn read() -> Self {
        Self { monotonic: Instant::now(), wall_ms: wall_ms() }
    }

    /// How long ago `earlier` was; zero for the future.
    #[must_use]
    pub(crate) fn since(&self, earlier: Instant) -> Duration {
        self.monotonic.saturating_duration_since(earlier)
    }
}

/// Milliseconds since 1970; 0 on a machine whose clock is before that.
fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
