//! The ring: the recent reports as they were published, whether or not they seem to have arrived, and the layouts
//! that they need. Bounded in age and in bytes; what leaves is the oldest, and is counted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::{Acked, EncodedLayout, Epoch, LayoutId, MAX_EPOCHS, RingRange, ServerId};

use crate::clock::Moment;

/// What an entry costs beside its bytes; measured roughly, so that many small reports count for what they take.
const ENTRY_OVERHEAD: usize = 128;
/// A report names at most this many servers (a limit of the wire).
const MAX_SERVERS: usize = 16;

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Older reports are dropped.
    pub max_age: Duration,
    /// Reports and layouts together, in bytes.
    pub max_size: usize,
}

/// A layout that is shared by whoever refers to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedLayout {
    /// The hash of the bytes.
    pub(crate) id: LayoutId,
    /// As it travels.
    pub(crate) encoded: Arc<EncodedLayout>,
}

/// One report that was made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The life that collected it.
    pub(crate) epoch: Epoch,
    /// Its number in that life.
    pub(crate) seq: u64,
    /// When it was made.
    pub(crate) made: Moment,
    /// The encoded message.
    pub(crate) payload: Arc<[u8]>,
    /// What its values mean.
    pub(crate) layouts: Vec<LayoutId>,
}

/// The recent reports, oldest first. The numbers of one epoch have no holes.
#[derive(Debug)]
pub(crate) struct Ring {
    current: Epoch,
    limits: Limits,
    entries: VecDeque<Entry>,
    layouts: HashMap<LayoutId, Held>,
    /// The oldest epoch first.
    numberings: Vec<Numbering>,
    bytes: usize,
    dropped: u64,
}

/// The numbers of one epoch. They are remembered until every server has settled them, even when no report is held any more:
/// a server has to learn of those that came and went while it was away. One that never comes back keeps the epoch that it knew in
/// part, until the oldest has to go.
#[derive(Debug)]
struct Numbering {
    epoch: Epoch,
    /// The number of the newest report, held or not; 0 before the first.
    last: u64,
    acked: Vec<Acked>,
}

#[derive(Debug)]
struct Held {
    layout: SharedLayout,
    users: usize,
}

impl Ring {
    /// An empty ring of the life `current`.
    #[must_use]
    pub(crate) fn new(current: Epoch, limits: Limits) -> Self {
        Self {
            current,
            limits,
            entries: VecDeque::new(),
            layouts: HashMap::new(),
            numberings: Vec::new(),
            bytes: 0,
            dropped: 0,
        }
    }

