//! How a rule stands: the results of its expressions, and the labels that its alerts get.

use std::collections::BTreeMap;

use hostwatch_rules::{Labels, Outcome, Outcomes};
use hostwatch_wire::HostId;

use super::alert::{Condition, Outlook};
use super::binding::Key;
use crate::inventory::{self, RuleText};

/// Whom alerts are about: what gives them labels beside those of the result.
#[derive(Clone, Copy)]
pub(super) struct Bearer<'a> {
    /// The host with its labels; nothing for the fleet.
    pub host: Option<(&'a HostId, &'a inventory::Labels)>,
    /// The rule.
    pub rule: &'a RuleText,
}

impl Bearer<'_> {
    /// All labels of an alert. The rule's win over the result's, those over the host's: what tells two alerts of a rule
    /// apart must not be lost to a label that the host has anyway.
    pub(super) fn labels(&self, result: &Labels) -> Labels {
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        if let Some((_, labels)) = self.host {
            all.extend(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        all.extend(result.iter().filter(|(name, _)| *name != "__name__"));
        all.extend(self.rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        all.insert("alertname", &self.rule.alert);
        if let Some((host, _)) = self.host {
            all.insert("instance", host.as_str());
        }
        Labels::new(all)
    }
}

/// The outcome of a rule's expressions.
pub(super) struct Results<'a> {
    pub(super) bearer: Bearer<'a>,
    pub(super) condition: Outcomes<'a, Key>,
    pub(super) recover: Option<Outcomes<'a, Key>>,
}

impl Outlook for Results<'_> {
    fn holding(&self) -> impl Iterator<Item = (&Labels, f64)> {
        self.condition.values()
    }

    fn condition(&self, result: &Labels) -> Condition {
        condition(&self.condition, |labels| labels == result)
    }

    /// A recovery that aggregates more away than the condition does is one of all its alerts.
    fn recover(&self, result: &Labels) -> Option<Condition> {
        let is_part =
            |labels: &Labels| labels.iter().all(|(name, value)| name == "__name__" || result.get(name) == Some(value));
        self.recover.as_ref().map(|recover| condition(recover, is_part))
    }

    fn labels(&self, result: &Labels) -> Labels {
        self.bearer.labels(result)
    }
}

/// What is neither there nor left out by a comparison is missing.
fn condition(outcomes: &Outcomes<'_, Key>, is_wanted: impl Fn(&Labels) -> bool) -> Condition {
    let of_result = outcomes.iter().filter(|(labels, _)| is_wanted(labels)).map(|(_, outcome)| match outcome {
        Outcome::Value(value) => Condition::Holds(value),
        Outcome::Filtered => Condition::Fails,
        Outcome::Missing => Condition::NoData,
    });
    of_result.fold(Condition::NoData, |so_far, next| match (so_far, next) {
        (Condition::Holds(_), _) | (_, Condition::NoData) => so_far,
        _ => next,
    })
}

/// A condition that no expression says: it has no labels of its own.
pub(super) struct Fact<'a> {
    bearer: Bearer<'a>,
    condition: Condition,
    none: Labels,
}

impl<'a> Fact<'a> {
    pub(super) fn new(bearer: Bearer<'a>, condition: Condition) -> Self {
        Self { bearer, condition, none: Labels::default() }
    }
}

impl Outlook for Fact<'_> {
    fn holding(&self) -> impl Iterator<Item = (&Labels, f64)> {
        let value = if let Condition::Holds(value) = self.condition { Some(value) } else { None };
        value.map(|value| (&self.none, value)).into_iter()
    }

    fn condition(&self, _: &Labels) -> Condition {
        self.condition
    }

    fn recover(&self, _: &Labels) -> Option<Condition> {
        None
    }

    fn labels(&self, result: &Labels) -> Labels {
        self.bearer.labels(result)
    }
}
