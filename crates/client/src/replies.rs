//! What a server has asked for and the client still owes: reports from the ring and layouts. Paced, so that no server
//! can make a host flood Redis, and bounded by what is held, however often it asks.

use std::collections::BTreeSet;
use std::time::Duration;

use hostwatch_wire::{Epoch, Gone, LayoutId, SeqRange};

use crate::clock::Moment;
use crate::reporter::MAX_CONTENT;
use crate::ring::{Entry, Ring, SharedLayout};

/// At most [`BURST`] reports each time, 200 a second, and layouts for one message.
const PACE: Duration = Duration::from_millis(50);
const BURST: usize = 10;

/// The reports and layouts that are owed.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    reports: BTreeSet<(Epoch, u64)>,
    layouts: BTreeSet<LayoutId>,
    not_before: Moment,
}

/// One step's worth of answers.
#[derive(Debug, Default)]
pub(crate) struct Step<'a> {
    /// Reports to publish again.
    pub(crate) reports: Vec<&'a Entry>,
    /// Layouts to send, which fit in one message.
    pub(crate) layouts: Vec<SharedLayout>,
    /// What has left the ring between the question and the answer.
    pub(crate) gone: Option<(Epoch, Gone)>,
}

impl Replies {
    /// Takes a request for reports; returns which of them are gone for good. Reports that were never made are neither owed
    /// nor gone, and those of an epoch that is not remembered may be another client's.
    pub(crate) fn want_reports(&mut self, epoch: Epoch, ranges: &[SeqRange], ring: &Ring) -> Option<Gone> {
        let newest = ring.last(epoch)?;
        let oldest = ring.oldest(epoch).unwrap_or(newest.saturating_add(1));
        for held in merge(ranges, oldest, newest) {
            self.reports.extend((held.first..=held.last).map(|seq| (epoch, seq)));
        }
        let first = ranges.iter().map(|range| range.first).min()?;
        (first < oldest).then(|| Gone { up_to: oldest - 1 })
    }

    /// Takes a request for layouts; the caller leaves out those that nobody knows.
    pub(crate) fn want_layouts(&mut self, ids: impl IntoIterator<Item = LayoutId>) {
        self.layouts.extend(ids);
    }

    /// Forgets what is owed: the link is gone, and whoever still lacks something asks again.
    pub(crate) fn clear(&mut self) {
        self.reports.clear();
        self.layouts.clear();
    }

    /// Owes on, but gives nothing for a while: what was given before is still queued.
    pub(crate) fn postpone(&mut self, now: Moment) {
        self.not_before = now + PACE;
    }

    /// When [`Replies::step`] has something to give.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        (!self.reports.is_empty() || !self.layouts.is_empty()).then_some(self.not_before)
    }

    /// The next answers, oldest report first. `layout` finds a layout that is still known.
    pub(crate) fn step<'a>(
        &mut self,
        ring: &'a Ring,
        layout: impl Fn(LayoutId) -> Option<&'a SharedLayout>,
        now: Moment,
    ) -> Step<'a> {
        let mut step = Step::default();
        if now < self.not_before {
            return step;
        }
        self.not_before = now + PACE;
        let mut size = 0;
        while let Some(id) = self.layouts.first().copied() {
            let found = layout(id);
            size += found.map_or(0, |layout| layout.encoded.byte_len());
            // One that is too long with others goes alone.
            if size > MAX_CONTENT && !step.layouts.is_empty() {
                break;
            }
            self.layouts.remove(&id);
            step.layouts.extend(found.cloned());
        }
        while step.reports.len() < BURST {
            let Some((epoch, seq)) = self.reports.pop_first() else { break };
            match (ring.get(epoch, seq), &mut step.gone) {
                (Some(entry), _) => step.reports.push(entry),
                (None, Some((same, gone))) if *same == epoch => gone.up_to = gone.up_to.max(seq),
                (None, None) => step.gone = Some((epoch, Gone { up_to: seq })),
                // One step tells of one epoch.
                (None, Some(_)) => {
                    self.reports.insert((epoch, seq));
                    break;
                }
            }
        }
        step
    }
}

