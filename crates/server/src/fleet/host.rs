//! One host: its configuration, its books, its life, its newest results.

use std::collections::{BTreeMap, HashSet};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_wire::{Ack, Applied, Epoch, Facts, HostConfig, HostId, Known, LayoutId, Revision};

use super::Timing;
use super::host_clock::HostClock;
use super::life::{Pulse, State};
use super::repair::Repair;
use super::reports::Parked;
use super::tracking::{Arrival, Track};
use crate::clock::Now;
use crate::directory::{Books, Entry, SeriesBlock, Service, Snapshot};
use crate::inventory::{Labels, Origin, Plan};
use crate::judge::{HostFacts, Observation};
use crate::layouts::PreparedLayout;

/// So many epochs of a host have books; what happens to older ones is in the totals.
pub(super) const MAX_EPOCHS: usize = 8;
/// So many of its own intervals a service may miss before its series leave the page.
const MISSED_INTERVALS: u32 = 3;
/// How late a report may be without having missed its interval.
const LATENESS: Duration = Duration::from_millis(500);

/// One host.
pub(super) struct Host {
    pub(super) id: HostId,
    /// Why it is watched; nothing while it is pending.
    pub(super) origin: Option<Origin>,
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) revision: Option<Revision>,
    /// When the revision became this one.
    pub(super) revision_since: Instant,
    /// Whether the revision's number is known to follow the one in the host's key.
    pub(super) revision_settled: bool,
    /// Whether another server wrote this host's key.
    pub(super) contested: bool,
    pub(super) claimed: Arc<Labels>,
    /// What the host claims, and what the operator gave it, which wins.
    pub(super) labels: Arc<Labels>,
    pub(super) facts: Option<Arc<Facts>>,
    pub(super) client_version: Option<Arc<str>>,
    pub(super) applied: Option<Arc<Applied>>,
    pub(super) pulse: Pulse,
    /// The epoch of the newest hello.
    pub(super) current: Option<Epoch>,
    /// Epochs that were current once.
    pub(super) superseded: Vec<Epoch>,
    /// The books, the oldest epoch first.
    pub(super) tracks: Vec<(Epoch, Track)>,
    /// What the books of epochs said that have none any more, and what no books say.
    pub(super) retired: Totals,
    /// What the books said when this process began to count.
    pub(super) before: Totals,
    pub(super) parked: Parked,
    pub(super) repair: Repair,
    /// Until when nobody listens to it, because it floods.
    pub(super) muted_until: Option<Instant>,
    /// Its messages that were dropped because it said too much.
    pub(super) flooded: u64,
    /// What it said that was refused.
    pub(super) refused: u64,
    /// Layouts that it brought and that no host used before.
    pub(super) new_layouts: u64,
    pub(super) clock: HostClock,
    pub(super) last_report_ms: Option<u64>,
    pub(super) services: BTreeMap<Arc<str>, Newest>,
    /// When this host was last asked to say hello.
    pub(super) asked: Option<Instant>,
    pub(super) next_ack: Instant,
    /// What the judge was told last.
    pub(super) observed: Option<HostFacts>,
    /// Whether readers see the host as it was.
    pub(super) dirty: bool,
    pub(super) entry: Arc<Entry>,
}

/// The newest result of a service, and when it came.
pub(super) struct Newest {
    pub(super) result: Arc<Service>,
    /// The layout of the last values, though they may have gone: the host does not send it again.
    pub(super) layout: Option<Arc<PreparedLayout>>,
    pub(super) heard: Instant,
    pub(super) interval: Duration,
}

/// Counts over all epochs of a host, since this process began to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Reports that were received, each once.
    pub received: u64,
    /// Reports that can no longer come.
    pub lost: u64,
    /// Reports that came again.
    pub duplicate: u64,
    /// Reports that filled a gap.
    pub resent: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        // Hosts say how many there are, so that a sum may be any number.
        self.received = self.received.saturating_add(other.received);
        self.lost = self.lost.saturating_add(other.lost);
        self.duplicate = self.duplicate.saturating_add(other.duplicate);
        self.resent = self.resent.saturating_add(other.resent);
    }
}

