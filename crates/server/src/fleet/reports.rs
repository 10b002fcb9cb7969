//! Reports: entered in the books, parked while a layout is missing, shown when they are the newest.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_wire::{
    EncodedLayout, Epoch, Gone, Goodbye, HostId, LayoutId, Layouts as LayoutsMessage, MAX_SERVICES, Report, Revision,
    ServerBody, ServiceReport, Status, WantLayout,
};

use super::host::{Host, Newest};
use super::ledger::Marks;
use super::tracking::Arrival;
use super::{Effect, Fleet, Refused};
use crate::clock::Now;
use crate::directory::{SeriesBlock, Service};
use crate::judge::{self, Observation};
use crate::layouts::PreparedLayout;

/// So many reports of one host wait for a layout, at most.
const MAX_PARKED: usize = 64;
/// So many bytes of one host wait for a layout, at most.
const MAX_PARKED_BYTES: usize = 2 << 20;
/// A host is asked again for what it did not answer after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A host that does not run what it should is reminded after so long.
const REMIND_AFTER: Duration = Duration::from_secs(60);

/// So many bytes a host's layouts may take that no report has used yet.
const MAX_HELD_BYTES: usize = 16 << 20;
/// So long a layout waits for the first report that uses it.
const HELD_FOR: Duration = Duration::from_secs(60);

/// Reports of one host that wait for a layout, and layouts that wait for a report; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Parked {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    layouts: VecDeque<(Instant, Arc<PreparedLayout>)>,
    /// Layouts that the host was asked for, and when.
    asked: HashMap<LayoutId, Instant>,
}

impl Parked {
    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message; when there is no room, the oldest ones go, and stay gaps. How many went.
    fn push(&mut self, message: &[u8]) -> u64 {
        let mut dropped = 0;
        self.bytes += message.len();
        self.messages.push_back(message.to_vec());
        while self.messages.len() > MAX_PARKED || self.bytes > MAX_PARKED_BYTES {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
            dropped += 1;
        }
        dropped
    }

    fn take(&mut self) -> VecDeque<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    /// Whether the host is to be asked for a layout, again or for the first time.
    fn ask(&mut self, layout: LayoutId, now: Now) -> bool {
        self.asked.retain(|_, asked| now.since(*asked) < ASK_AGAIN);
        if self.asked.len() >= MAX_SERVICES || self.asked.contains_key(&layout) {
            return false;
        }
        self.asked.insert(layout, now.monotonic);
        true
    }

    /// Keeps layouts in use until a report does; the oldest go when there are too many.
    fn hold(&mut self, layouts: impl Iterator<Item = Arc<PreparedLayout>>, now: Now) {
        for layout in layouts {
            self.asked.remove(&layout.id());
            self.layouts.retain(|(_, held)| held.id() != layout.id());
            self.layouts.push_back((now.monotonic, layout));
        }
        let mut bytes: usize = self.layouts.iter().map(|(_, layout)| layout.bytes()).sum();
        while bytes > MAX_HELD_BYTES || self.layouts.len() > MAX_SERVICES {
            let Some((_, oldest)) = self.layouts.pop_front() else { break };
            bytes -= oldest.bytes();
        }
    }

    /// Lets go of layouts that no report came for.
    pub(super) fn expire(&mut self, now: Now) {
        while self.layouts.front().is_some_and(|(since, _)| now.since(*since) >= HELD_FOR) {
            self.layouts.pop_front();
        }
    }
}

/// The layouts that a report refers to.
type Found = HashMap<LayoutId, Arc<PreparedLayout>>;

impl Fleet {
    pub(super) fn on_report(
        &mut self,
        id: &HostId,
        epoch: Epoch,
        report: &Report<'_>,
        message: &[u8],
        now: Now,
    ) -> Result<(), Refused> {
        let server = self.identity.server;
        self.known_host(id)?;
        let mut found = self.intern_all(id, &report.layouts)?;
        let missing = self.find_layouts(id, report, &mut found);
        if missing.is_empty() {
            check_values(report, &found)?;
        }

        let host = self.known_host(id)?;
        let is_current = host.current == Some(epoch);
        if is_current {
            host.pulse.heard(now);
        } else if host.current.is_none() && host.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN) {
            // Which of its epochs is the current one only a hello can say.
            host.asked = Some(now.monotonic);
            self.announce_to(id);
        }

