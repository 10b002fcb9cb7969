//! `/api/v1`: the fleet as JSON.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use crate::directory::{Entry, Rival, Snapshot};
use crate::inventory::Labels;

/// One host.
#[derive(Serialize)]
pub(super) struct Host {
    host: String,
    state: &'static str,
    /// Seconds since 1970.
    state_since: f64,
    labels: Labels,
    facts: Option<Facts>,
    client_version: Option<String>,
    /// The two clients that say that they are this host, while it is in conflict.
    conflict: Vec<Client>,
    wanted_revision: Option<String>,
    applied_revision: Option<String>,
    /// Why the host does not run a service, by service.
    refused: BTreeMap<String, String>,
    /// Seconds since 1970.
    last_report: Option<f64>,
    clock_skew_seconds: Option<f64>,
    reports: Reports,
    services: Vec<Service>,
}

#[derive(Serialize)]
struct Client {
    epoch: String,
    version: String,
    facts: Facts,
}

#[derive(Serialize)]
struct Facts {
    os: String,
    kernel: String,
    architecture: String,
    cpus: u32,
    memory_bytes: u64,
    boot_time_seconds: u64,
}

/// The books of the current epoch.
#[derive(Serialize)]
struct Reports {
    sequence: u64,
    baseline: u64,
    received: u64,
    lost: u64,
    outstanding: u64,
}

#[derive(Serialize)]
struct Service {
    name: String,
    status: &'static str,
    message: Option<String>,
    duration_seconds: f64,
    series: usize,
}

#[derive(Serialize)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
}

#[derive(Serialize)]
pub(super) struct ErrorBody {
    error: String,
}

/// Every host, pending ones included.
pub(super) async fn hosts(State(app): State<App>) -> Response {
    app.make_page(|app, _permit| {
        let hosts = app.page.directory.hosts();
        Json(Hosts { hosts: hosts.iter().map(|entry| host_of(entry, &entry.snapshot())).collect() }).into_response()
    })
    .await
}

/// One host.
pub(super) async fn host(
    State(app): State<App>,
    Path(host): Path<String>,
) -> Result<Json<Host>, (StatusCode, Json<ErrorBody>)> {
    match app.page.directory.host(&host) {
        Some(entry) => Ok(Json(host_of(&entry, &entry.snapshot()))),
        None => Err((StatusCode::NOT_FOUND, Json(ErrorBody { error: "there is no such host".to_owned() }))),
    }
}

impl From<&Rival> for Client {
    fn from(rival: &Rival) -> Self {
        Self { epoch: rival.epoch.to_string(), version: rival.version.to_string(), facts: Facts::from(&*rival.facts) }
    }
}

impl From<&hostwatch_wire::Facts> for Facts {
    fn from(facts: &hostwatch_wire::Facts) -> Self {
        Self {
            os: facts.os.clone(),
            kernel: facts.kernel.clone(),
            architecture: facts.architecture.clone(),
            cpus: facts.cpus,
            memory_bytes: facts.memory_bytes,
            boot_time_seconds: facts.boot_time_seconds,
        }
    }
}

fn host_of(entry: &Entry, snapshot: &Snapshot) -> Host {
    let applied = snapshot.applied.as_deref();
    let refusals = applied.iter().flat_map(|applied| &applied.refused);
    Host {
        host: entry.host.to_string(),
        state: snapshot.state.as_str(),
        state_since: snapshot.state_since_ms as f64 / 1_000.0,
        labels: (*snapshot.labels).clone(),
        facts: snapshot.facts.as_deref().map(Facts::from),
        client_version: snapshot.client_version.as_deref().map(str::to_owned),
        conflict: snapshot.rivals.iter().flat_map(|rivals| rivals.iter()).map(Client::from).collect(),
        wanted_revision: snapshot.wanted.map(|revision| revision.to_string()),
        applied_revision: applied.map(|applied| applied.revision.to_string()),
        refused: refusals.map(|refusal| (refusal.service.to_string(), refusal.reason.clone())).collect(),
        last_report: snapshot.last_report_ms.map(|ms| ms as f64 / 1_000.0),
        clock_skew_seconds: snapshot.clock_skew_seconds,
        reports: Reports {
            sequence: snapshot.books.sequence,
            baseline: snapshot.books.baseline,
            received: snapshot.books.received,
            lost: snapshot.books.lost,
            outstanding: snapshot.books.outstanding,
        },
        services: snapshot
            .services
            .iter()
            .map(|service| Service {
                name: service.name.to_string(),
                status: service.status.as_str(),
                message: service.message.clone(),
                duration_seconds: service.duration_us as f64 / 1e6,
                series: service.series.as_ref().map_or(0, |block| block.values.len()),
            })
            .collect(),
    }
}
