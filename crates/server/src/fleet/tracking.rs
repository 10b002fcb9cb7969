//! Which reports of one epoch have arrived, which are lost, and which may still come.
//!
//! The equation that holds after every call: `highest - baseline = received + lost + outstanding`.

use std::mem;

use hostwatch_wire::SeqRange;
use serde::{Deserialize, Serialize};

/// Beyond so many separate gaps the oldest ones are given up.
const MAX_GAPS: usize = 1_000;

/// The books of one epoch of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Track {
    /// Everything up to here was settled before these books were opened.
    baseline: u64,
    /// The highest sequence number that is known to exist.
    highest: u64,
    /// The highest one that was received.
    newest: u64,
    received: u64,
    lost: u64,
    /// What is missing between `baseline` and `highest`: sorted, disjoint, not adjacent.
    missing: Vec<SeqRange>,
}

/// What a report turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The newest so far: it may be shown and judged.
    Newest,
    /// It fills a gap: history only.
    Late,
    /// Already here, or settled before these books were opened.
    Duplicate,
}

impl Track {
    /// Books that start behind `baseline`, the highest report that the host says we have acknowledged.
    #[must_use]
    pub(super) fn new(baseline: u64) -> Self {
        Self { baseline, highest: baseline, newest: baseline, ..Self::default() }
    }

    /// Enters report `seq`, sent by a host whose ring begins at `oldest`.
    pub(super) fn receive(&mut self, seq: u64, oldest: u64) -> Arrival {
        self.announce(oldest.min(seq), seq);
        if !self.take_missing(seq) {
            return Arrival::Duplicate;
        }
        self.received += 1;
        if seq > self.newest {
            self.newest = seq;
            Arrival::Newest
        } else {
            Arrival::Late
        }
    }

    /// The host says that its reports reach up to `last` and that it still holds those from `first` on.
    pub(super) fn announce(&mut self, first: u64, last: u64) {
        if last > self.highest {
            let first_missing = self.highest + 1;
            match self.missing.last_mut() {
                Some(range) if range.last == self.highest => range.last = last,
                _ => self.missing.push(SeqRange { first: first_missing, last }),
            }
            self.highest = last;
        }
        self.give_up_before(first);
        while self.missing.len() > MAX_GAPS {
            let oldest = self.missing[0].last;
            self.give_up_before(oldest + 1);
        }
    }

    /// The host says that we have acknowledged everything up to `up_to`: an earlier life of this server did, after it had
    /// saved these books. Returns how many reports it had received that the books did not know of.
    pub(crate) fn acknowledged(&mut self, up_to: u64) -> u64 {
        self.announce(0, up_to);
        let received = self.received;
        let mut missing = mem::take(&mut self.missing);
        missing.retain_mut(|range| {
            if range.first <= up_to {
                self.received += range.last.min(up_to) - range.first + 1;
                range.first = up_to + 1;
            }
            range.first <= range.last
        });
        self.missing = missing;
        self.newest = self.newest.max(up_to);
        self.received - received
    }

    /// Whatever is missing before `first` can no longer come.
    pub(super) fn give_up_before(&mut self, first: u64) {
        self.missing.retain_mut(|range| {
            if range.last < first {
                self.lost += count(*range);
                return false;
            }
            if range.first < first {
                self.lost += first - range.first;
                range.first = first;
            }
            true
        });
    }

    /// Whatever is missing can no longer come.
    pub(super) fn close(&mut self) {
        self.give_up_before(self.highest + 1);
    }

    /// Takes `seq` out of what is missing; false when it was not.
    pub(super) fn take_missing(&mut self, seq: u64) -> bool {
        let index = self.missing.partition_point(|range| range.last < seq);
        let Some(range) = self.missing.get(index).copied().filter(|range| range.first <= seq) else { return false };
        let left = (range.first < seq).then(|| SeqRange { first: range.first, last: seq - 1 });
        let right = (seq < range.last).then(|| SeqRange { first: seq + 1, last: range.last });
        self.missing.splice(index..=index, left.into_iter().chain(right));
        true
    }

    /// The oldest of what is missing, at most `count` reports.
    #[must_use]
    pub(super) fn missing_up_to(&self, count: u64) -> Vec<SeqRange> {
        let mut left = count;
        let mut ranges = Vec::new();
        for range in &self.missing {
            if left == 0 {
                break;
            }
            let last = range.last.min(range.first + (left - 1));
            left -= last - range.first + 1;
            ranges.push(SeqRange { first: range.first, last });
        }
        ranges
    }

    /// Every report up to here is settled: received, or known to be lost.
    #[must_use]
    pub(super) fn mark(&self) -> u64 {
        self.missing.first().map_or(self.highest, |range| range.first - 1)
    }

    /// Everything up to here was settled before these books were opened.
    #[must_use]
    pub(super) fn baseline(&self) -> u64 {
        self.baseline
    }