        let host = self.known_host(id)?;
        if missing.is_empty() {
            // Nothing is acknowledged before it is sent.
            let marks = Marks::new(server, &report.acked, report.seq.saturating_sub(1));
            let refills = host.repair.refills(epoch, report.seq);
            let arrival = match host.ledger.receive(epoch, report.seq, report.oldest_seq, marks, now) {
                Arrival::Duplicate if refills => Arrival::Late,
                arrival => arrival,
            };
            host.ledger.count(arrival);
            if arrival == Arrival::Late || (arrival == Arrival::Newest && !is_current) {
                let age_ms = host.clock.age_ms(epoch, report.seq, report.collected_at_ms, now);
                let services = results(&report.services, &found);
                let observed = judge::Report { host: id.clone(), age_ms, fresh: false, services };
                self.observations.push(Observation::Report(observed));
            } else if arrival == Arrival::Newest && is_current {
                host.last_report_ms = Some(now.wall_ms);
                host.clock.measure(epoch, report.seq, report.collected_at_ms, now);
                let services = host.show(&report.services, &found, now);
                let age_ms = host.clock.age_ms(epoch, report.seq, report.collected_at_ms, now);
                let drifted = host.has_drifted(report.revision, now);
                if drifted {
                    host.asked = Some(now.monotonic);
                }
                let observed = judge::Report { host: id.clone(), age_ms, fresh: true, services };
                self.observations.push(Observation::Report(observed));
                if drifted {
                    self.announce_to(id);
                }
            }
        } else {
            let dropped = host.parked.push(message);
            host.parked.hold(found.into_values(), now);
            let layouts: Vec<LayoutId> = missing.into_iter().filter(|layout| host.parked.ask(*layout, now)).collect();
            if !layouts.is_empty() {
                self.effects.push(Effect::Say(id.clone(), ServerBody::WantLayout(WantLayout { layouts })));
            }
            self.summary.parked_dropped += dropped;
        }
        self.changed_now(id, now);
        Ok(())
    }

    pub(super) fn on_layouts(&mut self, id: &HostId, message: &LayoutsMessage, now: Now) -> Result<(), Refused> {
        self.known_host(id)?;
        let found = self.intern_all(id, &message.layouts)?;
        let channel = self.names.reports(id);
        let host = self.known_host(id)?;
        host.parked.hold(found.into_values(), now);
        for parked in host.parked.take() {
            self.on_message(&channel, &parked, now);
        }
        Ok(())
    }

    pub(super) fn on_gone(&mut self, id: &HostId, epoch: Epoch, gone: Gone, now: Now) -> Result<(), Refused> {
        let host = self.known_host(id)?;
        if host.current == Some(epoch) {
            host.pulse.heard(now);
        }
        host.ledger.heard(epoch, now);
        host.ledger.give_up_before(epoch, gone.up_to + 1);
        host.repair.give_up_before(epoch, gone.up_to + 1);
        self.changed_now(id, now);
        Ok(())
    }

    pub(super) fn on_goodbye(&mut self, id: &HostId, epoch: Epoch, goodbye: Goodbye, now: Now) -> Result<(), Refused> {
        let host = self.known_host(id)?;
        if host.current == Some(epoch) {
            host.ledger.announce(epoch, goodbye.last_seq);
            host.pulse.said_goodbye(now);
            let ack = host.ack(true).map(ServerBody::Ack);
            self.effects.extend(ack.map(|ack| Effect::Say(id.clone(), ack)));
            self.changed_now(id, now);
        }
        Ok(())
    }

    /// A host whose reports are listened to.
    pub(super) fn known_host(&mut self, id: &HostId) -> Result<&mut Host, Refused> {
        self.hosts.get_mut(id).filter(|host| host.is_known()).ok_or(Refused::new("unknown_host"))
    }

    /// Judges the host anew and shows it.
    pub(super) fn changed_now(&mut self, id: &HostId, now: Now) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.judge(&self.timing, self.connected_since, now);
            self.mark(id);
        }
    }

    fn intern_all(&mut self, id: &HostId, layouts: &[EncodedLayout]) -> Result<Found, Refused> {
        let mut found = Found::new();
        for encoded in layouts {
            let is_new = self.layouts.get(encoded.id()).is_none();
            let layout = self.layouts.intern(encoded).map_err(|error| Refused::because("layout", &error))?;
            self.known_host(id)?.new_layouts += u64::from(is_new);
            found.insert(layout.id(), layout);
        }
        Ok(found)
    }

    /// Completes `found`; what it returns nobody has.
    fn find_layouts(&self, id: &HostId, report: &Report<'_>, found: &mut Found) -> BTreeSet<LayoutId> {
        let mut missing = BTreeSet::new();
        let Some(host) = self.hosts.get(id) else { return missing };
        for service in &report.services {
            let Some(layout) = service.layout.filter(|layout| !found.contains_key(layout)) else { continue };
            match host.layout(service.service, layout).cloned().or_else(|| self.layouts.get(layout)) {
                Some(known) => {
                    found.insert(layout, known);
                }
                None => {
                    missing.insert(layout);
                }
            }
        }
        missing
    }
}

