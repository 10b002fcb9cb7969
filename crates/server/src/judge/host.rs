//! One host as the judge knows it: its services, and the alerts of its triggers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_rules::{EvaluationError, Sample, Samples};
use hostwatch_wire::HostId;

use super::Desk;
use super::alert::{Alerts, Condition, Delays};
use super::binding::{Binding, BoundTrigger, Key, Shape};
use super::down::{self, HOST_DOWN};
use super::feed::{HostFacts, Report};
use super::journal::Journal;
use super::outlook::{Bearer, Fact, Results};
use super::saved::{Place, Restored};
use super::service::ServiceData;
use crate::fleet::State;
use crate::inventory::{RuleText, Trigger};

/// One host.
pub(super) struct Watched {
    id: HostId,
    pub(super) facts: HostFacts,
    /// Those of which series came, sorted by name.
    services: Vec<ServiceData>,
    binding: Arc<Binding>,
    /// One for each trigger, in the order of the triggers.
    alerts: Vec<Alerts>,
    /// Those of `HostDown`.
    down: Alerts,
    /// When time alone may change something, in milliseconds since 1970.
    deadline_ms: Option<i64>,
    /// Whether it was up since the judge began.
    was_up: bool,
}

impl Watched {
    /// A host that has just become known, with the alerts that were saved of it. It is bound next.
    pub(super) fn new(id: HostId, facts: HostFacts, restored: &mut Restored) -> Self {
        let mut take = |group, rule| restored.take(&Place::new(Some(&id), group, rule));
        let triggers = facts.plan.triggers.iter();
        let alerts = triggers.map(|trigger| take(Some(&*trigger.service), &trigger.rule.text)).collect();
        let down = take(None, &HOST_DOWN);
        let binding = Arc::default();
        let mut host =
            Self { id, facts, services: Vec::new(), binding, alerts, down, deadline_ms: None, was_up: false };
        host.relabel();
        host
    }