impl Host {
    /// A host that was in `state` since `state_since_ms` when it was last seen.
    pub(super) fn new(id: HostId, state: State, state_since_ms: u64, ack_interval: Duration, now: Now) -> Self {
        let snapshot = Snapshot {
            state,
            state_since_ms,
            labels: Arc::default(),
            facts: None,
            client_version: None,
            wanted: None,
            applied: None,
            last_report_ms: None,
            clock_skew_seconds: None,
            books: Books::default(),
            totals: Totals::default(),
            flooded: 0,
            refused: 0,
            new_layouts: 0,
            services: Vec::new(),
        };
        Self {
            origin: None,
            plan: None,
            revision: None,
            revision_since: now.monotonic,
            revision_settled: false,
            contested: false,
            claimed: Arc::default(),
            labels: Arc::default(),
            facts: None,
            client_version: None,
            applied: None,
            pulse: Pulse::new(state, state_since_ms, now),
            current: None,
            superseded: Vec::new(),
            tracks: Vec::new(),
            retired: Totals::default(),
            before: Totals::default(),
            observed: None,
            dirty: false,
            parked: Parked::default(),
            repair: Repair::default(),
            muted_until: None,
            flooded: 0,
            refused: 0,
            new_layouts: 0,
            clock: HostClock::default(),
            last_report_ms: None,
            services: BTreeMap::new(),
            asked: None,
            // Spread over the fleet, so that acknowledgements do not go out all at once.
            next_ack: now.monotonic + ack_interval.mul_f64(rand::random::<f64>()),
            entry: Arc::new(Entry::new(id.clone(), snapshot)),
            id,
        }
    }

    /// Whether it is configured or matched, so that its reports are listened to.
    pub(super) fn is_known(&self) -> bool {
        self.origin.is_some()
    }

    /// The configuration that should be in force.
    pub(super) fn config(&self) -> Option<HostConfig> {
        Some(HostConfig { revision: self.revision?, services: self.plan.as_ref()?.services.clone() })
    }

    /// The books of `epoch`, opened behind `baseline` when there are none.
    pub(super) fn track(&mut self, epoch: Epoch, baseline: u64) -> &mut Track {
        let index = match self.tracks.iter().position(|(known, _)| *known == epoch) {
            Some(index) => index,
            None => {
                if self.tracks.len() == MAX_EPOCHS {
                    self.retire_track();
                }
                self.tracks.push((epoch, Track::new(baseline)));
                self.tracks.len() - 1
            }
        };
        &mut self.tracks[index].1
    }

    /// Closes the books of the oldest epoch that is not current.
    fn retire_track(&mut self) {
        let index = self.tracks.iter().position(|(epoch, _)| Some(*epoch) != self.current).unwrap_or(0);
        let (_, mut track) = self.tracks.remove(index);
        track.close();
        self.retired += Totals { received: track.received(), lost: track.lost(), ..Totals::default() };
    }

    /// The books of `epoch`, which know at least that we have acknowledged everything up to `acked`.
    pub(super) fn track_behind(&mut self, epoch: Epoch, acked: u64) -> &mut Track {
        let caught_up = self.track(epoch, acked).acknowledged(acked);
        self.before.received = self.before.received.saturating_add(caught_up);
        self.track(epoch, acked)
    }

    /// Enters a report in the books.
    pub(super) fn receive(&mut self, epoch: Epoch, seq: u64, oldest: u64, acked: u64) -> Arrival {
        // Nothing is acknowledged before it is sent.
        let arrival = self.track_behind(epoch, acked.min(seq.saturating_sub(1))).receive(seq, oldest);
        match arrival {
            Arrival::Newest => {}
            Arrival::Late => self.retired.resent += 1,
            Arrival::Duplicate => self.retired.duplicate += 1,
        }
        arrival
    }

    /// What this server has of each epoch.
    pub(super) fn known(&self) -> Vec<Known> {
        self.tracks.iter().map(|(epoch, track)| Known { epoch: *epoch, up_to: track.mark() }).collect()
    }

    /// The acknowledgement of the current epoch, when it is time for it.
    pub(super) fn due_ack(&mut self, interval: Duration, now: Now) -> Option<Ack> {
        if now.monotonic < self.next_ack {
            return None;
        }
        self.next_ack = now.monotonic + interval;
        let alive = matches!(self.pulse.state(), State::Up | State::Conflict);
        if alive { self.ack(false) } else { None }
    }

    /// The acknowledgement of the current epoch.
    pub(super) fn ack(&self, goodbye: bool) -> Option<Ack> {
        let epoch = self.current?;
        let track = self.tracks.iter().find(|(known, _)| *known == epoch).map(|(_, track)| track);
        Some(Ack { epoch, up_to: track.map_or(0, Track::mark), goodbye })
    }

