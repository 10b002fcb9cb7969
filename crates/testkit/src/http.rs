//! HTTP: one GET over a connection of its own, the body as it is; and scrapes as Prometheus makes them.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};

/// Longer than any answer may take, so that a server that hangs fails a test instead of holding it up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// More than the page of any fleet that a test makes up.
const MAX_BODY_BYTES: u64 = 1 << 30;

static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    // No connection is kept: one to a server that has been restarted would fail the next request. No compression:
    // the body is judged as it was sent.
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .max_idle_connections(0)
        .accept_encoding("identity")
        .proxy(None)
        .build()
        .into()
});

/// GETs a URL: the status and the body.
///
/// # Errors
/// When no whole answer came within 10 s, or its body is not UTF-8. A status of 4xx or 5xx is no error.
pub fn get(url: &str) -> Result<(u16, String)> {
    get_as(url, "*/*")
}

/// GETs a URL in one of the formats of an `Accept` header.
///
/// # Errors
/// As [`get`].
pub fn get_as(url: &str, accept: &str) -> Result<(u16, String)> {
    answer(AGENT.get(url).header("Accept", accept), url)
}

/// Scrapes pages as Prometheus does: over a connection that is kept, compressed, with its preferences.
pub struct Scraper {
    agent: Agent,
}

impl Scraper {
    /// A scraper that asks for pages with `encoding`: gzip as Prometheus does, or identity.
    #[must_use]
    pub fn new(encoding: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Self { agent: config.accept_encoding(encoding).proxy(None).build().into() }
    }

    /// GETs a page: the status and the body.
    ///
    /// # Errors
    /// As [`get`].
    pub fn get(&self, url: &str) -> Result<(u16, String)> {
        // What Prometheus 2.42 says, which is Debian 12's.
        let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        answer(self.agent.get(url).header("Accept", accept), url)
    }
}

fn answer(request: RequestBuilder<WithoutBody>, url: &str) -> Result<(u16, String)> {
    let mut response = request.call().with_context(|| format!("GET {url}"))?;
    let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string();
    Ok((response.status().as_u16(), body.with_context(|| format!("GET {url}: body"))?))
}