    /// How much it holds.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Puts other limits in force, at once.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: Moment) {
        self.limits = limits;
        self.enforce(now);
    }

    /// Adds the newest report with the layouts that it refers to. A layout that is missing from `layouts` and not held
    /// yet is left out: the entry then stands without it.
    pub(crate) fn push(&mut self, mut entry: Entry, layouts: &[SharedLayout], now: Moment) {
        entry.layouts.retain(|id| self.hold(*id, layouts));
        self.bytes += cost(&entry);
        let numbering = self.numbering(entry.epoch);
        numbering.last = numbering.last.max(entry.seq);
        self.entries.push_back(entry);
        self.enforce(now);
    }

    /// Remembers an epoch of an earlier life, before its reports are pushed.
    pub(crate) fn recall(&mut self, range: &RingRange) {
        let numbering = self.numbering(range.epoch);
        (numbering.last, numbering.acked) = (range.last, range.acked.clone());
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now: Moment) {
        let limit = self.limits.max_age;
        while self.entries.front().is_some_and(|entry| now.since(entry.made) > limit) {
            self.drop_oldest();
        }
    }

    /// Notes that `server` has settled every report of `epoch` up to `up_to`; a mark never goes back, and what was never made
    /// cannot have arrived. An epoch that is neither the current one nor remembered is nobody's concern.
    pub(crate) fn acknowledge(&mut self, epoch: Epoch, server: ServerId, up_to: u64) {
        if epoch != self.current && self.last(epoch).is_none() {
            return;
        }
        let Numbering { last, acked, .. } = self.numbering(epoch);
        let up_to = up_to.min(*last);
        match acked.iter_mut().find(|mark| mark.server == server) {
            Some(mark) => mark.up_to = mark.up_to.max(up_to),
            None => {
                if acked.len() == MAX_SERVERS {
                    acked.remove(0);
                }
                acked.push(Acked { server, up_to });
            }
        }
        self.forget_settled();
    }

    /// The life that collects now.
    #[must_use]
    pub(crate) fn current(&self) -> Epoch {
        self.current
    }

    /// What each server has acknowledged of `epoch`.
    #[must_use]
    pub(crate) fn acked(&self, epoch: Epoch) -> &[Acked] {
        self.numberings.iter().find(|numbering| numbering.epoch == epoch).map_or(&[], |numbering| &numbering.acked)
    }

    /// The number of the newest report of `epoch`, held or not; nothing when it had none that is remembered.
    #[must_use]
    pub(crate) fn last(&self, epoch: Epoch) -> Option<u64> {
        self.numberings.iter().find(|numbering| numbering.epoch == epoch).map(|numbering| numbering.last)
    }

    /// The oldest report of `epoch` that is held.
    #[must_use]
    pub(crate) fn oldest(&self, epoch: Epoch) -> Option<u64> {
        self.entries.iter().find(|entry| entry.epoch == epoch).map(|entry| entry.seq)
    }

    /// One report, if it is held.
    #[must_use]
    pub(crate) fn get(&self, epoch: Epoch, seq: u64) -> Option<&Entry> {
        let first = self.entries.iter().position(|entry| entry.epoch == epoch)?;
        let offset = usize::try_from(seq.checked_sub(self.entries[first].seq)?).ok()?;
        self.entries.get(first.checked_add(offset)?).filter(|entry| entry.epoch == epoch && entry.seq == seq)
    }

    /// A layout, if a report that is held needs it.
    #[must_use]
    pub(crate) fn layout(&self, id: LayoutId) -> Option<&SharedLayout> {
        self.layouts.get(&id).map(|held| &held.layout)
    }

    /// What is held of each epoch that is remembered and had reports, oldest epoch first: an empty range behind the last of
    /// them when none is.
    #[must_use]
    pub(crate) fn ranges(&self) -> Vec<RingRange> {
        let mut first_held = HashMap::new();
        for entry in &self.entries {
            first_held.entry(entry.epoch).or_insert(entry.seq);
        }
        let made = self.numberings.iter().filter(|numbering| numbering.last > 0);
        let ranges = made.map(|Numbering { epoch, last, acked }| RingRange {
            epoch: *epoch,
            first: first_held.get(epoch).copied().unwrap_or(last + 1),
            last: *last,
            acked: acked.clone(),
        });
        ranges.collect()
    }

    /// The reports, oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The layouts that the reports need.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &SharedLayout> {
        self.layouts.values().map(|held| &held.layout)
    }

    /// How many reports are held.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the reports and their layouts take, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many reports have left since the start, acknowledged or not.
    #[must_use]
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Counts one more user of a layout; false when nobody knows it.
    fn hold(&mut self, id: LayoutId, offered: &[SharedLayout]) -> bool {
        if let Some(held) = self.layouts.get_mut(&id) {
            held.users += 1;
            return true;
        }
        let Some(layout) = offered.iter().find(|layout| layout.id == id) else { return false };
        self.bytes += layout.encoded.byte_len();
        self.layouts.insert(id, Held { layout: layout.clone(), users: 1 });
        true
    }

    fn enforce(&mut self, now: Moment) {
        self.expire(now);
        while self.bytes > self.limits.max_size && !self.entries.is_empty() {
            self.drop_oldest();
        }
    }

    /// The numbers of `epoch`, remembered from now on; when they are too many, the oldest epoch goes with its reports.
    fn numbering(&mut self, epoch: Epoch) -> &mut Numbering {
        let place = match self.numberings.iter().position(|numbering| numbering.epoch == epoch) {
            Some(place) => place,
            None => {
                if self.numberings.len() == MAX_EPOCHS {
                    let oldest = self.numberings.remove(0).epoch;
                    while self.entries.front().is_some_and(|entry| entry.epoch == oldest) {
                        self.drop_oldest();
                    }
                }
                self.numberings.push(Numbering { epoch, last: 0, acked: Vec::new() });
                self.numberings.len() - 1
            }
        };
        &mut self.numberings[place]
    }

    /// Forgets epochs of earlier lives of which nothing is held, and of which every server has settled all.
    fn forget_settled(&mut self) {
        let Self { numberings, entries, current, .. } = self;
        numberings.retain(|Numbering { epoch, last, acked }| {
            let is_settled = !acked.is_empty() && acked.iter().all(|mark| mark.up_to >= *last);
            !is_settled || epoch == current || entries.iter().any(|entry| entry.epoch == *epoch)
        });
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.dropped += 1;
        self.bytes -= cost(&entry);
        for id in entry.layouts {
            let Some(held) = self.layouts.get_mut(&id) else { continue };
            held.users -= 1;
            if held.users == 0 {
                self.bytes -= held.layout.encoded.byte_len();
                self.layouts.remove(&id);
            }
        }
        if self.entries.front().is_none_or(|next| next.epoch != entry.epoch) {
            self.forget_settled();
        }
    }
}

