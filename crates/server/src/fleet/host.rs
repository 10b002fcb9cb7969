//! One host: its configuration, its books, its life, its newest results.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_wire::{Ack, Applied, Epoch, Facts, HostConfig, HostId, LayoutId, Revision};

use super::Timing;
use super::host_clock::HostClock;
use super::ledger::{Ledger, Totals};
use super::life::{Pulse, State};
use super::repair::Repair;
use super::reports::Parked;
use crate::clock::Now;
use crate::directory::{Books, Entry, Faults, Rival, SeriesBlock, Service, Snapshot};
use crate::inventory::{Labels, Origin, Plan};
use crate::judge::{HostFacts, Observation};
use crate::layouts::PreparedLayout;

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
    /// The two clients that were alive at once when that was noticed last.
    pub(super) rivals: Option<Arc<[Rival; 2]>>,
    /// Epochs that were current once.
    pub(super) superseded: Vec<Epoch>,
    pub(super) ledger: Ledger,
    pub(super) parked: Parked,
    pub(super) repair: Repair,
    /// Until when nobody listens to it, because it floods.
    pub(super) muted_until: Option<Instant>,
    /// When that ended last: what it said before, nobody could hear.
    pub(super) unmuted: Option<Instant>,
    pub(super) faults: Faults,
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

impl Host {
    /// A host that was in `state` since `state_since_ms` when it was last seen.
    pub(super) fn new(id: HostId, state: State, state_since_ms: u64, ack_interval: Duration, now: Now) -> Self {
        let snapshot = Snapshot {
            state,
            state_since_ms,
            labels: Arc::default(),
            facts: None,
            client_version: None,
            rivals: None,
            wanted: None,
            applied: None,
            last_report_ms: None,
            clock_skew_seconds: None,
            books: Books::default(),
            totals: Totals::default(),
            faults: Faults::default(),
            new_layouts: 0,
            parked: 0,
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
            rivals: None,
            superseded: Vec::new(),
            ledger: Ledger::default(),
            observed: None,
            dirty: false,
            parked: Parked::default(),
            repair: Repair::default(),
            muted_until: None,
            unmuted: None,
            faults: Faults::default(),
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

    /// The acknowledgement of the current epoch, when it is time for it.
    pub(super) fn due_ack(&mut self, interval: Duration, now: Now) -> Option<Ack> {
        if now.monotonic < self.next_ack {
            return None;
        }
        // Whatever was late, the fleet stays spread.
        while self.next_ack <= now.monotonic {
            self.next_ack += interval;
        }
        let alive = matches!(self.pulse.state(), State::Up | State::Conflict);
        if alive { self.ack(false) } else { None }
    }

    /// The acknowledgement of the current epoch.
    pub(super) fn ack(&self, goodbye: bool) -> Option<Ack> {
        let epoch = self.current?;
        Some(Ack { epoch, up_to: self.ledger.mark(epoch), goodbye })
    }

    /// Judges whether the host lives and takes old series off the page; true when readers should see it.
    pub(super) fn tick(&mut self, timing: &Timing, connected_since: Option<Instant>, now: Now) -> bool {
        let changed = self.judge(timing, connected_since, now);
        let gave_up = self.ledger.give_up_disowned(timing.silence(), self.listened_since(connected_since), now);
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
        changed || gave_up || shape_changed
    }

    /// Judges whether the host lives; true when its state is another one.
    pub(super) fn judge(&mut self, timing: &Timing, connected_since: Option<Instant>, now: Now) -> bool {
        let listened_since = self.listened_since(connected_since);
        self.pulse.judge(self.origin, timing, listened_since, now)
    }

    /// Since when we hear what it says; nothing while we do not.
    fn listened_since(&self, connected_since: Option<Instant>) -> Option<Instant> {
        let connected_since = connected_since.filter(|_| self.muted_until.is_none());
        connected_since.map(|since| self.unmuted.map_or(since, |unmuted| since.max(unmuted)))
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
            rivals: self.rivals.clone().filter(|_| self.pulse.state() == State::Conflict),
            wanted: self.revision,
            applied: self.applied.clone(),
            last_report_ms: self.last_report_ms,
            clock_skew_seconds: self.clock.skew_seconds(),
            books: self.ledger.books(self.current),
            totals: self.ledger.totals(),
            faults: self.faults,
            new_layouts: self.new_layouts,
            parked: self.parked.len(),
            services: self.services.values().map(|newest| Arc::clone(&newest.result)).collect(),
        });
    }
}
