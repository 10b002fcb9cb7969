//! The judge: follows every host's values, raises and ends alerts, and evaluates the rules over the fleet.
//!
//! Observations of the fleet come in as calls with the time of the event, what readers see goes to the [`Board`]. Nothing
//! here waits. `task` runs it on a thread of its own.

mod alert;
mod binding;
mod board;
mod down;
mod feed;
mod fleet_rules;
mod host;
mod journal;
mod outlook;
mod saved;
mod service;
mod storm;
mod table;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use hostwatch_rules::Scratch;
use hostwatch_wire::HostId;

pub(crate) use alert::Phase;
pub(crate) use board::{ActiveAlert, Board, Event, RuleStatus, View};
pub(crate) use feed::{Feed, HostFacts, Observation, Report, feed};
pub(crate) use fleet_rules::knows;
pub(crate) use saved::SavedAlerts;
pub(crate) use storm::StormSettings;
pub(crate) use task::JudgeTask;

use crate::clock::Now;
use crate::directory::Directory;
use crate::fleet::State;
use crate::inventory::{FleetRule, FleetRuleKind, RuleText};
use binding::Bindings;
use board::Places;
use down::HOST_DOWN;
use fleet_rules::{Fleet, FleetRules};
use host::Watched;
use journal::Journal;
use saved::{Place, Restored, SavedAlert};
use storm::{Census, Storm};
use table::Table;

/// See the module.
pub(crate) struct Judge {
    hosts: HashMap<HostId, Watched>,
    fleet: FleetRules,
    storm: Storm,
    bindings: Bindings,
    desk: Desk,
    restored: Restored,
    board: Arc<Board>,
    /// For what rules over the fleet read beside the hosts' own series.
    directory: Arc<Directory>,
    /// The label `job` of every series of a host.
    job: Arc<str>,
    /// The wall clock when the judge began: from then on its time is not moved by those who set the clock.
    began: Now,
    /// Whether there is something that readers have not seen.
    dirty: bool,
}

/// What every judgement is entered in, and the room that it needs.
#[derive(Default)]
struct Desk {
    table: Table,
    journal: Journal,
    condition_room: Scratch,
    recover_room: Scratch,
    /// Whether no further host is to be announced as down.
    holds_down: bool,
}

impl Judge {
    /// With the alerts that were saved. Hosts become known by observations.
    #[must_use]
    pub(crate) fn new(
        board: Arc<Board>,
        directory: Arc<Directory>,
        job: Arc<str>,
        saved: SavedAlerts,
        now: Now,
    ) -> Self {
        let mut desk = Desk::default();
        desk.journal.restore(saved.events);
        let mut restored = Restored::new(saved.alerts, saved.saved_at_ms);
        let [link_down, fleet_silent] = storm::rules().map(|rule| restored.take(&Place::new(None, None, rule)));
        Self {
            hosts: HashMap::new(),
            fleet: FleetRules::default(),
            storm: Storm::new(link_down, fleet_silent),
            bindings: Bindings::default(),
            desk,
            restored,
            board,
            directory,
            job,
            began: now,
            dirty: true,
        }
    }

    /// The time by which everything here is judged, in milliseconds since 1970.
    fn time(&self, now: Now) -> i64 {
        let elapsed = now.since(self.began.monotonic).as_millis() as i64;
        (self.began.wall_ms as i64).saturating_add(elapsed)
    }

    /// Puts rules over the fleet in force.
    pub(crate) fn apply(&mut self, rules: &[Arc<FleetRule>], now: Now) {
        let now_ms = self.time(now);
        let Desk { table, journal, .. } = &mut self.desk;
        self.fleet.apply(rules, table, &mut self.restored, journal, now_ms);
        // What is to be remembered of the hosts may be something else.
        self.bindings.clear();
        let ids: Vec<HostId> = self.hosts.keys().cloned().collect();
        ids.iter().for_each(|id| self.rebind(id));
        self.dirty = true;
    }

    /// The storm guard has these settings.
    pub(crate) fn guard(&mut self, settings: StormSettings) {
        self.storm.apply(settings);
    }

    /// The link to Redis is there, or away.
    pub(crate) fn on_link(&mut self, is_connected: bool, now: Now) {
        let now_ms = self.time(now);
        self.storm.on_link(is_connected, now_ms);
    }

    /// Every host and rule that is known at the start has come: what was saved of others ends.
    pub(crate) fn begin(&mut self, now: Now) {
        let now_ms = self.time(now);
        let known = |host: &HostId| self.hosts.contains_key(host);
        self.restored.end_rest(known, &mut self.desk.journal, now_ms);
        self.dirty = true;
    }

    /// A host came, or is another than it was. It is judged at the next tick, when it is known whether others are, too.
    pub(crate) fn on_host(&mut self, id: HostId, facts: HostFacts, now: Now) {
        let now_ms = self.time(now);
        let unbound = match self.hosts.get_mut(&id) {
            Some(host) => host.change(facts, &mut self.desk.journal, now_ms),
            None => {
                let host = Watched::new(id.clone(), facts, &mut self.restored);
                self.hosts.insert(id.clone(), host);
                true
            }
        };
        if unbound {
            self.rebind(&id);
        }
        if let Some(host) = self.hosts.get_mut(&id) {
            host.make_due();
        }
        self.dirty = true;
    }

    /// A host is no longer watched: its alerts end.
    pub(crate) fn on_removed(&mut self, id: &HostId, now: Now) {
        let now_ms = self.time(now);
        if let Some(host) = self.hosts.remove(id) {
            host.end("the host was removed", &mut self.desk.journal, now_ms);
            self.fleet.invalidate();
            self.dirty = true;
        }
    }