    /// The highest sequence number that is known to exist.
    #[must_use]
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// How many were received.
    #[must_use]
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// How many can no longer come.
    #[must_use]
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How many may still come.
    #[must_use]
    pub(super) fn outstanding(&self) -> u64 {
        self.missing.iter().copied().map(count).sum()
    }
}

fn count(range: SeqRange) -> u64 {
    range.last - range.first + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn figures(track: &Track) -> (u64, u64, u64, u64) {
        (track.mark(), track.received(), track.lost(), track.outstanding())
    }

    #[test]
    fn in_order() {
        let mut track = Track::new(0);
        for seq in 1..=3 {
            assert_eq!(track.receive(seq, 1), Arrival::Newest);
        }
        assert_eq!(track.receive(2, 1), Arrival::Duplicate);
        assert_eq!(figures(&track), (3, 3, 0, 0));
    }

    #[test]
    fn a_gap_that_is_filled() {
        let mut track = Track::new(0);
        track.receive(1, 1);
        track.receive(5, 1);
        assert_eq!(figures(&track), (1, 2, 0, 3));
        assert_eq!(track.receive(3, 1), Arrival::Late);
        assert_eq!(track.receive(2, 1), Arrival::Late);
        assert_eq!(track.receive(4, 1), Arrival::Late);
        assert_eq!(figures(&track), (5, 5, 0, 0));
    }

    #[test]
    fn a_gap_that_fell_out_of_the_ring() {
        let mut track = Track::new(0);
        track.receive(1, 1);
        track.receive(10, 6);
        assert_eq!(figures(&track), (5, 2, 4, 4));
        track.close();
        assert_eq!(figures(&track), (10, 2, 8, 0));
    }

    #[test]
    fn a_server_without_saved_state_starts_at_what_it_had_acknowledged() {
        let mut track = Track::new(40);
        assert_eq!(track.receive(50, 44), Arrival::Newest);
        assert_eq!(figures(&track), (43, 1, 3, 6), "41 to 43 are lost, 44 to 49 may come");
        assert_eq!(track.receive(39, 44), Arrival::Duplicate, "settled before");
    }

    #[test]
    fn books_that_are_older_than_an_acknowledgement_catch_up() {
        let mut track = Track::new(0);
        track.receive(1, 1);
        track.receive(5, 1);
        assert_eq!(track.acknowledged(7), 5, "2 to 4, 6 and 7");
        assert_eq!(figures(&track), (7, 7, 0, 0));
        assert_eq!(track.receive(6, 1), Arrival::Duplicate);
        assert_eq!(track.acknowledged(3), 0);
        track.receive(10, 1);
        assert_eq!(track.acknowledged(8), 1);
        assert_eq!(figures(&track), (8, 9, 0, 1));
    }

    #[test]
    fn a_hello_tells_of_reports_that_did_not_come() {
        let mut track = Track::new(0);
        track.announce(1, 3);
        assert_eq!(figures(&track), (0, 0, 0, 3));
        assert_eq!(track.receive(2, 1), Arrival::Newest);
        assert_eq!(track.receive(1, 1), Arrival::Late);
    }

    proptest! {
        #[test]
        fn the_equation_holds_whatever_arrives(
            baseline in 0_u64..20,
            reports in prop::collection::vec((1_u64..80, 0_u64..80, 0_u64..80), 0..200),
        ) {
            let mut track = Track::new(baseline);
            let mut here = BTreeSet::new();
            for (seq, oldest, acked) in reports {
                if acked < seq && acked % 7 == 0 {
                    track.acknowledged(acked);
                    here.extend(baseline + 1..=acked);
                }
                let arrival = track.receive(seq, oldest);
                prop_assert_eq!(
                    track.highest() - track.baseline(),
                    track.received() + track.lost() + track.outstanding()
                );
                if arrival != Arrival::Duplicate {
                    prop_assert!(seq > baseline);
                    prop_assert!(here.insert(seq), "{} was received twice", seq);
                }
                prop_assert!(track.missing.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
            }
            prop_assert!(here.len() as u64 >= track.received());
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_oldest_first() {
        let mut track = Track::new(0);
        for seq in [3, 5, 20] {
            track.receive(seq, 1);
        }
        let asked =
            |count| track.missing_up_to(count).iter().map(|range| (range.first, range.last)).collect::<Vec<_>>();
        assert_eq!(asked(100), [(1, 2), (4, 4), (6, 19)]);
        assert_eq!(asked(5), [(1, 2), (4, 4), (6, 7)]);
        assert_eq!(asked(1), [(1, 1)]);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut track = Track::new(0);
        for index in 0..2 * MAX_GAPS as u64 {
            track.receive(1 + index * 2, 0);
        }
        assert!(track.missing.len() <= MAX_GAPS);
        assert_eq!(track.highest(), track.received() + track.lost() + track.outstanding());
    }
}
