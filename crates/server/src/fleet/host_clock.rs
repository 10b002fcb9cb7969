//! A host's clock as it looks from here: what it is ahead of ours, and since which report. It turns the times that a host
//! writes down into the server's, also for reports from before the clock was set.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hostwatch_wire::Epoch;

use crate::clock::Now;

/// So long a measurement stands against ones that show less.
const STANDS: Duration = Duration::from_secs(60);
/// What differs by more is no delay and no drift: somebody has set the clock.
const JUMP_MS: i64 = 5_000;
/// So many settings of the clock are remembered. Reports from before that come late are placed by the oldest one.
const MAX_SEGMENTS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HostClock {
    /// The newest last.
    segments: VecDeque<Segment>,
}

/// Reports between which the clock was not set.
#[derive(Debug)]
struct Segment {
    epoch: Epoch,
    /// The first report of it; 0 while there is none.
    first_seq: u64,
    /// The host's clock less ours, at the shortest transit that was seen.
    ahead_ms: i64,
    /// When that was measured.
    measured: Instant,
    /// The latest time at which a report of it was collected, by the host's clock.
    collected_ms: u64,
}

impl HostClock {
    /// The host said hello at `sent_at_ms` by its clock.
    pub(super) fn greeted(&mut self, epoch: Epoch, sent_at_ms: u64, now: Now) {
        let ahead_ms = ahead(sent_at_ms, now);
        match self.segments.back_mut().filter(|segment| segment.epoch == epoch) {
            // It may have waited less than all reports of the last minute: those of a long silence will follow it.
            Some(segment) if segment.ahead_ms.abs_diff(ahead_ms) <= JUMP_MS.unsigned_abs() => {
                (segment.ahead_ms, segment.measured) = (ahead_ms, now.monotonic);
            }
            // Delayed, or the clock was set. The next report tells.
            Some(_) => {}
            None => self.begin(Segment { epoch, first_seq: 0, ahead_ms, measured: now.monotonic, collected_ms: 0 }),
        }
    }

    /// The newest report of the current epoch was collected at `collected_at_ms` by the host's clock.
    pub(super) fn measure(&mut self, epoch: Epoch, seq: u64, collected_at_ms: u64, now: Now) {
        let ahead_ms = ahead(collected_at_ms, now);
        let begun = Segment { epoch, first_seq: seq, ahead_ms, measured: now.monotonic, collected_ms: collected_at_ms };
        let Some(segment) = self.segments.back_mut().filter(|segment| segment.epoch == epoch) else {
            return self.begin(begun);
        };
        let gained = ahead_ms.saturating_sub(segment.ahead_ms);
        // Reports that waited have times that go up all the same.
        let went_back = gained < -JUMP_MS && collected_at_ms < segment.collected_ms;
        if went_back || gained > JUMP_MS {
            if segment.first_seq == 0 {
                self.segments.pop_back();
            }
            return self.begin(begun);
        }
        if segment.first_seq == 0 {
            segment.first_seq = seq;
        }
        // The largest of a while waited least on its way.
        if gained >= 0 || now.since(segment.measured) >= STANDS {
            (segment.ahead_ms, segment.measured) = (ahead_ms, now.monotonic);
        }
        segment.collected_ms = segment.collected_ms.max(collected_at_ms);
    }

    /// How long ago the host wrote `collected_at_ms` into report `seq`, by our clock.
    pub(super) fn age_ms(&self, epoch: Epoch, seq: u64, collected_at_ms: u64, now: Now) -> u64 {
        let mut of_epoch = self.segments.iter().rev().filter(|segment| segment.epoch == epoch);
        let segment = of_epoch.clone().find(|segment| segment.first_seq <= seq).or(of_epoch.next_back());
        let ahead_ms = segment.or(self.segments.back()).map_or(0, |segment| segment.ahead_ms);
        let collected_at_ms = i64::try_from(collected_at_ms).unwrap_or(i64::MAX).saturating_sub(ahead_ms);
        let now_ms = i64::try_from(now.wall_ms).unwrap_or(i64::MAX);
        u64::try_from(now_ms.saturating_sub(collected_at_ms)).unwrap_or(0)
    }

