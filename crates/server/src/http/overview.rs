//! `/`: the overview for people. The template escapes everything that came from a host.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use axum::response::{Html, IntoResponse, Response};
use hostwatch_bus::LinkState;
use hostwatch_wire::Status;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;
use tracing::error;

use super::App;
use crate::annotations;
use crate::clock::Now;
use crate::directory::{Entry, Snapshot};
use crate::fleet::State as HostState;
use crate::judge::{ActiveAlert, Phase};

/// A page with more rows helps nobody; `/api/v1/hosts` has them all.
const MAX_ROWS: usize = 1_000;

/// Minijinja escapes for HTML by the ending of the name.
const TEMPLATE: &str = "overview.html";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.add_template(TEMPLATE, include_str!("overview.html")).expect("a test renders the template");
    environment
});

const HEADERS: [(HeaderName, &str); 1] = [(CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'")];

/// What the template shows.
#[derive(Serialize)]
struct Overview {
    alerts: Vec<AlertRow>,
    alerts_left_out: usize,
    rows: Vec<Row>,
    counts: Vec<(&'static str, usize)>,
    left_out: usize,
    /// Why Redis is not connected.
    redis: Option<String>,
    conflict: bool,
    version: &'static str,
}

#[derive(Serialize)]
struct Row {
    host: String,
    state: &'static str,
    /// How long it has been so.
    state_for: String,
    last_report_ago: Option<String>,
    os: String,
    labels: String,
    services: usize,
    problems: Vec<String>,
    pending_revision: bool,
}

#[derive(Serialize)]
struct AlertRow {
    state: &'static str,
    severity: String,
    name: String,
    host: String,
    /// How long its condition has held.
    since: String,
    says: String,
}

/// Alerts that fire first; hosts with a problem first, then by name.
pub(super) async fn overview(State(app): State<App>) -> Response {
    app.make_page(|app, _permit| render(app)).await
}

fn render(app: &App) -> Response {
    let now = Now::read();
    let hosts = app.page.directory.hosts();
    let mut shown: Vec<(&Entry, Arc<Snapshot>)> = hosts.iter().map(|entry| (&**entry, entry.snapshot())).collect();
    let count = |state| shown.iter().filter(|(_, snapshot)| snapshot.state == state).count();
    let counts = HostState::ALL.iter().map(|state| (state.as_str(), count(*state))).collect();
    shown.sort_by_key(|(_, snapshot)| snapshot.state == HostState::Up && problems(snapshot).next().is_none());
    let left_out = shown.len().saturating_sub(MAX_ROWS);
    shown.truncate(MAX_ROWS);
    let rows = shown.iter().map(|(entry, snapshot)| row(entry, snapshot, now)).collect();
    let redis = match &*app.link.borrow() {
        LinkState::Connected { .. } => None,
        LinkState::Waiting { reason, .. } => Some(reason.clone()),
    };
    let conflict = app.page.directory.summary().config_conflict;
    let view = app.page.board.view();
    let mut alerts: Vec<&ActiveAlert> = view.alerts.iter().collect();
    alerts.sort_by_key(|active| (active.alert.phase != Phase::Firing, active.rule.severity() != "critical"));
    let alerts_left_out = alerts.len().saturating_sub(MAX_ROWS);
    let alerts = alerts.into_iter().take(MAX_ROWS).map(|active| alert_row(active, now)).collect();
    let overview = Overview {
        alerts,
        alerts_left_out,
        rows,
        counts,
        left_out,
        redis,
        conflict,
        version: env!("CARGO_PKG_VERSION"),
    };
    match overview.render() {
        Ok(page) => (HEADERS, Html(page)).into_response(),
        Err(error) => {
            error!(%error, "the overview could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "The overview could not be written; the log says why.\n")
                .into_response()
        }
    }
}

impl Overview {
    fn render(&self) -> Result<String, minijinja::Error> {
        TEMPLATES.get_template(TEMPLATE)?.render(Value::from(Serde(self)))
    }
}

fn row(entry: &Entry, snapshot: &Snapshot, now: Now) -> Row {
    let labels: Vec<String> = snapshot.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let applied = snapshot.applied.as_ref().map(|applied| applied.revision);
    Row {
        host: entry.host.to_string(),
        state: snapshot.state.as_str(),
        state_for: ago(snapshot.state_since_ms, now),
        last_report_ago: snapshot.last_report_ms.map(|ms| ago(ms, now)),
        os: snapshot.facts.as_ref().map(|facts| facts.os.clone()).unwrap_or_default(),
        labels: labels.join(" "),
        services: snapshot.services.len(),
        problems: problems(snapshot).collect(),
        pending_revision: snapshot.wanted.is_some() && snapshot.wanted != applied,
    }
}

/// Who claims to be this host, what does not run, and what does not succeed.
fn problems(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let rivals = snapshot.rivals.iter().flat_map(|rivals| rivals.iter()).map(|rival| format!("one client is {rival}"));
    let refused = snapshot.applied.iter().flat_map(|applied| &applied.refused);
    let refused = refused.map(|refusal| format!("{} is refused: {}", refusal.service, refusal.reason));
    let failed = snapshot.services.iter().filter(|service| service.status != Status::Ok).map(|service| {
        let message = service.message.as_deref().unwrap_or("no reason was given");
        format!("{} {}: {message}", service.name, service.status.as_str())
    });
    rivals.chain(refused).chain(failed)
}

fn alert_row(active: &ActiveAlert, now: Now) -> AlertRow {
    let mut annotations = annotations::render(&active.rule.annotations, &active.alert.labels, active.alert.value);
    AlertRow {
        state: active.state(),
        severity: active.alert.labels.get("severity").unwrap_or_default().to_owned(),
        name: active.rule.alert.clone(),
        host: active.host.as_ref().map_or_else(|| "the fleet".to_owned(), ToString::to_string),
        since: ago(active.alert.since_ms.unsigned_abs(), now),
        says: annotations.remove("summary").unwrap_or_else(|| active.rule.expr.clone()),
    }
}

/// `2h 5m 3s`, to the second.
fn ago(since_ms: u64, now: Now) -> String {
    let seconds = now.wall_ms.saturating_sub(since_ms) / 1_000;
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_is_escaped() {
        let row = Row {
            host: "web1".to_owned(),
            state: "up",
            state_for: "1s".to_owned(),
            last_report_ago: None,
            os: "<script>alert(1)</script>".to_owned(),
            labels: "a=\"><b>".to_owned(),
            services: 0,
            problems: vec!["x failed: <img src=x>".to_owned()],
            pending_revision: true,
        };
        let alert = AlertRow {
            state: "firing",
            severity: "critical".to_owned(),
            name: "Loaded".to_owned(),
            host: "web1".to_owned(),
            since: "1s".to_owned(),
            says: "<u>it is</u>".to_owned(),
        };
        let overview = Overview {
            alerts: vec![alert],
            alerts_left_out: 0,
            rows: vec![row],
            counts: vec![("up", 1)],
            left_out: 0,
            redis: Some("<i>".to_owned()),
            conflict: true,
            version: "1",
        };
        let page = overview.render().unwrap();
        assert!(page.contains("&lt;script&gt;") && page.contains("web1"), "{page}");
        for raw in ["<script", "<b>", "<img", "<i>", "<u>"] {
            assert!(!page.contains(raw), "{raw} in {page}");
        }
    }
}
