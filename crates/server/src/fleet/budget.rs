//! What may happen so often and no more: a token bucket.

use std::time::Instant;

use crate::clock::Now;

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    /// What comes in a second.
    rate: f64,
    /// What is kept at most.
    most: f64,
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full bucket for `most`, into which `rate` come in a second.
    pub(super) fn new(rate: f64, most: f64, now: Now) -> Self {
        Self { rate, most, tokens: most, filled: now.monotonic }
    }

    /// Takes `count`, or nothing where there is not enough.
    pub(super) fn take(&mut self, count: u64, now: Now) -> bool {
        let filled = self.tokens + now.since(self.filled).as_secs_f64() * self.rate;
        (self.tokens, self.filled) = (filled.min(self.most), now.monotonic);
        let enough = self.tokens >= count as f64;
        if enough {
            self.tokens -= count as f64;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_is_so_much_and_no_more() {
        let mut now = Now::read();
        let mut budget = Budget::new(5_000.0, 5_000.0, now);
        assert!(budget.take(4_900, now) && !budget.take(200, now) && budget.take(100, now));
        now.monotonic += Duration::from_millis(50);
        assert!(!budget.take(251, now) && budget.take(200, now));
        now.monotonic += Duration::from_secs(3_600);
        assert!(budget.take(5_000, now) && !budget.take(1, now), "what is not used does not pile up");
    }
}
