//! What readers see of the judging: the alerts, the rules, the last events, and what rules recorded. The judge puts whole
//! views here; readers take them without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hostwatch_rules::Labels;
use hostwatch_wire::HostId;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Alerts, Phase};
use crate::inventory::RuleText;

/// The place where the judge's views are.
#[derive(Debug, Default)]
pub(crate) struct Board {
    view: ArcSwap<View>,
}

/// The judging at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Every pending and firing alert, by host; those of the fleet come first.
    pub alerts: Vec<ActiveAlert>,
    /// Every rule that is in force.
    pub rules: Arc<[RuleStatus]>,
    /// The last transitions, the newest first.
    pub events: Vec<Arc<Event>>,
    /// What rules recorded, sorted by name.
    pub records: Vec<Arc<Record>>,
}

/// An alert that is pending or firing.
#[derive(Debug, Clone)]
pub(crate) struct ActiveAlert {
    /// Whose it is; nothing for one of the fleet.
    pub host: Option<HostId>,
    /// The rule that raised it.
    pub rule: Arc<RuleText>,
    /// Its labels, and how it stands.
    pub alert: Alert,
}

/// How one rule stands, over all hosts.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleStatus {
    /// The service, or the name of a rule over the fleet.
    pub name: Arc<str>,
    /// `trigger`, `alert` or `record`; `built-in` for what no file says.
    pub kind: &'static str,
    /// The name of the alert, or of the series that is recorded.
    pub subject: String,
    /// The expression as it is written.
    pub expr: Arc<str>,
    /// `severity`.
    pub severity: String,
    /// Hosts that the rule holds for, by how it stands there: nothing is the matter, pending, firing, no data.
    pub places: Places,
    /// How it went.
    pub health: Health,
}

/// In how many places a rule stands how. A place is a host, or the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Nothing is the matter.
    pub inactive: usize,
    /// At least one alert is pending, none is firing.
    pub pending: usize,
    /// At least one alert is firing.
    pub firing: usize,
    /// There is nothing to judge by.
    pub no_data: usize,
}

/// How the evaluations of a rule went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    /// How many there were.
    pub evaluations: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Why the last one failed, unless one has succeeded since in the same place.
    pub last_error: Option<LastError>,
    /// How long the last one took, in seconds.
    pub last_duration_seconds: f64,
    /// When the last one was, in milliseconds since 1970.
    pub last_evaluation_ms: Option<i64>,
}

/// Why an evaluation failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LastError {
    /// On which host; nothing for the fleet.
    pub host: Option<HostId>,
    /// What went wrong.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A transition of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whose alert; nothing for one of the fleet.
    pub host: Option<HostId>,
    /// The name of the alert.
    pub alert: String,
    /// All its labels.
    pub labels: Vec<(String, String)>,
    /// What it was: `inactive`, `pending` or `firing`.
    pub from: String,
    /// What it is now: `pending`, `firing`, `inactive`, `resolved`, or what it was, where only its data came or went.
    pub to: String,
    /// Why.
    pub reason: String,
    /// The value of the last result.
    pub value: f64,
}

/// What a rule recorded: one family.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    /// The name of the family.
    pub name: String,
    /// The expression.
    pub expr: String,
    /// Labels and values.
    pub series: Vec<(Labels, f64)>,
}

impl Board {
    /// The judging as it stands.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// For the judge: replaces the view.
    pub(crate) fn set(&self, view: View) {
        self.view.store(Arc::new(view));
    }
}

impl RuleStatus {
    /// A rule that no file says.
    pub(super) fn built_in(rule: &RuleText, places: Places) -> Self {
        Self {
            name: "built-in".into(),
            kind: "built-in",
            subject: rule.alert.clone(),
            expr: rule.expr.as_str().into(),
            severity: rule.severity().to_owned(),
            places,
            health: Health::default(),
        }
    }
}

impl Places {
    /// A rule stands like this in one more place.
    pub(super) fn add(&mut self, alerts: &Alerts) {
        let count = match alerts.iter().map(|alert| alert.phase).max() {
            Some(Phase::Firing) => &mut self.firing,
            _ if alerts.no_data_ms.is_some() => &mut self.no_data,
            Some(Phase::Pending) => &mut self.pending,
            None => &mut self.inactive,
        };
        *count += 1;
    }
}

impl ActiveAlert {
    pub(super) fn new(host: Option<&HostId>, rule: &Arc<RuleText>, alert: &Alert) -> Self {
        Self { host: host.cloned(), rule: Arc::clone(rule), alert: alert.clone() }
    }

    /// The label `alertstate`.
    #[must_use]
    pub(crate) fn state(&self) -> &'static str {
        match (self.alert.phase, self.alert.no_data_ms) {
            (Phase::Firing, _) => "firing",
            (Phase::Pending, None) => "pending",
            (Phase::Pending, Some(_)) => "no_data",
        }
    }
}