    /// Judges whether the host lives and takes old series off the page; true when readers should see it.
    pub(super) fn tick(&mut self, timing: &Timing, connected_since: Option<Instant>, now: Now) -> bool {
        let changed = self.pulse.judge(self.origin, timing, connected_since, now);
        let mut shape_changed = false;
        for newest in self.services.values_mut() {
            let missed = now.since(newest.heard) >= MISSED_INTERVALS * newest.interval + LATENESS;
            if missed && newest.result.series.is_some() {
                newest.result = Arc::new(newest.result.without_series());
                shape_changed = true;
            }
        }
        if shape_changed {
            self.hide_duplicates();
        }
        self.parked.expire(now);
        changed || shape_changed
    }

    /// Whether nobody needs to remember the host.
    pub(super) fn is_forgettable(&self, timing: &Timing, now: Now) -> bool {
        let quiet = now.since(self.pulse.quiet_since());
        match self.origin {
            Some(Origin::Configured) => false,
            Some(Origin::Matched) => {
                matches!(self.pulse.state(), State::Left | State::Down) && quiet >= timing.forget_after
            }
            // A pending host says hello at every acknowledgement that it misses.
            None => quiet >= 3 * timing.ack_interval + timing.down_after,
        }
    }

    /// The layout of one of the host's services, if it is this one.
    pub(super) fn layout(&self, service: &str, id: LayoutId) -> Option<&Arc<PreparedLayout>> {
        self.services.get(service)?.layout.as_ref().filter(|layout| layout.id() == id)
    }

    /// Drops the results of services that the plan does not have.
    pub(super) fn drop_unplanned_services(&mut self) {
        let Some(plan) = &self.plan else { return self.services.clear() };
        self.services.retain(|name, _| plan.service(name).is_some());
        self.hide_duplicates();
    }

    /// Where two services of the host have a series in common, the first one (by name) shows the family.
    pub(super) fn hide_duplicates(&mut self) {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for newest in self.services.values_mut() {
            let Some(block) = &newest.result.series else { continue };
            let mut hidden = Vec::new();
            for (index, family) in block.layout.families().iter().enumerate() {
                if family.series_texts().any(|text| seen.contains(text)) {
                    hidden.push(index);
                } else {
                    seen.extend(family.series_texts().map(<[u8]>::to_vec));
                }
            }
            if *block.hidden != *hidden {
                let block = SeriesBlock { hidden: hidden.into(), ..block.clone() };
                newest.result = Arc::new(newest.result.with_series(block));
            }
        }
    }

    pub(super) fn books(&self) -> Books {
        let current = self.tracks.iter().find(|(epoch, _)| Some(*epoch) == self.current);
        current.map_or_else(Books::default, |(_, track)| Books {
            sequence: track.highest(),
            baseline: track.baseline(),
            received: track.received(),
            lost: track.lost(),
            outstanding: track.outstanding(),
        })
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.retired;
        for (_, track) in &self.tracks {
            totals += Totals { received: track.received(), lost: track.lost(), ..Totals::default() };
        }
        totals.received = totals.received.saturating_sub(self.before.received);
        totals.lost = totals.lost.saturating_sub(self.before.lost);
        totals
    }

    /// What the judge has to hear, if it is another than before.
    pub(super) fn observe(&mut self) -> Option<Observation> {
        let facts = HostFacts {
            state: self.pulse.state(),
            is_settled: self.repair.is_settled(),
            labels: Arc::clone(&self.labels),
            plan: Arc::clone(self.plan.as_ref()?),
        };
        if self.observed.as_ref().is_some_and(|observed| observed.is_same(&facts)) {
            return None;
        }
        self.observed = Some(facts.clone());
        Some(Observation::Changed(self.id.clone(), facts))
    }

    /// Shows readers the host as it is now.
    pub(super) fn publish(&mut self) {
        self.dirty = false;
        self.entry.set(Snapshot {
            state: self.pulse.state(),
            state_since_ms: self.pulse.state_since_ms(),
            labels: Arc::clone(&self.labels),
            facts: self.facts.clone(),
            client_version: self.client_version.clone(),
            wanted: self.revision,
            applied: self.applied.clone(),
            last_report_ms: self.last_report_ms,
            clock_skew_seconds: self.clock.skew_seconds(),
            books: self.books(),
            totals: self.totals(),
            flooded: self.flooded,
            refused: self.refused,
            new_layouts: self.new_layouts,
            services: self.services.values().map(|newest| Arc::clone(&newest.result)).collect(),
        });
    }
}
