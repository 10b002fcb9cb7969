//! The table of rules: how the evaluations of each went, over all hosts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_rules::EvaluationError;
use hostwatch_wire::HostId;
use tracing::warn;

use super::board::{Health, LastError, RuleStatus};
use crate::inventory::{FleetRule, FleetRuleKind, Labels, RuleText, Trigger};

/// A row for each rule. A row stays where it is; one whose rule is nowhere in force is not shown.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<RuleStatus>,
    index: HashMap<RowKey, usize>,
}

/// A rule is known by what it belongs to, its kind, its subject, and its labels.
type RowKey = (Arc<str>, &'static str, String, Labels);

impl Table {
    /// The row of a trigger.
    pub(super) fn of_trigger(&mut self, trigger: &Trigger) -> usize {
        self.of_alert(&trigger.service, "trigger", &trigger.rule.text, &trigger.source)
    }

    /// The row of a rule over the fleet.
    pub(super) fn of_fleet_rule(&mut self, rule: &FleetRule) -> usize {
        match &rule.kind {
            FleetRuleKind::Alert(alert) => {
                self.of_alert(&rule.name, "alert", &alert.text, &alert.text.expr.as_str().into())
            }
            FleetRuleKind::Record { name, expression, labels } => {
                let key = (Arc::clone(&rule.name), "record", name.clone(), labels.clone());
                self.row(key, &expression.text().into(), "")
            }
        }
    }

    /// The row of an alert.
    pub(super) fn of_alert(&mut self, name: &Arc<str>, kind: &'static str, text: &RuleText, expr: &Arc<str>) -> usize {
        let key = (Arc::clone(name), kind, text.alert.clone(), text.labels.clone());
        self.row(key, expr, text.severity())
    }

    fn row(&mut self, key: RowKey, expr: &Arc<str>, severity: &str) -> usize {
        let row = match self.index.get(&key) {
            Some(row) => *row,
            None => {
                let (name, kind, subject, _) = key.clone();
                let severity = severity.to_owned();
                self.rows.push(RuleStatus { name, kind, subject, severity, ..RuleStatus::default() });
                self.index.insert(key, self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        self.rows[row].expr = Arc::clone(expr);
        row
    }

    /// An evaluation of the rule was made in some place.
    pub(super) fn note(
        &mut self,
        row: usize,
        host: Option<&HostId>,
        outcome: Result<(), EvaluationError>,
        took: Duration,
        now_ms: i64,
    ) {
        let RuleStatus { name, kind, subject, health, .. } = &mut self.rows[row];
        let Health { evaluations, failures, last_error, last_duration_seconds, last_evaluation_ms } = health;
        *evaluations += 1;
        *last_duration_seconds = took.as_secs_f64();
        *last_evaluation_ms = Some(now_ms);
        let here = last_error.as_ref().is_some_and(|last| last.host.as_ref() == host);
        match outcome {
            Ok(()) if here => *last_error = None,
            Ok(()) => {}
            Err(error) => {
                *failures += 1;
                let error = error.to_string();
                if last_error.is_none() {
                    let place = host.map_or("the fleet", HostId::as_str);
                    let alert = (*kind != "record").then_some(subject.as_str());
                    let host = host.map(tracing::field::display);
                    warn!(host, alert, "rule {subject} of {name} failed on {place}: {error}");
                }
                *last_error = Some(LastError { host: host.cloned(), error, at_ms: now_ms });
            }
        }
    }

    /// The rows with how each rule stands where.
    pub(super) fn rows(&self) -> &[RuleStatus] {
        &self.rows
    }
}