impl Host {
    /// Whether the host has had time to put the wanted revision in force and to say so, and has not: a message was lost.
    fn has_drifted(&self, in_force: Option<Revision>, now: Now) -> bool {
        let applied = self.applied.as_ref().map(|applied| applied.revision);
        (in_force != self.revision || applied != self.revision)
            && !self.contested
            && now.since(self.revision_since) >= REMIND_AFTER
            && self.asked.is_none_or(|asked| now.since(asked) >= REMIND_AFTER)
    }

    /// Makes these results the newest ones, and returns them.
    fn show(&mut self, services: &[ServiceReport<'_>], layouts: &Found, now: Now) -> Vec<Arc<Service>> {
        let Some(plan) = self.plan.clone() else { return Vec::new() };
        let mut shown: Vec<Arc<str>> = Vec::with_capacity(services.len());
        let mut shape_changed = false;
        for report in services {
            // A service that the configuration has dropped meanwhile is not shown again.
            let Some(planned) = plan.service(report.service) else { continue };
            let before = self.services.get(report.service);
            let block_before = before.and_then(|newest| newest.result.series.as_ref());
            let layout = report.layout.filter(|_| report.status == Status::Ok).and_then(|id| layouts.get(&id));
            let series = layout.map(|layout| {
                let same_shape = block_before.filter(|block| Arc::ptr_eq(&block.layout, layout));
                shape_changed |= same_shape.is_none();
                SeriesBlock {
                    layout: Arc::clone(layout),
                    values: report.values.iter().collect(),
                    hidden: same_shape.map_or_else(Arc::default, |block| Arc::clone(&block.hidden)),
                }
            });
            shape_changed |= series.is_none() && block_before.is_some();
            let name = before.map_or_else(|| Arc::from(report.service), |newest| Arc::clone(&newest.result.name));
            let result = Arc::new(Service {
                name: Arc::clone(&name),
                status: report.status,
                message: report.message.map(str::to_owned),
                duration_us: report.duration_us,
                series,
            });
            let layout = layout.cloned().or_else(|| before.and_then(|newest| newest.layout.clone()));
            let interval = Duration::from_millis(planned.interval_ms);
            shown.push(Arc::clone(&name));
            self.services.insert(name, Newest { result, layout, heard: now.monotonic, interval });
        }
        if shape_changed && self.services.len() > 1 {
            self.hide_duplicates();
        }
        shown.iter().filter_map(|name| self.services.get(name)).map(|newest| Arc::clone(&newest.result)).collect()
    }
}

/// The results of a report that is not shown any more.
fn results(services: &[ServiceReport<'_>], layouts: &Found) -> Vec<Arc<Service>> {
    let with_values = services.iter().filter(|report| report.status == Status::Ok);
    let results = with_values.filter_map(|report| {
        let layout = Arc::clone(layouts.get(&report.layout?)?);
        let series = SeriesBlock { layout, values: report.values.iter().collect(), hidden: Arc::default() };
        Some(Arc::new(Service {
            name: Arc::from(report.service),
            status: report.status,
            message: None,
            duration_us: report.duration_us,
            series: Some(series),
        }))
    });
    results.collect()
}

/// Refuses a report whose values do not fit their layouts.
fn check_values(report: &Report<'_>, layouts: &Found) -> Result<(), Refused> {
    for service in &report.services {
        let expected = match service.layout {
            Some(layout) => layouts.get(&layout).map_or(0, |layout| layout.series()),
            None => 0,
        };
        if service.values.len() != expected {
            let detail = format!("{} values of {} for {expected} series", service.values.len(), service.service);
            return Err(Refused::because("values", &detail));
        }
    }
    Ok(())
}