fn cost(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Family, Layout, MetricType};
    use proptest::prelude::*;

    use super::*;

    fn layout(name: &str) -> SharedLayout {
        let family = Family { name: name.to_owned(), kind: MetricType::Gauge, help: String::new(), series: vec![] };
        let encoded = EncodedLayout::new(&Layout { families: vec![family] });
        SharedLayout { id: encoded.id(), encoded: Arc::new(encoded) }
    }

    fn entry(epoch: u64, seq: u64, made: Moment, bytes: usize, layouts: &[SharedLayout]) -> Entry {
        Entry {
            epoch: Epoch(epoch),
            seq,
            made,
            payload: vec![0; bytes].into(),
            layouts: layouts.iter().map(|layout| layout.id).collect(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    const ROOMY: Limits = Limits { max_age: Duration::from_secs(900), max_size: 1 << 20 };

    #[test]
    fn answers_by_epoch_and_number() {
        let mut ring = Ring::new(Epoch(2), ROOMY);
        for (epoch, seq) in [(1, 7), (1, 8), (2, 1), (2, 2), (2, 3)] {
            ring.push(entry(epoch, seq, at(1), 10, &[]), &[], at(1));
        }
        assert!(ring.get(Epoch(1), 8).is_some() && ring.get(Epoch(2), 1).is_some());
        for (epoch, seq) in [(1, 6), (1, 9), (2, 0), (2, 4), (3, 1), (1, u64::MAX)] {
            assert!(ring.get(Epoch(epoch), seq).is_none(), "{epoch} {seq}");
        }
        ring.acknowledge(Epoch(1), ServerId(5), 7);
        ring.acknowledge(Epoch(1), ServerId(5), 3);
        let ranges = ring.ranges();
        assert_eq!((ranges[0].epoch, ranges[0].first, ranges[0].last), (Epoch(1), 7, 8));
        assert_eq!(ranges[0].acked, [Acked { server: ServerId(5), up_to: 7 }]);
        assert_eq!((ranges[1].epoch, ranges[1].first, ranges[1].last), (Epoch(2), 1, 3));
    }

    #[test]
    fn marks_go_with_their_epoch_but_the_current_ones_stay() {
        let mut ring = Ring::new(Epoch(2), ROOMY);
        ring.push(entry(1, 1, at(0), 10, &[]), &[], at(0));
        ring.push(entry(2, 1, at(10), 10, &[]), &[], at(10));
        ring.acknowledge(Epoch(1), ServerId(5), 1);
        ring.acknowledge(Epoch(2), ServerId(5), 1);
        ring.acknowledge(Epoch(3), ServerId(5), 1);
        assert!(ring.acked(Epoch(3)).is_empty(), "not ours");
        ring.expire(at(905));
        assert_eq!((ring.last(Epoch(1)), ring.acked(Epoch(2)).len()), (None, 1));
        ring.expire(at(5_000));
        assert_eq!(ring.len(), 0);
        assert_eq!(ring.acked(Epoch(2)).len(), 1);
        let acked = ring.acked(Epoch(2)).to_vec();
        assert_eq!(ring.ranges(), [RingRange { epoch: Epoch(2), first: 2, last: 1, acked }], "made, and gone");
        assert!(Ring::new(Epoch(2), ROOMY).ranges().is_empty(), "nothing was made");
    }

    #[test]
    fn an_epoch_is_remembered_until_every_server_has_settled_it() {
        let mut ring = Ring::new(Epoch(2), ROOMY);
        ring.push(entry(1, 1, at(0), 10, &[]), &[], at(0));
        ring.push(entry(1, 2, at(0), 10, &[]), &[], at(0));
        ring.expire(at(901));
        let gone = |acked: &[Acked]| RingRange { epoch: Epoch(1), first: 3, last: 2, acked: acked.to_vec() };
        assert_eq!(ring.ranges(), [gone(&[])], "no server knows that they were made");
        let [one, other] = [(1, 1), (2, 2)].map(|(server, up_to)| Acked { server: ServerId(server), up_to });
        ring.acknowledge(Epoch(1), one.server, one.up_to);
        ring.acknowledge(Epoch(1), other.server, 99);
        assert_eq!(ring.ranges(), [gone(&[one, other])]);
        ring.acknowledge(Epoch(1), one.server, 2);
        assert_eq!((ring.ranges(), ring.last(Epoch(1))), (vec![], None));
    }

    #[test]
    fn a_hello_can_describe_every_epoch() {
        let mut ring = Ring::new(Epoch(2), ROOMY);
        for epoch in 0..100 {
            ring.push(entry(epoch, 1, at(1), 10, &[]), &[], at(1));
        }
        assert_eq!(ring.ranges().len(), MAX_EPOCHS);
        assert_eq!(ring.dropped(), 36);
    }

    proptest! {
        #[test]
        fn keeps_its_bounds_and_counts(
            steps in proptest::collection::vec((0_u64..120, 0_usize..4_000, 0_usize..8), 1..200),
            max_size in 2_000_usize..40_000,
        ) {
            let all: Vec<_> = ["a", "b", "c"].into_iter().map(layout).collect();
            let limits = Limits { max_age: Duration::from_secs(600), max_size };
            let (mut ring, mut now) = (Ring::new(Epoch(1), limits), at(0));
            let mut pushed = 0;
            for (wait, bytes, used) in steps {
                now = now + Duration::from_secs(wait);
                let layouts: Vec<_> =
                    all.iter().enumerate().filter(|(n, _)| used >> n & 1 == 1).map(|(_, layout)| layout.clone()).collect();
                pushed += 1;
                ring.push(entry(1, pushed, now, bytes, &layouts), &layouts, now);

                prop_assert!(ring.bytes() <= max_size);
                prop_assert_eq!(ring.dropped() + ring.len() as u64, pushed);
                prop_assert!(ring.entries().all(|entry| now.since(entry.made) <= limits.max_age));
                let reports: usize = ring.entries().map(cost).sum();
                let layouts: usize = ring.layouts().map(|layout| layout.encoded.byte_len()).sum();
                prop_assert_eq!(ring.bytes(), reports + layouts);
                for entry in ring.entries() {
                    prop_assert!(entry.layouts.iter().all(|id| ring.layout(*id).is_some()));
                    prop_assert_eq!(ring.get(entry.epoch, entry.seq), Some(entry));
                }
                let needed: std::collections::HashSet<_> = ring.entries().flat_map(|entry| entry.layouts.clone()).collect();
                prop_assert_eq!(ring.layouts().count(), needed.len());
            }
        }
    }
}