    /// Results came.
    pub(crate) fn on_report(&mut self, report: &Report, now: Now) {
        let now_ms = self.time(now);
        let Some(host) = self.hosts.get_mut(&report.host) else { return };
        if host.take_in(report, now_ms) {
            self.rebind(&report.host);
        }
        let Some(host) = self.hosts.get_mut(&report.host) else { return };
        let places = host.record(report, now_ms);
        host.judge_readers(&places, &mut self.desk, now_ms);
        self.dirty |= report.fresh;
    }

    /// Time has passed: timers run out, services fall silent, rules over the fleet are due.
    pub(crate) fn tick(&mut self, now: Now) {
        let now_ms = self.time(now);
        self.watch_for_storms(now_ms);
        for host in self.hosts.values_mut().filter(|host| host.is_due(now_ms)) {
            host.judge_all(&mut self.desk, now_ms);
            self.dirty = true;
        }
        let fleet = Fleet { hosts: &self.hosts, directory: &self.directory, job: &self.job };
        self.dirty |= self.fleet.judge_due(&fleet, &mut self.desk, now_ms);
    }

    fn watch_for_storms(&mut self, now_ms: i64) {
        let mut census = Census::default();
        for host in self.hosts.values() {
            census.heard += usize::from(host.facts.state == State::Up);
            census.silent += usize::from(host.is_silent());
        }
        let Desk { journal, holds_down, .. } = &mut self.desk;
        self.storm.judge(census, now_ms, |rule, alert, step| {
            journal.note(None, &rule.alert, alert, step, now_ms);
            self.dirty = true;
        });
        let holds = self.storm.holds(now_ms);
        if std::mem::replace(holds_down, holds) && !holds {
            self.hosts.values_mut().for_each(Watched::make_due);
        }
    }

    fn rebind(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        let ranges = self.fleet.ranges();
        let table = &mut self.desk.table;
        let triggers = &host.facts.plan.triggers;
        let binding = self.bindings.get(triggers, &host.shapes(), &ranges, |trigger| table.of_trigger(trigger));
        host.rebind(binding);
        self.fleet.invalidate();
    }

    /// Shows readers what has changed.
    pub(crate) fn publish(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let mut ids: Vec<&HostId> = self.hosts.keys().collect();
        ids.sort();
        let mut alerts: Vec<ActiveAlert> = Vec::new();
        let mut places = vec![Places::default(); self.desk.table.rows().len()];
        let mut built_in: Vec<(&Arc<RuleText>, Places)> = vec![(&HOST_DOWN, Places::default())];
        for (rule, standing) in self.storm.rules() {
            let mut places = Places::default();
            places.add(standing);
            built_in.push((rule, places));
            alerts.extend(standing.iter().map(|alert| ActiveAlert::new(None, rule, alert)));
        }
        for (row, rule, standing) in self.fleet.alerts() {
            if let FleetRuleKind::Alert(alert) = &rule.kind {
                places[row].add(standing);
                alerts.extend(standing.iter().map(|moved| ActiveAlert::new(None, &alert.text, moved)));
            } else {
                places[row].inactive += 1;
            }
        }
        for id in ids {
            for standing in self.hosts[id].standings() {
                standing.row.map_or(&mut built_in[0].1, |row| &mut places[row]).add(standing.alerts);
                alerts.extend(standing.alerts.iter().map(|alert| ActiveAlert::new(Some(id), standing.rule, alert)));
            }
        }
        let rows = self.desk.table.rows().iter().zip(places).filter(|(_, places)| *places != Places::default());
        let mut rules: Vec<RuleStatus> = rows.map(|(row, places)| RuleStatus { places, ..row.clone() }).collect();
        rules.extend(built_in.into_iter().map(|(rule, places)| RuleStatus::built_in(rule, places)));
        rules.sort_by(|a, b| (&a.name, &a.subject, &a.severity).cmp(&(&b.name, &b.subject, &b.severity)));
        self.board.set(View {
            alerts,
            rules: rules.into(),
            events: self.desk.journal.events().cloned().collect(),
            records: self.fleet.records(),
        });
    }

    /// Whether something happened since [`Judge::save`] that must not be forgotten.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.desk.journal.unsaved
    }

    /// What is to be written to the state directory.
    #[must_use]
    pub(crate) fn save(&mut self, now: Now) -> SavedAlerts {
        let saved_at_ms = self.time(now);
        self.desk.journal.unsaved = false;
        let mut alerts = Vec::new();
        for (rule, standing) in self.storm.rules() {
            let place = Place::new(None, None, rule);
            alerts.extend(standing.iter().map(|alert| SavedAlert::new(&place, alert)));
        }
        for (_, rule, standing) in self.fleet.alerts() {
            if let FleetRuleKind::Alert(alert) = &rule.kind {
                let place = Place::new(None, Some(&rule.name), &alert.text);
                alerts.extend(standing.iter().map(|alert| SavedAlert::new(&place, alert)));
            }
        }
        for (id, host) in &self.hosts {
            for standing in host.standings().filter(|standing| !standing.alerts.is_empty()) {
                let place = Place::new(Some(id), standing.group, standing.rule);
                alerts.extend(standing.alerts.iter().map(|alert| SavedAlert::new(&place, alert)));
            }
        }
        let events = self.desk.journal.events().map(|event| (**event).clone()).collect();
        SavedAlerts { saved_at_ms, alerts, events }
    }
}
