//! Keeps a flood of one complaint from flooding the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lets each key, such as a host with a kind of complaint, into the log once a minute and counts the rest.
#[derive(Debug)]
pub struct OncePerMinute<K> {
    seen: HashMap<K, Seen>,
    /// Shared by all keys that came when there was no room: the network may not choose how much we remember.
    others: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    last_allowed: Instant,
    suppressed: u64,
}

/// How many keys are told apart.
const MAX_KEYS: usize = 1024;

const MINUTE: Duration = Duration::from_secs(60);

impl<K: Eq + Hash> OncePerMinute<K> {
    /// A limiter that has seen nothing.
    pub fn new() -> Self {
        Self { seen: HashMap::new(), others: None }
    }

    /// Whether a complaint under `key` may be logged at `now`; if so, how many were suppressed since the last one that was.
    ///
    /// 1,024 keys are told apart; while all of them are busy, every further key shares one minute with all others.
    pub fn allow(&mut self, key: K, now: Instant) -> Option<u64> {
        if let Some(seen) = self.seen.get_mut(&key) {
            return seen.allow(now);
        }
        // While the others' minute runs there is no search for room, or a flood of keys would make each of them cost one.
        if self.seen.len() >= MAX_KEYS && self.others.as_ref().is_none_or(|others| others.is_over(now)) {
            self.seen.retain(|_, seen| !seen.is_over(now));
        }
        let first = Seen { last_allowed: now, suppressed: 0 };
        if self.seen.len() < MAX_KEYS {
            self.seen.insert(key, first);
            return Some(0);
        }
        match &mut self.others {
            Some(others) => others.allow(now),
            None => {
                self.others = Some(first);
                Some(0)
            }
        }
    }
}

impl Seen {
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if !self.is_over(now) {
            self.suppressed += 1;
            return None;
        }
        self.last_allowed = now;
        Some(std::mem::take(&mut self.suppressed))
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_allowed) >= MINUTE
    }
}

impl<K: Eq + Hash> Default for OncePerMinute<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_let_through_once_a_minute() {
        let start = Instant::now();
        let mut limiter = OncePerMinute::new();
        let answers = [("a", 0), ("a", 1), ("b", 2), ("a", 59), ("a", 60), ("a", 61), ("b", 200), ("a", 300)]
            .map(|(key, second)| limiter.allow(key, start + Duration::from_secs(second)));
        assert_eq!(answers, [Some(0), None, Some(0), None, Some(2), None, Some(0), Some(1)]);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let start = Instant::now();
        let mut limiter = OncePerMinute::new();
        let allowed = (0..100_000).filter(|key| limiter.allow(*key, start).is_some()).count();
        assert_eq!(allowed, MAX_KEYS + 1);
        assert_eq!(limiter.seen.len(), MAX_KEYS);
        let later = start + MINUTE;
        assert_eq!(limiter.allow(-1, later), Some(0), "keys that are over make room");
        assert_eq!(limiter.seen.len(), 1);
    }
}
