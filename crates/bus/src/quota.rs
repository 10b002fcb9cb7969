//! A quota for each channel: whoever floods one loses his own messages, and nobody else's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Tokens are kept for so many seconds: what a channel may say at once after a silence.
const BURST_SECONDS: f64 = 4.0;
/// Channels that are looked after at once. Those that have been silent are forgotten, long before there are so many.
const MAX_CHANNELS: usize = 200_000;
/// Among fewer channels the silent ones are not worth looking for.
const MIN_CHANNELS: usize = 1_000;
/// A look at all channels takes milliseconds, which a flood of new ones must not cost again and again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Flooded channels that are told by name at once.
const MAX_FLOODS: usize = 1_000;

/// What one channel may say in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Messages.
    pub messages: f64,
    /// Bytes of all its messages, names included.
    pub bytes: f64,
}

/// A channel that said more than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flood {
    /// Its name; nothing for all those together for whose names there was no room.
    pub channel: Option<String>,
    /// Messages that were dropped since it was told of before.
    pub dropped: u64,
}

/// The channels with what they may still say.
#[derive(Debug)]
pub(crate) struct Quotas {
    quota: Quota,
    buckets: HashMap<String, Bucket>,
    floods: HashMap<String, u64>,
    /// Messages of channels that are not in `floods`.
    dropped_of_others: u64,
    /// When the silent ones were forgotten last.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    messages: f64,
    bytes: f64,
    filled: Instant,
}

impl Quotas {
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, buckets: HashMap::new(), floods: HashMap::new(), dropped_of_others: 0, swept: None }
    }

    /// Whether a message of so many bytes may pass; when not, it is counted.
    pub(crate) fn take(&mut self, channel: &str, bytes: usize, now: Instant) -> bool {
        let Quota { messages, bytes: rate } = self.quota;
        let full = Bucket { messages: messages * BURST_SECONDS, bytes: rate * BURST_SECONDS, filled: now };
        let passes = match self.buckets.get_mut(channel) {
            Some(bucket) => bucket.take(bytes as f64, self.quota, now),
            None => {
                self.forget_silent(now);
                // Where there is no room to look after a channel, nothing of it is let in.
                let mut bucket = full;
                let passes = self.buckets.len() < MAX_CHANNELS && bucket.take(bytes as f64, self.quota, now);
                if self.buckets.len() < MAX_CHANNELS {
                    self.buckets.insert(channel.to_owned(), bucket);
                }
                passes
            }
        };
        if !passes {
            let has_room = self.floods.len() < MAX_FLOODS;
            match self.floods.get_mut(channel) {
                Some(dropped) => *dropped += 1,
                None if has_room => {
                    self.floods.insert(channel.to_owned(), 1);
                }
                None => self.dropped_of_others += 1,
            }
        }
        passes
    }

    pub(crate) fn take_floods(&mut self) -> Vec<Flood> {
        let others = std::mem::take(&mut self.dropped_of_others);
        let others = (others > 0).then_some(Flood { channel: None, dropped: others });
        let named = self.floods.drain().map(|(channel, dropped)| Flood { channel: Some(channel), dropped });
        named.chain(others).collect()
    }

    /// A channel whose bucket is full again has no need of one.
    fn forget_silent(&mut self, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL);
        if is_due && self.buckets.len() >= MIN_CHANNELS {
            self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled).as_secs_f64() < BURST_SECONDS);
            self.swept = Some(now);
        }
    }
}

impl Bucket {
    fn take(&mut self, bytes: f64, quota: Quota, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.messages = (self.messages + seconds * quota.messages).min(quota.messages * BURST_SECONDS);
        self.bytes = (self.bytes + seconds * quota.bytes).min(quota.bytes * BURST_SECONDS);
        self.filled = now;
        let passes = self.messages >= 1.0 && self.bytes >= bytes;
        if passes {
            self.messages -= 1.0;
            self.bytes -= bytes;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_its_own_channel_only() {
        let mut quotas = Quotas::new(Quota { messages: 10.0, bytes: 1_000.0 });
        let mut now = Instant::now();
        let passed = (0..100).filter(|_| quotas.take("loud", 1, now)).count();
        assert_eq!(passed, 40, "four seconds' worth at once");
        assert!(quotas.take("quiet", 1, now));
        assert_eq!(quotas.take_floods(), [Flood { channel: Some("loud".to_owned()), dropped: 60 }]);
        assert_eq!(quotas.take_floods(), []);
        now += Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| quotas.take("loud", 1, now)).count(), 5);
    }

    #[test]
    fn what_is_dropped_is_counted_whoever_said_it() {
        let mut quotas = Quotas::new(Quota { messages: 0.25, bytes: 1_000.0 });
        let now = Instant::now();
        for channel in 0..2 * MAX_FLOODS {
            assert!(quotas.take(&channel.to_string(), 1, now) && !quotas.take(&channel.to_string(), 1, now));
        }
        let floods = quotas.take_floods();
        assert_eq!(floods.len(), MAX_FLOODS + 1);
        assert_eq!(floods.last(), Some(&Flood { channel: None, dropped: MAX_FLOODS as u64 }));
    }

    #[test]
    fn large_messages_use_up_the_bytes() {
        let mut quotas = Quotas::new(Quota { messages: 10.0, bytes: 1_000.0 });
        let now = Instant::now();
        assert!(quotas.take("a", 3_000, now) && !quotas.take("a", 1_001, now) && quotas.take("a", 1_000, now));
        assert!(!quotas.take("b", 4_001, now), "more than it may ever say at once");
    }
}