    /// The shapes of its services.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        self.services.iter().map(|service| service.shape.clone()).collect()
    }

    /// Takes in results; true when the shape of a service is another one, so that the host has to be bound anew before
    /// [`Watched::record`]. Results of services that the plan does not have are none.
    pub(super) fn take_in(&mut self, report: &Report, now_ms: i64) -> bool {
        let at_ms = now_ms.saturating_sub_unsigned(report.age_ms);
        let mut reshaped = false;
        for result in &report.services {
            let Some(planned) = self.facts.plan.service(&result.name) else { continue };
            let search = self.services.binary_search_by(|data| data.shape.service.cmp(&result.name));
            match (search, &result.series) {
                (Ok(place), Some(block)) if report.fresh => reshaped |= self.services[place].show(block, at_ms),
                (Ok(place), Some(block)) => reshaped |= self.services[place].foresee(block),
                (Ok(place), None) if report.fresh => self.services[place].fail(at_ms),
                (Err(place), Some(block)) => {
                    let (service, layout) = (Arc::clone(&result.name), Arc::clone(&block.layout));
                    let shape = Shape { service, layout, hidden: Arc::clone(&block.hidden) };
                    let mut data = ServiceData::new(shape, planned.interval_ms);
                    if report.fresh {
                        data.show(block, at_ms);
                    }
                    self.services.insert(place, data);
                    reshaped = true;
                }
                (_, None) => {}
            }
        }
        reshaped
    }

    /// Enters the values in the histories; the places of the services that are to be judged by them.
    pub(super) fn record(&mut self, report: &Report, now_ms: i64) -> Vec<u32> {
        let at_ms = now_ms.saturating_sub_unsigned(report.age_ms);
        let mut places = Vec::with_capacity(report.services.len());
        for result in &report.services {
            let search = self.services.binary_search_by(|data| data.shape.service.cmp(&result.name));
            let Ok(place) = search else { continue };
            match &result.series {
                Some(_) if report.fresh => self.services[place].record(),
                Some(block) => self.services[place].remember(block, at_ms),
                None => {}
            }
            if report.fresh {
                places.push(place as u32);
            }
        }
        places
    }

    /// The host is another than it was; true when it has to be bound anew. Alerts stay with their triggers; those of triggers
    /// that are gone end.
    pub(super) fn change(&mut self, facts: HostFacts, journal: &mut Journal, now_ms: i64) -> bool {
        let before = std::mem::replace(&mut self.facts, facts);
        self.was_up |= before.state == State::Up;
        if !Arc::ptr_eq(&before.plan.triggers, &self.facts.plan.triggers) {
            let mut old: Vec<(&Arc<Trigger>, Alerts)> =
                before.plan.triggers.iter().zip(std::mem::take(&mut self.alerts)).collect();
            let triggers = self.facts.plan.triggers.iter().map(|trigger| {
                let same = old.iter().position(|(old, _)| {
                    let (old_text, text) = (&old.rule.text, &trigger.rule.text);
                    old.service == trigger.service && old_text.alert == text.alert && old_text.labels == text.labels
                });
                same.map(|place| old.swap_remove(place).1).unwrap_or_default()
            });
            self.alerts = triggers.collect();
            for (trigger, mut alerts) in old {
                for alert in alerts.take() {
                    journal.end(Some(&self.id), &trigger.rule.text.alert, &alert, "the trigger was removed", now_ms);
                }
            }
        }
        let plan = Arc::clone(&self.facts.plan);
        self.services.retain_mut(|service| match plan.service(&service.shape.service) {
            Some(planned) => {
                service.interval_ms = planned.interval_ms as i64;
                true
            }
            None => false,
        });
        let relabelled = before.labels != self.facts.labels;
        if relabelled {
            self.relabel();
        }
        relabelled || !Arc::ptr_eq(&before.plan, &self.facts.plan)
    }

    fn relabel(&mut self) {
        for (alerts, trigger) in self.alerts.iter_mut().zip(self.facts.plan.triggers.iter()) {
            let bearer = Bearer { host: Some((&self.id, &self.facts.labels)), rule: &trigger.rule.text };
            alerts.relabel(|result| bearer.labels(result));
        }
        let bearer = Bearer { host: Some((&self.id, &self.facts.labels)), rule: &HOST_DOWN };
        self.down.relabel(|result| bearer.labels(result));
    }

    /// Its triggers and services are bound anew.
    pub(super) fn rebind(&mut self, binding: Arc<Binding>) {
        for (service, tracked) in self.services.iter_mut().zip(&binding.histories) {
            service.track(tracked);
        }
        self.binding = binding;
    }

    /// Everything is to be judged at the next tick.
    pub(super) fn make_due(&mut self) {
        self.deadline_ms = Some(i64::MIN);
    }

    /// Whether it fell silent, and that is not announced.
    pub(super) fn is_silent(&self) -> bool {
        let silent = matches!(self.facts.state, State::Down) || (self.facts.state == State::Stale && self.was_up);
        silent && self.down.is_empty()
    }

    /// Whether time alone may have changed something.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        self.deadline_ms.is_some_and(|deadline| deadline <= now_ms)
    }

    /// Judges the triggers that read one of these services.
    pub(super) fn judge_readers(&mut self, services: &[u32], desk: &mut Desk, now_ms: i64) {
        for place in 0..self.alerts.len() {
            if self.binding.triggers[place].services.iter().any(|service| services.contains(service)) {
                self.judge(place, desk, now_ms);
            }
        }
        // What is due already stays so until the next tick.
        if !self.is_due(now_ms) {
            self.plan_ahead(now_ms);
        }
    }

    /// Judges whatever can have changed by time alone, or by what the host is.
    pub(super) fn judge_all(&mut self, desk: &mut Desk, now_ms: i64) {
        for service in self.services.iter_mut().filter(|service| !service.is_fresh(now_ms)) {
            service.hide(now_ms);
        }
        // What is announced already is followed; in a storm nothing further is.
        let held = desk.holds_down && self.down.is_empty();
        let condition = if held { Condition::NoData } else { down::condition(self.facts.state) };
        let life = Fact::new(Bearer { host: Some((&self.id, &self.facts.labels)), rule: &HOST_DOWN }, condition);
        let delays = Delays { hold_ms: 0, keep_ms: 0 };
        self.down.judge(&life, delays, now_ms, |alert, step| {
            desk.journal.note(Some(&self.id), &HOST_DOWN.alert, alert, step, now_ms);
        });
        for place in 0..self.alerts.len() {
            self.judge(place, desk, now_ms);
        }
        self.plan_ahead(now_ms);
    }

    /// Judges one trigger, by its place.
    fn judge(&mut self, place: usize, desk: &mut Desk, now_ms: i64) {
        let started = Instant::now();
        let outcome = self.judge_trigger(place, desk, now_ms);
        let row = self.binding.triggers[place].row;
        desk.table.note(row, Some(&self.id), outcome, started.elapsed(), now_ms);
    }

    fn judge_trigger(&mut self, place: usize, desk: &mut Desk, now_ms: i64) -> Result<(), EvaluationError> {
        let Self { id, facts, services, binding, alerts, .. } = self;
        let (bound, trigger, alerts) = (&binding.triggers[place], &facts.plan.triggers[place], &mut alerts[place]);
        let (delays, text) = (Delays::from(&trigger.rule), &trigger.rule.text);
        let Desk { journal, condition_room, recover_room, .. } = desk;
        let moved = |alert: &_, step| journal.note(Some(id), &text.alert, alert, step, now_ms);
        if facts.state != State::Up || !facts.is_settled || !has_data(services, bound, trigger, now_ms) {
            alerts.lose_data(delays, now_ms, moved);
            return Ok(());
        }
        let (samples, lookback) = (HostSamples(services), lookback(services, bound));
        let condition = bound.condition.evaluate(now_ms, lookback, &samples, condition_room)?;
        let recover = match &bound.recover {
            Some(recover) => Some(recover.evaluate(now_ms, lookback, &samples, recover_room)?),
            None => None,
        };
        let results = Results { bearer: Bearer { host: Some((id, &facts.labels)), rule: text }, condition, recover };
        alerts.judge(&results, delays, now_ms, moved);
        Ok(())
    }

    /// Works out when time alone may change something.
    fn plan_ahead(&mut self, now_ms: i64) {
        let triggers = self.alerts.iter().zip(self.facts.plan.triggers.iter());
        let timers = triggers.filter_map(|(alerts, trigger)| alerts.deadline(Delays::from(&trigger.rule)));
        let silences = self.services.iter().filter(|service| service.is_fresh(now_ms)).map(ServiceData::stale_at_ms);
        self.deadline_ms = timers.chain(silences).min();
    }

    /// Nobody watches the host any more.
    pub(super) fn end(self, reason: &str, journal: &mut Journal, now_ms: i64) {
        for Standing { rule, alerts, .. } in self.standings() {
            for alert in alerts.iter() {
                journal.end(Some(&self.id), &rule.alert, alert, reason, now_ms);
            }
        }
    }

    /// Every rule that holds for it, with its alerts.
    pub(super) fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        let down = Standing { row: None, group: None, rule: &HOST_DOWN, alerts: &self.down };
        let triggers = self.facts.plan.triggers.iter().zip(&self.alerts).zip(&self.binding.triggers);
        let triggers = triggers.map(|((trigger, alerts), bound)| Standing {
            row: Some(bound.row),
            group: Some(&*trigger.service),
            rule: &trigger.rule.text,
            alerts,
        });
        std::iter::once(down).chain(triggers)
    }

    /// The newest sample of a series, for rules over the fleet.
    pub(super) fn newest(&self, key: Key, after_ms: i64, until_ms: i64) -> Option<Sample> {
        HostSamples(&self.services).newest(key, after_ms, until_ms)
    }

    /// The samples of a series, for rules over the fleet.
    pub(super) fn range(&self, key: Key, after_ms: i64, until_ms: i64, samples: &mut Vec<Sample>) {
        HostSamples(&self.services).range(key, after_ms, until_ms, samples);
    }
}

