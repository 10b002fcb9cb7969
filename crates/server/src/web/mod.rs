//! `web.yml` in the format of Prometheus's exporter-toolkit: who may see the pages, and over what kind of connection.
//! Source: <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>.
//!
//! What the format knows and we cannot honour is a mistake, never ignored: somebody relies on it.

mod client_certificates;
mod file;
mod logins;
mod tls;
mod watch;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use hostwatch_daemon::settings::{Located, Mistakes};
use rustls::ServerConfig;

use crate::metrics::Metrics;

pub(crate) use logins::Admission;
pub(crate) use watch::{Change, Watch};

use file::WebFile;
use logins::{Logins, Users};
use witness::Witness;

/// What is in force, as a whole: made from `web.yml` and the certificates that it names, or without them.
#[derive(Debug, Default)]
pub struct WebConfig {
    /// Encrypts every connection; none is encrypted without it.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Who may make requests; everybody without it.
    users: Option<Users>,
    /// What every answer is given in addition.
    pub(crate) headers: HeaderMap,
    /// Where it was read from, to be read again.
    file: Option<Located<PathBuf>>,
    /// The files as they were read.
    witness: Witness,
}

impl WebConfig {
    /// Reads `file` and the files that it names; whatever is wrong is entered in `mistakes`.
    pub(crate) fn load(file: &Located<PathBuf>, mistakes: &Mistakes) -> Self {
        Self::read(file, &mut Witness::default(), mistakes)
    }

    /// What the addresses of the pages begin with.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn read(file: &Located<PathBuf>, witness: &mut Witness, mistakes: &Mistakes) -> Self {
        let Some(WebFile { tls, users, headers }) = WebFile::read(file, witness, mistakes) else {
            return Self { file: Some(file.clone()), witness: witness.clone(), ..Self::default() };
        };
        let tls = tls.and_then(|tls| tls.build(witness, mistakes)).map(Arc::new);
        Self { tls, users: Users::new(users), headers, file: Some(file.clone()), witness: witness.clone() }
    }
}

/// What stands before every request. The reloads write it, the listeners read it for each connection and each request.
#[derive(Debug)]
pub(crate) struct Gate {
    config: ArcSwap<WebConfig>,
    /// Outlives configurations, so that a changed certificate does not ask everybody's password anew.
    logins: Logins,
}

impl Gate {
    /// With `config` in force; who is not let in is counted in `metrics`.
    #[must_use]
    pub(crate) fn new(config: WebConfig, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self { config: ArcSwap::from_pointee(config), logins: Logins::new(metrics) })
    }

    /// What is in force now.
    pub(crate) fn config(&self) -> Arc<WebConfig> {
        self.config.load_full()
    }

    /// Puts `config` in force: for connections and requests that begin from now on.
    pub(crate) fn put(&self, config: WebConfig) {
        self.config.store(Arc::new(config));
    }

    /// Whether a request with these headers may pass.
    pub(crate) async fn admit(&self, config: &WebConfig, headers: &HeaderMap) -> Admission {
        match &config.users {
            None => Admission::Granted,
            Some(users) => self.logins.admit(users, headers).await,
        }
    }
}
