//! Which path is what.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use hostwatch_bus::LinkState;

use super::{App, access, alerts, api, discovery, metrics, overview};

/// Every path of the server.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(overview::overview))
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/host/{host}", get(metrics::host))
        .route("/sd", get(discovery::targets))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/api/v1/hosts", get(api::hosts))
        .route("/api/v1/hosts/{host}", get(api::host))
        .route("/api/v1/alerts", get(alerts::alerts))
        .route("/api/v1/rules", get(alerts::rules))
        .route("/api/v1/events", get(alerts::events))
        .layer(from_fn_with_state(Arc::clone(&app.gate), access::check))
        .with_state(app)
}

/// Whether the process answers: for liveness checks, so Redis has no say in it.
async fn healthy() -> &'static str {
    "hostwatch-server is healthy.\n"
}

/// Whether hosts can reach us and have their configuration.
async fn ready(State(app): State<App>) -> (StatusCode, String) {
    let state = app.link.borrow().clone();
    match state {
        LinkState::Connected { .. } if !app.page.directory.summary().synchronized => {
            (StatusCode::SERVICE_UNAVAILABLE, "The configuration keys have not been read yet.\n".to_owned())
        }
        LinkState::Connected { .. } => match app.outbox.waiting_keys() {
            0 => (StatusCode::OK, "hostwatch-server is ready.\n".to_owned()),
            keys => (StatusCode::SERVICE_UNAVAILABLE, format!("{keys} configuration keys wait to be written.\n")),
        },
        LinkState::Waiting { reason, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("Redis is not connected: {reason}\n"))
        }
    }
}
