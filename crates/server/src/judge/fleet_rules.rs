//! Rules over all hosts: each is evaluated at its interval over every host's series and the server's figures about them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_rules::{EvaluationError, Expression, Labels, Plan, Sample, Samples, Selector};
use hostwatch_wire::HostId;

use super::Desk;
use super::alert::{Alerts, Delays};
use super::binding::{Key, candidates};
use super::board::Record;
use super::host::Watched;
use super::journal::Journal;
use super::outlook::{Bearer, Results};
use super::saved::{Place, Restored};
use super::table::Table;
use crate::directory::{Directory, Snapshot};
use crate::fleet::State;
use crate::inventory::{FleetRule, FleetRuleKind};
use crate::page::FIGURES;

/// How far back a value may lie that still counts as the newest, as in Prometheus.
const LOOKBACK: Duration = Duration::from_mins(5);
/// What stands for the service in the keys of the server's figures.
const OURS: u32 = u32::MAX;
/// The family with one series for each state, beside those of [`FIGURES`].
const STATE: &str = "hostwatch_host_state";

/// Whether the server itself has a family of this name that rules over the fleet can read.
#[must_use]
pub(crate) fn knows(name: &str) -> bool {
    name == STATE || FIGURES.iter().any(|figure| figure.name == name)
}

/// The rules in force.
#[derive(Default)]
pub(super) struct FleetRules {
    rules: Vec<Rule>,
    /// Counts up when there are other hosts, series or labels than before.
    generation: u64,
}

struct Rule {
    rule: Arc<FleetRule>,
    row: usize,
    next_ms: i64,
    alerts: Alerts,
    record: Option<Arc<Record>>,
    bound: Option<Bound>,
}

/// A rule bound to all series of all hosts.
struct Bound {
    generation: u64,
    /// The hosts by their places in keys.
    hosts: Vec<HostId>,
    condition: Plan<Key>,
    recover: Option<Plan<Key>>,
}

/// What the rules are evaluated over.
pub(super) struct Fleet<'a> {
    pub(super) hosts: &'a HashMap<HostId, Watched>,
    /// For the server's figures about the hosts.
    pub(super) directory: &'a Directory,
    /// The label `job` of every series of a host.
    pub(super) job: &'a str,
}

impl FleetRules {
    /// Puts rules in force. Alerts stay with their rules; those of rules that are gone end.
    pub(super) fn apply(
        &mut self,
        rules: &[Arc<FleetRule>],
        table: &mut Table,
        restored: &mut Restored,
        journal: &mut Journal,
        now_ms: i64,
    ) {
        let mut old: HashMap<Place, Alerts> = HashMap::new();
        for mut rule in self.rules.drain(..) {
            if let FleetRuleKind::Alert(alert) = &rule.rule.kind {
                old.insert(Place::new(None, Some(&rule.rule.name), &alert.text), std::mem::take(&mut rule.alerts));
            }
        }
        let in_force = rules.iter().map(|rule| {
            let alerts = match &rule.kind {
                FleetRuleKind::Alert(alert) => {
                    let place = Place::new(None, Some(&rule.name), &alert.text);
                    let mut alerts = old.remove(&place).unwrap_or_else(|| restored.take(&place));
                    let bearer = Bearer { host: None, rule: &alert.text };
                    alerts.relabel(|result| bearer.labels(result));
                    alerts
                }
                FleetRuleKind::Record { .. } => Alerts::default(),
            };
            let row = table.of_fleet_rule(rule);
            Rule { rule: Arc::clone(rule), row, next_ms: now_ms, alerts, record: None, bound: None }
        });
        self.rules = in_force.collect();
        for (place, mut alerts) in old {
            for alert in alerts.take() {
                journal.end(None, &place.alert, &alert, "the rule was removed", now_ms);
            }
        }
    }

    /// There are other hosts, series or labels than before.
    pub(super) fn invalidate(&mut self) {
        self.generation += 1;
    }

    /// What the rules range over.
    pub(super) fn ranges(&self) -> Vec<Selector> {
        let expressions = self.rules.iter().flat_map(|rule| rule.rule.expressions());
        let selectors = expressions.flat_map(|expression| expression.selectors());
        selectors.filter(|selector| selector.range().is_some()).cloned().collect()
    }

    /// Evaluates the rules that are due; true when there was one.
    pub(super) fn judge_due(&mut self, fleet: &Fleet<'_>, desk: &mut Desk, now_ms: i64) -> bool {
        let mut judged = false;
        for rule in self.rules.iter_mut().filter(|rule| rule.next_ms <= now_ms) {
            judged = true;
            let started = Instant::now();
            let outcome = rule.judge(fleet, self.generation, desk, now_ms);
            desk.table.note(rule.row, None, outcome, started.elapsed(), now_ms);
            let interval = rule.rule.interval.as_millis() as i64;
            rule.next_ms = now_ms.max(rule.next_ms.saturating_add(interval));
        }
        judged
    }

    /// Every alert rule with its row and its alerts.
    pub(super) fn alerts(&self) -> impl Iterator<Item = (usize, &Arc<FleetRule>, &Alerts)> {
        self.rules.iter().map(|rule| (rule.row, &rule.rule, &rule.alerts))
    }

    /// What was recorded last, sorted by name; each name once.
    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        let mut records: Vec<Arc<Record>> = self.rules.iter().filter_map(|rule| rule.record.clone()).collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }
}

