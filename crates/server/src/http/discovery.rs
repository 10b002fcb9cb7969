//! `/sd`: one target for each host, for Prometheus's HTTP service discovery.
//! Source: <https://prometheus.io/docs/prometheus/latest/http_sd/>.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header::{HOST, HeaderMap};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use crate::fleet::State as HostState;

/// Targets that share their labels: here always one.
#[derive(Debug, PartialEq, Serialize)]
struct TargetGroup {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// Where this server is reached.
#[derive(Debug, Clone, PartialEq)]
struct Base {
    scheme: String,
    /// `HOST:PORT`, or `HOST` alone.
    address: String,
    /// What stands before the paths; it does not end with a slash.
    path: String,
}

/// Every host that somebody configured.
pub(super) async fn targets(State(app): State<App>, headers: HeaderMap) -> Response {
    let scheme = app.gate.config().scheme();
    let Some(base) = base(app.external_url.as_ref(), scheme, &headers) else {
        let explanation = "The request has no Host, and web.external_url is not set.\n";
        return (StatusCode::BAD_REQUEST, explanation).into_response();
    };
    let hosts = app.page.directory.hosts();
    let known = hosts.iter().filter(|entry| entry.snapshot().state != HostState::Pending);
    Json(known.map(|entry| target(&base, entry.host.as_str())).collect::<Vec<_>>()).into_response()
}

fn target(base: &Base, host: &str) -> TargetGroup {
    TargetGroup {
        targets: [base.address.clone()],
        labels: BTreeMap::from([
            ("instance", host.to_owned()),
            ("__metrics_path__", format!("{}/metrics/host/{host}", base.path)),
            ("__scheme__", base.scheme.clone()),
        ]),
    }
}

/// What the settings say; else whom the request asked.
fn base(external_url: Option<&Uri>, scheme: &str, headers: &HeaderMap) -> Option<Base> {
    match external_url {
        Some(url) => Some(Base {
            scheme: url.scheme_str()?.to_owned(),
            address: url.authority()?.to_string(),
            path: url.path().trim_end_matches('/').to_owned(),
        }),
        None => Some(Base {
            scheme: scheme.to_owned(),
            address: headers.get(HOST)?.to_str().ok()?.to_owned(),
            path: String::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn where_a_host_is_scraped() {
        let mut headers = HeaderMap::new();
        assert_eq!(base(None, "http", &headers), None);
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1:10120"));
        let asked = target(&base(None, "http", &headers).unwrap(), "web1");
        assert_eq!(asked.targets, ["127.0.0.1:10120"]);
        assert_eq!(asked.labels["__metrics_path__"], "/metrics/host/web1");
        assert_eq!((&*asked.labels["__scheme__"], &*asked.labels["instance"]), ("http", "web1"));
        let url: Uri = "https://monitor.example.net/hostwatch/".parse().unwrap();
        let set = target(&base(Some(&url), "http", &headers).unwrap(), "web1");
        assert_eq!(set.targets, ["monitor.example.net"]);
        assert_eq!(set.labels["__metrics_path__"], "/hostwatch/metrics/host/web1");
        assert_eq!(set.labels["__scheme__"], "https");
    }
}