/// A rule in one place, with its alerts.
pub(super) struct Standing<'a> {
    /// Its row in the table; nothing for `HostDown`.
    pub row: Option<usize>,
    /// The service, or the rule's name.
    pub group: Option<&'a str>,
    pub rule: &'a Arc<RuleText>,
    pub alerts: &'a Alerts,
}

/// Whether there is anything to judge by: the trigger's own service delivers, and so does at least one of those it reads.
fn has_data(services: &[ServiceData], bound: &BoundTrigger, trigger: &Trigger, now_ms: i64) -> bool {
    let own = services.iter().find(|service| service.shape.service == trigger.service);
    let fresh = |place: &u32| services.get(*place as usize).is_some_and(|service| service.is_fresh(now_ms));
    own.is_some_and(|own| own.is_fresh(now_ms)) && bound.services.iter().any(fresh)
}

fn lookback(services: &[ServiceData], bound: &BoundTrigger) -> Duration {
    let read = bound.services.iter().filter_map(|place| services.get(*place as usize));
    read.map(ServiceData::lookback).max().unwrap_or_default()
}

/// The samples of one host.
struct HostSamples<'a>(&'a [ServiceData]);

impl Samples<Key> for HostSamples<'_> {
    fn newest(&self, key: Key, after_ms: i64, until_ms: i64) -> Option<Sample> {
        self.0.get(key.service as usize)?.newest(key.column, after_ms, until_ms)
    }

    fn range(&self, key: Key, after_ms: i64, until_ms: i64, samples: &mut Vec<Sample>) {
        if let Some(service) = self.0.get(key.service as usize) {
            service.range(key.column, after_ms, until_ms, samples);
        }
    }
}
