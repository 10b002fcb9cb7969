//! From definitions of rules to rules: variables expanded, expressions parsed, templates tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::settings::{Located, Place};
use hostwatch_rules::Expression;
use hostwatch_wire::{is_label_name, is_metric_name, is_reserved_label};

use super::definitions::{self, AlertDefinition, Service, Vars};
use super::resolve::Resolver;
use super::{AlertRule, FleetRule, FleetRuleKind, Labels, RuleText, Trigger};
use crate::{annotations, judge};

/// The longest `for` and `keep_firing_for`.
const MAX_HOLD: Duration = Duration::from_hours(30 * 24);
/// How often a rule over the fleet is evaluated unless it says so.
const RULE_INTERVAL: Duration = Duration::from_secs(30);
/// What `severity` is unless the rule says so.
const SEVERITY: &str = "warning";
/// How long clients keep their reports unless they say so: nothing older can refill a history.
const RING_AGE: Duration = Duration::from_mins(15);

/// What an expression is evaluated over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The series of one host.
    Host,
    /// The series of all hosts, and what the server knows of them.
    Fleet,
}

impl<'a> Resolver<'a> {
    /// The triggers of a service for a host with these variables; hosts with the same get the same ones.
    pub(super) fn triggers(&mut self, service: &'a Service, vars: &Vars, triggers: &mut Vec<Arc<Trigger>>) {
        let first = triggers.len();
        for definition in &service.triggers {
            let Some(text) = self.rule_text(definition, vars) else { continue };
            let same =
                |other: &Arc<Trigger>| other.rule.text.alert == text.alert && other.rule.text.labels == text.labels;
            if triggers[first..].iter().any(same) {
                self.report(
                    &definition.alert.place,
                    &format!("the service has a trigger {:?} with these labels already", text.alert),
                );
                continue;
            }
            let key = (service.name.as_str(), text);
            let trigger = match self.compiled.get(&key) {
                Some(known) => known.clone(),
                None => {
                    let rule = self.alert_rule(definition, key.1.clone(), Scope::Host);
                    let (service, source) = (service.name.as_str().into(), definition.expr.value.as_str().into());
                    let trigger = rule.map(|rule| Arc::new(Trigger { service, source, rule }));
                    self.compiled.insert(key, trigger.clone());
                    trigger
                }
            };
            triggers.extend(trigger);
        }
    }

    /// One list for all who have the same.
    pub(super) fn shared(&mut self, triggers: Vec<Arc<Trigger>>) -> Arc<[Arc<Trigger>]> {
        let key = triggers.iter().map(Arc::as_ptr).collect();
        Arc::clone(self.lists.entry(key).or_insert_with(|| triggers.into()))
    }

    /// The rules over the fleet.
    pub(super) fn fleet_rules(&mut self) -> Vec<Arc<FleetRule>> {
        let definitions = &self.definitions.fleet_rules;
        let rules = definitions.iter().filter_map(|(name, definition)| {
            let kind = match &definition.kind {
                definitions::FleetRuleKind::Alert(alert) => {
                    let text = self.rule_text(alert, &Vars::new())?;
                    FleetRuleKind::Alert(self.alert_rule(alert, text, Scope::Fleet)?)
                }
                definitions::FleetRuleKind::Record { name, expr, labels } => {
                    let expression = self.expression(&expr.place, &expr.value, Scope::Fleet);
                    if !is_recordable(&name.value) {
                        self.report(
                            &name.place,
                            "is not a name for a record; write one with a colon, such as \"fleet:load1:max\"",
                        );
                        return None;
                    }
                    FleetRuleKind::Record { name: name.value.clone(), expression: expression?, labels: labels.clone() }
                }
            };
            let interval = definition.interval.as_ref().map_or(RULE_INTERVAL, |interval| interval.value);
            Some(Arc::new(FleetRule { name: name.as_str().into(), interval, kind }))
        });
        rules.collect()
    }