impl Rule {
    fn judge(
        &mut self,
        fleet: &Fleet<'_>,
        generation: u64,
        desk: &mut Desk,
        now_ms: i64,
    ) -> Result<(), EvaluationError> {
        if self.bound.as_ref().is_none_or(|bound| bound.generation != generation) {
            self.bound = Some(bind(&self.rule, fleet, generation));
        }
        let bound = self.bound.as_ref().expect("it was just bound");
        let samples = FleetSamples::new(&bound.hosts, fleet);
        let condition = bound.condition.evaluate(now_ms, LOOKBACK, &samples, &mut desk.condition_room)?;
        match &self.rule.kind {
            FleetRuleKind::Record { name, labels, expression } => {
                let added = |result: &Labels| {
                    let theirs = result.iter().filter(|(name, _)| *name != "__name__" && !labels.contains_key(*name));
                    Labels::new(theirs.chain(labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
                };
                let mut series: Vec<(Labels, f64)> =
                    condition.values().map(|(result, value)| (added(result), value)).collect();
                series.sort_by(|(a, _), (b, _)| a.cmp(b));
                series.dedup_by(|(a, _), (b, _)| a == b);
                self.record = Some(Arc::new(Record { name: name.clone(), expr: expression.text().to_owned(), series }));
            }
            FleetRuleKind::Alert(alert) => {
                let recover = match &bound.recover {
                    Some(recover) => Some(recover.evaluate(now_ms, LOOKBACK, &samples, &mut desk.recover_room)?),
                    None => None,
                };
                let results = Results { bearer: Bearer { host: None, rule: &alert.text }, condition, recover };
                let journal = &mut desk.journal;
                self.alerts.judge(&results, Delays::from(alert), now_ms, |moved, step| {
                    journal.note(None, &alert.text.alert, moved, step, now_ms);
                });
            }
        }
        Ok(())
    }
}

fn bind(rule: &FleetRule, fleet: &Fleet<'_>, generation: u64) -> Bound {
    let mut hosts: Vec<HostId> = fleet.hosts.keys().cloned().collect();
    hosts.sort();
    let bind = |expression: &Expression| {
        let selectors: Vec<&Selector> = expression.selectors().iter().collect();
        let series = hosts
            .iter()
            .enumerate()
            .flat_map(|(place, host)| series_of(host, place as u32, &fleet.hosts[host], fleet.job, &selectors));
        expression.bind(series)
    };
    let mut plans = rule.expressions().map(bind);
    let condition = plans.next().expect("every rule has an expression");
    let recover = plans.next();
    drop(plans);
    Bound { generation, condition, recover, hosts }
}

/// The series of one host that one of the selectors may match, with the labels that tell hosts apart.
fn series_of(id: &HostId, place: u32, host: &Watched, job: &str, selectors: &[&Selector]) -> Vec<(Key, Labels)> {
    let whole = |labels: &Labels| {
        let theirs = labels.iter();
        let of_host = host.facts.labels.iter().filter(|(name, _)| labels.get(name).is_none());
        let of_host = of_host.map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::new(theirs.chain(of_host).chain([("instance", id.as_str()), ("job", job)]))
    };
    let shapes = host.shapes();
    let own = candidates(&shapes, selectors).map(|(key, labels)| (Key { host: place, ..key }, whole(&labels)));
    let mut series: Vec<(Key, Labels)> = own.collect();
    let wanted = |name: &str| selectors.iter().any(|selector| selector.name().is_none_or(|wanted| wanted == name));
    for (column, figure) in FIGURES.iter().enumerate().filter(|(_, figure)| wanted(figure.name)) {
        let labels = whole(&Labels::new([("__name__", figure.name)]));
        series.push((Key { host: place, service: OURS, column: column as u32 }, labels));
    }
    if wanted(STATE) {
        for (index, state) in State::ALL.iter().enumerate() {
            let labels = whole(&Labels::new([("__name__", STATE), ("state", state.as_str())]));
            series.push((Key { host: place, service: OURS, column: (FIGURES.len() + index) as u32 }, labels));
        }
    }
    series
}

/// The samples of all hosts.
struct FleetSamples<'a> {
    hosts: Vec<(Option<&'a Watched>, Option<Arc<Snapshot>>)>,
}

impl<'a> FleetSamples<'a> {
    fn new(hosts: &[HostId], fleet: &Fleet<'a>) -> Self {
        let both = hosts.iter().map(|host| {
            let snapshot = fleet.directory.host(host.as_str()).map(|entry| entry.snapshot());
            (fleet.hosts.get(host), snapshot)
        });
        Self { hosts: both.collect() }
    }
}

impl Samples<Key> for FleetSamples<'_> {
    fn newest(&self, key: Key, after_ms: i64, until_ms: i64) -> Option<Sample> {
        let (watched, snapshot) = self.hosts.get(key.host as usize)?;
        if key.service != OURS {
            return (*watched)?.newest(key, after_ms, until_ms);
        }
        let (snapshot, column) = (snapshot.as_ref()?, key.column as usize);
        let value = match FIGURES.get(column) {
            Some(figure) => (figure.value)(snapshot)?,
            None => f64::from(State::ALL.get(column - FIGURES.len()) == Some(&snapshot.state)),
        };
        Some(Sample { time_ms: until_ms, value })
    }

    fn range(&self, key: Key, after_ms: i64, until_ms: i64, samples: &mut Vec<Sample>) {
        if let Some((Some(watched), _)) = self.hosts.get(key.host as usize).filter(|_| key.service != OURS) {
            watched.range(key, after_ms, until_ms, samples);
        }
    }
}
