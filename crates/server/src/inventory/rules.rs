//! Alert rules, as a service's triggers and as rules over the fleet: checked, so that nothing in them can fail to parse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_rules::Expression;

use super::Labels;

/// When to raise an alert, and what it says.
#[derive(Debug)]
pub struct AlertRule {
    /// What the rule was made from: two rules of the same text are the same rule.
    pub text: Arc<RuleText>,
    /// What has to yield a result.
    pub expression: Expression,
    /// What has to yield a result before a firing alert ends; without it the alert ends when `expression` yields none.
    pub recover: Option<Expression>,
    /// `for`: how long the expression has to yield before the alert fires.
    pub hold: Duration,
    /// How long the alert goes on firing when its condition has ended.
    pub keep_firing_for: Duration,
}

/// A rule as it is written, with its variables expanded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleText {
    /// The name of the alert: its label `alertname`.
    pub alert: String,
    /// The expression.
    pub expr: String,
    /// The expression of the recovery.
    pub recover: Option<String>,
    /// `for`, as it is written.
    pub hold: Option<String>,
    /// `keep_firing_for`, as it is written.
    pub keep_firing_for: Option<String>,
    /// Labels of its alerts, `severity` always among them.
    pub labels: Labels,
    /// Templates of its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An alert rule of a service, judged for each host that runs the service.
#[derive(Debug)]
pub struct Trigger {
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// The expression before its variables were expanded: the same for every host.
    pub source: Arc<str>,
    /// The rule.
    pub rule: AlertRule,
}

impl PartialEq for Trigger {
    fn eq(&self, other: &Self) -> bool {
        self.service == other.service && self.rule.text == other.rule.text
    }
}

/// A rule over all hosts.
#[derive(Debug)]
pub struct FleetRule {
    /// Its name in the file.
    pub name: Arc<str>,
    /// How often it is evaluated.
    pub interval: Duration,
    /// What becomes of the results.
    pub kind: FleetRuleKind,
}

/// What becomes of the results of a rule over all hosts.
#[derive(Debug)]
pub enum FleetRuleKind {
    /// Each is an alert.
    Alert(AlertRule),
    /// Each is a series on `/metrics`.
    Record {
        /// The name of the series.
        name: String,
        /// What is recorded.
        expression: Expression,
        /// Labels that every series gets.
        labels: Labels,
    },
}

impl FleetRule {
    /// Every expression of the rule.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let (first, second) = match &self.kind {
            FleetRuleKind::Alert(rule) => (&rule.expression, rule.recover.as_ref()),
            FleetRuleKind::Record { expression, .. } => (expression, None),
        };
        std::iter::once(first).chain(second)
    }
}

impl RuleText {
    /// The label `severity`.
    #[must_use]
    pub fn severity(&self) -> &str {
        self.labels.get("severity").map_or("", String::as_str)
    }
}