    /// The rule with its variables expanded.
    fn rule_text(&mut self, definition: &AlertDefinition, vars: &Vars) -> Option<RuleText> {
        let mut expand = |text: &Located<String>| self.expand(&text.value, &text.place, vars);
        let alert = expand(&definition.alert);
        let expr = expand(&definition.expr);
        let [recover, hold, keep_firing_for] = [&definition.recover, &definition.hold, &definition.keep_firing_for]
            .map(|text| text.as_ref().map(&mut expand));
        let mut map = |pairs: &[(Located<String>, Located<String>)]| -> Option<BTreeMap<String, String>> {
            pairs.iter().map(|(name, text)| Some((name.value.clone(), expand(text)?))).collect()
        };
        let mut labels: Labels = map(&definition.labels)?;
        let annotations = map(&definition.annotations)?;
        labels.entry("severity".to_owned()).or_insert_with(|| SEVERITY.to_owned());
        Some(RuleText {
            alert: alert?,
            expr: expr?,
            recover: transpose(recover)?,
            hold: transpose(hold)?,
            keep_firing_for: transpose(keep_firing_for)?,
            labels,
            annotations,
        })
    }

    /// Checks all of a rule.
    fn alert_rule(&mut self, definition: &AlertDefinition, text: RuleText, scope: Scope) -> Option<AlertRule> {
        if text.alert.is_empty() {
            self.report(&definition.alert.place, "is empty; write the name of the alert, such as \"HostHighLoad\"");
        }
        for (name, _) in &definition.labels {
            if !is_label_name(&name.value) {
                self.report(&name.place, "is not a label name: letters, digits and '_', the first no digit");
            } else if is_reserved_label(&name.value) && name.value != "severity" {
                self.report(&name.place, "is a reserved label; hostwatch or Prometheus sets it");
            }
        }
        for (name, template) in &definition.annotations {
            if let Some(Err(error)) = text.annotations.get(&name.value).map(|text| annotations::check(text)) {
                self.report(&template.place, &error);
            }
        }
        let hold = self.hold(definition.hold.as_ref(), text.hold.as_deref());
        let keep_firing_for = self.hold(definition.keep_firing_for.as_ref(), text.keep_firing_for.as_deref());
        let expression = self.expression(&definition.expr.place, &text.expr, scope);
        let recover = match (&definition.recover, &text.recover) {
            (Some(located), Some(text)) => Some(self.expression(&located.place, text, scope)?),
            _ => None,
        };
        Some(AlertRule {
            expression: expression?,
            recover,
            hold: hold?,
            keep_firing_for: keep_firing_for?,
            text: Arc::new(text),
        })
    }

    fn hold(&mut self, located: Option<&Located<String>>, text: Option<&str>) -> Option<Duration> {
        let Some((located, text)) = located.zip(text) else { return Some(Duration::ZERO) };
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= MAX_HOLD => Some(duration),
            Ok(_) => {
                self.report_for_subject(&located.place, &format!("{text:?} is out of range; allowed is 0s to 30d"));
                None
            }
            Err(_) => {
                let remedy = "write a number and a unit, such as \"2m\", from 0s to 30d";
                self.report_for_subject(&located.place, &format!("{text:?} is not a duration; {remedy}"));
                None
            }
        }
    }

    fn expression(&mut self, place: &Place, text: &str, scope: Scope) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => {
                for selector in expression.selectors() {
                    let Some(name) = selector.name() else { continue };
                    let ours = judge::knows(name);
                    if self.definitions.records(name) {
                        self.report(
                            place,
                            &format!("{name} is what another rule records; rules read only what hosts report"),
                        );
                    } else if ours && scope == Scope::Host {
                        self.report(place, &format!("{name} is the server's; only a rule over the fleet can read it"));
                    } else if ours && selector.range().is_some() {
                        self.report(place, &format!("{name} has no past; leave the range away"));
                    }
                }
                if let Some(range) = expression.longest_range().filter(|range| *range > RING_AGE) {
                    let [range, ring] = [range, RING_AGE].map(humantime::format_duration);
                    let what = format!(
                        "{place}: ranges over {range}, but clients keep {ring} unless their [buffer] says more: \
                        a restart of the server cannot refill it"
                    );
                    if !self.warnings.contains(&what) {
                        self.warnings.push(what);
                    }
                }
                Some(expression)
            }
            Err(error) => {
                let text = error.to_string();
                let (what, excerpt) = text.split_once('\n').unwrap_or((&text, ""));
                self.report_excerpt(place, what, excerpt);
                None
            }
        }
    }
}

fn transpose(value: Option<Option<String>>) -> Option<Option<String>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

/// Records carry a colon, as Prometheus advises, which no host's own series has.
fn is_recordable(name: &str) -> bool {
    is_metric_name(name) && name.contains(':')
}