    /// The host's clock less ours, transit included.
    pub(super) fn skew_seconds(&self) -> Option<f64> {
        self.segments.back().map(|segment| segment.ahead_ms as f64 / 1_000.0)
    }

    fn begin(&mut self, segment: Segment) {
        if self.segments.len() == MAX_SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }
}

fn ahead(host_ms: u64, now: Now) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(host_ms).saturating_sub(signed(now.wall_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(1);
    const HOUR: i64 = 3_600_000;

    /// A clock whose host reports each second, `ahead` of ours, and whose reports arrive at once.
    struct Rig {
        clock: HostClock,
        now: Now,
        seq: u64,
    }

    impl Rig {
        fn new() -> Self {
            let mut rig = Self { clock: HostClock::default(), now: Now::read(), seq: 0 };
            rig.clock.greeted(EPOCH, rig.now.wall_ms, rig.now);
            rig
        }

        fn report(&mut self, ahead_ms: i64) -> u64 {
            self.pass(1_000);
            self.seq += 1;
            let collected = self.now.wall_ms.saturating_add_signed(ahead_ms);
            self.clock.measure(EPOCH, self.seq, collected, self.now);
            self.clock.age_ms(EPOCH, self.seq, collected, self.now)
        }

        fn pass(&mut self, ms: u64) {
            self.now.monotonic += Duration::from_millis(ms);
            self.now.wall_ms += ms;
        }
    }

    #[test]
    fn a_jump_of_hours_makes_no_report_older_or_younger() {
        for jump in [2 * HOUR, -2 * HOUR, 6_000, -9_000] {
            let mut rig = Rig::new();
            assert_eq!((rig.report(0), rig.report(0)), (0, 0));
            let lost = rig.now.wall_ms;
            assert_eq!((rig.report(jump), rig.report(jump)), (0, 0), "{jump}");
            assert_eq!(rig.clock.skew_seconds(), Some(jump as f64 / 1_000.0));
            assert_eq!(rig.clock.age_ms(EPOCH, 2, lost, rig.now), 2_000, "from before the jump by {jump}");
            assert_eq!((rig.report(0), rig.report(0)), (0, 0), "back from {jump}");
            assert_eq!(rig.clock.age_ms(EPOCH, 2, lost, rig.now), 4_000);
        }
    }

    #[test]
    fn what_waited_is_old_and_no_jump() {
        let mut rig = Rig::new();
        rig.report(0);
        // Ten reports wait for a minute and a half; the hello that goes before them does not.
        let collected: Vec<u64> = (1..=10).map(|second| rig.now.wall_ms + second * 1_000).collect();
        rig.pass(90_000);
        rig.clock.greeted(EPOCH, rig.now.wall_ms, rig.now);
        for (seq, collected) in (2..).zip(collected) {
            rig.clock.measure(EPOCH, seq, collected, rig.now);
            assert_eq!(rig.clock.age_ms(EPOCH, seq, collected, rig.now), rig.now.wall_ms - collected);
        }
        assert_eq!(rig.clock.skew_seconds(), Some(0.0));
    }

    #[test]
    fn a_drift_is_followed_and_the_memory_is_bounded() {
        let mut rig = Rig::new();
        for second in 0..300 {
            rig.report(-second * 10);
        }
        assert!(rig.clock.skew_seconds().is_some_and(|skew| skew <= -2.4), "{:?}", rig.clock.skew_seconds());
        assert_eq!(rig.clock.segments.len(), 1);
        for jump in 0..100 {
            rig.report(jump % 2 * HOUR);
        }
        assert_eq!(rig.clock.segments.len(), MAX_SEGMENTS);
        for time in [0, u64::MAX] {
            rig.clock.measure(EPOCH, u64::MAX, time, rig.now);
            rig.clock.age_ms(EPOCH, 0, u64::MAX - time, rig.now);
        }
    }
}
