//! What of the judging survives a restart: the alerts with their times, and the last transitions.

use std::collections::HashMap;

use hostwatch_wire::HostId;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Alerts, Phase};
use super::board::Event;
use super::journal::Journal;
use crate::inventory::{Labels, RuleText};

/// The alerts, as they stand in the state directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct SavedAlerts {
    /// When, in milliseconds since 1970.
    pub(super) saved_at_ms: i64,
    pub(super) alerts: Vec<SavedAlert>,
    pub(super) events: Vec<Event>,
}

/// One alert. All times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedAlert {
    place: Place,
    result: Vec<(String, String)>,
    labels: Vec<(String, String)>,
    phase: Phase,
    since_ms: i64,
    unseen_ms: i64,
    fired_ms: Option<i64>,
    ended_ms: Option<i64>,
    no_data_ms: Option<i64>,
    value: f64,
}

/// Whose alert, and of which rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Place {
    /// Nothing for the fleet.
    pub(super) host: Option<HostId>,
    /// The service, or the name of a rule over the fleet; nothing for what is built in.
    pub(super) group: Option<String>,
    pub(super) alert: String,
    pub(super) labels: Labels,
}

impl Place {
    pub(super) fn new(host: Option<&HostId>, group: Option<&str>, rule: &RuleText) -> Self {
        Self {
            host: host.cloned(),
            group: group.map(str::to_owned),
            alert: rule.alert.clone(),
            labels: rule.labels.clone(),
        }
    }
}

impl SavedAlert {
    pub(super) fn new(place: &Place, alert: &Alert) -> Self {
        let pairs = |labels: &hostwatch_rules::Labels| -> Vec<(String, String)> {
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        Self {
            place: place.clone(),
            result: pairs(&alert.result),
            labels: pairs(&alert.labels),
            phase: alert.phase,
            since_ms: alert.since_ms,
            unseen_ms: alert.unseen_ms,
            fired_ms: alert.fired_ms,
            ended_ms: alert.ended_ms,
            no_data_ms: alert.no_data_ms,
            value: alert.value,
        }
    }

    /// Since `saved_at_ms` nobody has looked.
    fn restore(self, saved_at_ms: i64) -> Alert {
        Alert {
            result: hostwatch_rules::Labels::new(self.result),
            labels: hostwatch_rules::Labels::new(self.labels),
            phase: self.phase,
            since_ms: self.since_ms,
            unseen_ms: self.unseen_ms,
            fired_ms: self.fired_ms,
            ended_ms: self.ended_ms,
            no_data_ms: self.no_data_ms.or(Some(saved_at_ms)),
            value: self.value,
        }
    }
}

/// What was saved and nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Restored(HashMap<Place, Vec<Alert>>);

impl Restored {
    pub(super) fn new(alerts: Vec<SavedAlert>, saved_at_ms: i64) -> Self {
        let mut places: HashMap<Place, Vec<Alert>> = HashMap::new();
        for saved in alerts {
            places.entry(saved.place.clone()).or_default().push(saved.restore(saved_at_ms));
        }
        Self(places)
    }

    /// The alerts of one place.
    pub(super) fn take(&mut self, place: &Place) -> Alerts {
        Alerts::restored(self.0.remove(place).unwrap_or_default())
    }

    /// Every host and rule has come that will: the others are no more.
    pub(super) fn end_rest(&mut self, hosts: impl Fn(&HostId) -> bool, journal: &mut Journal, now_ms: i64) {
        for (place, alerts) in self.0.drain() {
            let reason = match &place.host {
                Some(host) if !hosts(host) => "the host was removed",
                Some(_) => "the trigger was removed",
                None => "the rule was removed",
            };
            for alert in alerts {
                journal.end(place.host.as_ref(), &place.alert, &alert, reason, now_ms);
            }
        }
    }
}
