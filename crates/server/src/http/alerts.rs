//! `/api/v1/alerts`, `/api/v1/rules` and `/api/v1/events`: the judging as JSON. Times are seconds since 1970.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use crate::annotations;
use crate::judge::{ActiveAlert, Event, Phase, RuleStatus};

/// Which alerts or events; by default all.
#[derive(Deserialize)]
pub(super) struct Filter {
    /// Those of one host.
    host: Option<String>,
    /// Those of this name.
    alertname: Option<String>,
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Serialize)]
struct Alert {
    alertname: String,
    host: Option<String>,
    state: &'static str,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// The value of the last result; a string where JSON has no number for it.
    value: Value,
    /// When its condition began to hold.
    since: f64,
    fired_at: Option<f64>,
    /// When its condition ended; it goes on firing for a while.
    keeps_firing_since: Option<f64>,
    no_data_since: Option<f64>,
}

/// A number as JSON has it, or `"NaN"`, `"+Inf"` and `"-Inf"`.
#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Finite(f64),
    Other(&'static str),
}

#[derive(Serialize)]
struct Rules {
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    group: String,
    kind: &'static str,
    name: String,
    expr: String,
    severity: Option<String>,
    /// `ok`, or `err` when the last evaluation in some place failed.
    health: &'static str,
    last_error: Option<LastError>,
    evaluations: u64,
    failures: u64,
    last_evaluation: Option<f64>,
    last_duration_seconds: f64,
    inactive: usize,
    pending: usize,
    firing: usize,
    no_data: usize,
}

#[derive(Serialize)]
struct LastError {
    host: Option<String>,
    error: String,
    at: f64,
}

#[derive(Serialize)]
struct Events {
    events: Vec<Transition>,
}

#[derive(Serialize)]
struct Transition {
    at: f64,
    alertname: String,
    host: Option<String>,
    labels: BTreeMap<String, String>,
    from: String,
    to: String,
    reason: String,
    value: Value,
}

/// Every pending and firing alert.
pub(super) async fn alerts(State(app): State<App>, Query(filter): Query<Filter>) -> Response {
    app.make_page(move |app, _permit| {
        let view = app.page.board.view();
        let wanted = view
            .alerts
            .iter()
            .filter(|active| filter.wants(active.host.as_ref().map(|host| host.as_str()), &active.rule.alert));
        Json(Alerts { alerts: wanted.map(Alert::from).collect() }).into_response()
    })
    .await
}

/// Every rule that is in force, and how it fares.
pub(super) async fn rules(State(app): State<App>) -> Response {
    let view = app.page.board.view();
    Json(Rules { rules: view.rules.iter().map(Rule::from).collect() }).into_response()
}

/// The last transitions of alerts, the newest first.
pub(super) async fn events(State(app): State<App>, Query(filter): Query<Filter>) -> Response {
    let view = app.page.board.view();
    let wanted =
        view.events.iter().filter(|event| filter.wants(event.host.as_ref().map(|host| host.as_str()), &event.alert));
    Json(Events { events: wanted.map(|event| Transition::from(&**event)).collect() }).into_response()
}

impl Filter {
    fn wants(&self, host: Option<&str>, alertname: &str) -> bool {
        self.host.as_deref().is_none_or(|wanted| host == Some(wanted))
            && self.alertname.as_deref().is_none_or(|wanted| alertname == wanted)
    }
}

impl From<&ActiveAlert> for Alert {
    fn from(active: &ActiveAlert) -> Self {
        let alert = &active.alert;
        Self {
            alertname: active.rule.alert.clone(),
            host: active.host.as_ref().map(ToString::to_string),
            state: active.state(),
            annotations: annotations::render(&active.rule.annotations, &alert.labels, alert.value),
            labels: alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            value: alert.value.into(),
            since: seconds(alert.since_ms),
            fired_at: alert.fired_ms.map(seconds),
            keeps_firing_since: alert.ended_ms.filter(|_| alert.phase == Phase::Firing).map(seconds),
            no_data_since: alert.no_data_ms.map(seconds),
        }
    }
}

impl From<&RuleStatus> for Rule {
    fn from(rule: &RuleStatus) -> Self {
        let health = &rule.health;
        Self {
            group: rule.name.to_string(),
            kind: rule.kind,
            name: rule.subject.clone(),
            expr: rule.expr.to_string(),
            severity: Some(rule.severity.clone()).filter(|severity| !severity.is_empty()),
            health: if health.last_error.is_some() { "err" } else { "ok" },
            last_error: health.last_error.as_ref().map(|error| LastError {
                host: error.host.as_ref().map(ToString::to_string),
                error: error.error.clone(),
                at: seconds(error.at_ms),
            }),
            evaluations: health.evaluations,
            failures: health.failures,
            last_evaluation: health.last_evaluation_ms.map(seconds),
            last_duration_seconds: health.last_duration_seconds,
            inactive: rule.places.inactive,
            pending: rule.places.pending,
            firing: rule.places.firing,
            no_data: rule.places.no_data,
        }
    }
}

impl From<&Event> for Transition {
    fn from(event: &Event) -> Self {
        Self {
            at: seconds(event.at_ms),
            alertname: event.alert.clone(),
            host: event.host.as_ref().map(ToString::to_string),
            labels: event.labels.iter().cloned().collect(),
            from: event.from.clone(),
            to: event.to.clone(),
            reason: event.reason.clone(),
            value: event.value.into(),
        }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        match value {
            _ if value.is_nan() => Self::Other("NaN"),
            f64::INFINITY => Self::Other("+Inf"),
            f64::NEG_INFINITY => Self::Other("-Inf"),
            _ => Self::Finite(value),
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
