//! How long to wait before the next attempt: full jitter, so that a fleet which lost Redis together does not come back together.

use std::time::Duration;

/// The waits between attempts: each is random between nothing and a ceiling that doubles up to a maximum.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, ceiling: min.min(max) }
    }

    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = rand::random_range(Duration::ZERO..=self.ceiling);
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        wait
    }

    /// Begins again with the shortest waits.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.min, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn waits_stay_under_a_ceiling_that_doubles_up_to_the_maximum() {
        for _ in 0..100 {
            let mut backoff = Backoff::new(MIN, MAX);
            for ceiling in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
                assert!(backoff.next_wait() <= Duration::from_millis(ceiling));
            }
        }
    }

    #[test]
    fn waits_use_their_whole_range() {
        let mut backoff = Backoff::new(MAX, MAX);
        let waits: Vec<_> = (0..1000).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().any(|wait| *wait < MAX / 10));
        assert!(waits.iter().any(|wait| *wait > MAX / 10 * 9));
    }

    #[test]
    fn reset_begins_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= MIN);
    }
}