/// The same numbers within `oldest` and `newest`, each in one range only: however much a server's ranges overlap, they
/// cost one walk over the ring.
fn merge(ranges: &[SeqRange], oldest: u64, newest: u64) -> Vec<SeqRange> {
    let mut ranges: Vec<_> = ranges
        .iter()
        .map(|range| SeqRange { first: range.first.max(oldest), last: range.last.min(newest) })
        .filter(|range| range.first <= range.last)
        .collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = next.first <= kept.last.saturating_add(1);
        if touches {
            kept.last = kept.last.max(next.last);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hostwatch_wire::{EncodedLayout, Family, Layout, MetricType};
    use proptest::prelude::*;

    use super::*;
    use crate::ring::Limits;

    const US: Epoch = Epoch(5);

    /// A ring that holds 11 to 20 of the current epoch and 3 to 4 of an older one.
    fn ring() -> Ring {
        let mut ring = Ring::new(US, Limits { max_age: Duration::from_secs(900), max_size: 1 << 20 });
        let numbers = [3, 4].map(|seq| (Epoch(9), seq)).into_iter().chain((11..=20).map(|seq| (US, seq)));
        for (epoch, seq) in numbers {
            let made = Moment::from_millis(0);
            ring.push(Entry { epoch, seq, made, payload: Vec::new().into(), layouts: vec![] }, &[], made);
        }
        ring
    }

    fn range(first: u64, last: u64) -> SeqRange {
        SeqRange { first, last }
    }

    fn nothing<'a>(_: LayoutId) -> Option<&'a SharedLayout> {
        None
    }

    fn drain(replies: &mut Replies, ring: &Ring) -> Vec<(u64, u64)> {
        let mut given = Vec::new();
        while let Some(now) = replies.next() {
            given.extend(replies.step(ring, nothing, now).reports.iter().map(|entry| (entry.epoch.0, entry.seq)));
        }
        given
    }

    #[test]
    fn what_is_held_comes_and_what_is_not_is_gone() {
        let (ring, mut replies) = (ring(), Replies::default());
        let mut want = |epoch, ranges: &[_]| {
            let gone = replies.want_reports(epoch, ranges, &ring).map(|gone| gone.up_to);
            (gone, drain(&mut replies, &ring))
        };
        assert_eq!(want(US, &[range(12, 13), range(13, 13)]), (None, vec![(5, 12), (5, 13)]));
        assert_eq!(want(US, &[range(1, 2), range(8, 11)]), (Some(10), vec![(5, 11)]));
        assert_eq!(want(US, &[range(1, 2)]), (Some(10), vec![]));
        assert_eq!(want(US, &[range(20, 1 << 53)]), (None, vec![(5, 20)]));
        assert_eq!(want(US, &[range(21, 30)]), (None, vec![]));
        assert_eq!(want(Epoch(9), &[range(1, 9)]), (Some(2), vec![(9, 3), (9, 4)]));
        assert_eq!(want(Epoch(77), &[range(1, 9)]), (None, vec![]), "who knows whose");
        assert_eq!(want(US, &[]), (None, vec![]));
    }

    #[test]
    fn answers_are_paced_and_questions_are_not_added_up() {
        let (ring, mut replies) = (ring(), Replies::default());
        for _ in 0..100 {
            replies.want_reports(US, &[range(1, 100)], &ring);
            replies.want_reports(Epoch(9), &[range(3, 4)], &ring);
        }
        let now = Moment::from_millis(1_000);
        let step = replies.step(&ring, nothing, now);
        assert_eq!(step.reports.len(), 10);
        assert_eq!(replies.next(), Some(now + PACE));
        assert!(replies.step(&ring, nothing, now).reports.is_empty());
        assert_eq!(replies.step(&ring, nothing, now + PACE).reports.len(), 2);
        assert_eq!(replies.next(), None);
    }

    #[test]
    fn ranges_that_overlap_cost_one_walk() {
        let (ring, mut replies) = (ring(), Replies::default());
        let mut ranges = vec![range(1, 1 << 53); 1_000];
        ranges.extend([range(12, 13), range(19, 1 << 53)]);
        assert_eq!(merge(&ranges, 11, 20), [range(11, 20)]);
        let apart = [range(17, 30), range(1, 3), range(14, 14), range(12, 13), range(40, 50), range(13, 13)];
        assert_eq!(merge(&apart, 11, 20), [range(12, 14), range(17, 20)]);
        assert_eq!(replies.want_reports(US, &ranges, &ring), Some(Gone { up_to: 10 }));
        assert_eq!(drain(&mut replies, &ring), (11..=20).map(|seq| (5, seq)).collect::<Vec<_>>());
    }

    #[test]
    fn layouts_come_a_message_at_a_time() {
        let (ring, mut replies) = (ring(), Replies::default());
        let layouts: Vec<_> = [400_000, 400_000, 400_000, 950_000, 10]
            .into_iter()
            .enumerate()
            .map(|(n, length)| {
                let (name, help) = (format!("family{n}"), "x".repeat(length));
                let family = Family { name, kind: MetricType::Gauge, help, series: vec![] };
                let encoded = EncodedLayout::new(&Layout { families: vec![family] });
                SharedLayout { id: encoded.id(), encoded: Arc::new(encoded) }
            })
            .collect();
        let known = |id| layouts.iter().find(|layout| layout.id == id);
        for _ in 0..9 {
            replies.want_layouts(layouts.iter().map(|layout| layout.id).chain([LayoutId::of(b"forgotten")]));
        }
        let (mut given, mut now) = (Vec::new(), Moment::from_millis(1_000));
        while let Some(next) = replies.next() {
            assert!(given.is_empty() || next == now + PACE);
            now = now.max(next);
            let step = replies.step(&ring, known, now);
            let size: usize = step.layouts.iter().map(|layout| layout.encoded.byte_len()).sum();
            assert!(size <= MAX_CONTENT || step.layouts.len() == 1, "{size}");
            given.extend(step.layouts.into_iter().map(|layout| layout.id));
        }
        let mut all: Vec<_> = layouts.iter().map(|layout| layout.id).collect();
        all.sort_unstable();
        assert_eq!(given, all, "each once");
    }

    #[test]
    fn a_report_that_leaves_while_it_is_owed_is_gone() {
        let (mut ring, mut replies) = (ring(), Replies::default());
        replies.want_reports(US, &[range(11, 14)], &ring);
        ring.set_limits(Limits { max_age: Duration::ZERO, max_size: 0 }, Moment::from_millis(1));
        let step = replies.step(&ring, nothing, Moment::from_millis(1));
        assert_eq!(step.gone, Some((US, Gone { up_to: 14 })));
        assert_eq!(replies.next(), None);
    }

    proptest! {
        #[test]
        fn never_owes_more_than_is_held(asked in proptest::collection::vec((0_u64..3, 1_u64..40, 0_u64..40), 0..50)) {
            let (ring, mut replies) = (ring(), Replies::default());
            for (epoch, first, more) in asked {
                replies.want_reports(Epoch([5, 9, 1][epoch as usize]), &[range(first, first + more)], &ring);
            }
            let given = drain(&mut replies, &ring);
            prop_assert!(given.len() <= ring.len());
        }
    }
}
