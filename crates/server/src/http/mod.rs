//! The server's HTTP side: listeners, limits, and the routes behind them.

mod access;
mod alerts;
mod api;
mod connection;
mod discovery;
mod metrics;
mod overview;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::header::RETRY_AFTER;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hostwatch_bus::LinkState;
use hostwatch_daemon::{Pulse, Shutdown};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use connection::End;

use crate::outbox::Outbox;
use crate::page::Page;
use crate::web::Gate;

/// Connections at once; a further one waits until another ends.
const MAX_CONNECTIONS: usize = 512;
/// Pages that are made at once; a further request for one is turned away.
const MAX_PAGES: usize = 4;
/// How long a request in progress has at shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// What the routes work on.
#[derive(Clone)]
pub(crate) struct App {
    page: Page,
    external_url: Option<Uri>,
    link: watch::Receiver<LinkState>,
    outbox: Outbox,
    gate: Arc<Gate>,
    pages: Arc<Semaphore>,
}

impl App {
    /// Over a page, the address by which others reach it, the state of the link to Redis, what waits for it, and what
    /// stands before every request.
    #[must_use]
    pub(crate) fn new(
        page: Page,
        external_url: Option<Uri>,
        link: watch::Receiver<LinkState>,
        outbox: Outbox,
        gate: Arc<Gate>,
    ) -> Self {
        Self { page, external_url, link, outbox, gate, pages: Arc::new(Semaphore::new(MAX_PAGES)) }
    }

    /// Makes a page of the whole fleet on a thread of its own, unless too many are being made.
    async fn make_page(&self, make: impl FnOnce(&Self, OwnedSemaphorePermit) -> Response + Send + 'static) -> Response {
        let Ok(permit) = Arc::clone(&self.pages).try_acquire_owned() else {
            self.page.metrics.scrapes_rejected.inc();
            let explanation = "Too many requests for pages at once.\n";
            return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], explanation).into_response();
        };
        let app = self.clone();
        let page = tokio::task::spawn_blocking(move || make(&app, permit)).await;
        page.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// Binds every address.
///
/// # Errors
/// Naming the address that is not to be had.
pub(crate) async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Serves one listener until shutdown, then lets requests in progress end.
pub(crate) async fn serve(listener: TcpListener, app: App, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
    let (gate, handshakes_failed) = (Arc::clone(&app.gate), app.page.metrics.handshakes_failed.clone());
    let router = routes::router(app);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tracker = TaskTracker::new();
    let mut idle = tokio::time::interval(Duration::from_secs(1));
    loop {
        pulse.beat();
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            _ = idle.tick() => continue,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let service = TowerToHyperService::new(router.clone());
                let (tls, shutdown) = (gate.config().tls.clone(), shutdown.clone());
                let handshakes_failed = handshakes_failed.clone();
                tracker.spawn(async move {
                    match connection::serve(stream, tls, service, shutdown).await {
                        Ok(()) => {}
                        Err(End::Early(error)) => debug!(%peer, %error, "a connection ended early"),
                        Err(End::Plain) => debug!(%peer, "a request came without encryption"),
                        Err(End::InHandshake(error)) => {
                            handshakes_failed.inc();
                            debug!(%peer, %error, "a connection was not encrypted");
                        }
                    }
                    drop(permit);
                });
            }
            // Too many open files, and such: it passes.
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                idle.tick().await;
            }
        }
    }
    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        warn!(connections = tracker.len(), "requests in progress were cut off");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

#[cfg(test)]
mod tests {
    use axum::extract::State;
    use axum::http::HeaderMap;
    use hostwatch_wire::{Life, Names, ServerId};

    use super::*;
    use crate::directory::Directory;
    use crate::fleet::Identity;
    use crate::metrics::Metrics;
    use crate::web::WebConfig;

    #[tokio::test]
    async fn too_many_pages_at_once_are_turned_away_and_counted() {
        let metrics = Metrics::new().unwrap();
        let page = Page {
            directory: Arc::new(Directory::default()),
            board: Arc::default(),
            metrics: metrics.clone(),
            job: "node".into(),
        };
        let identity = Identity { server: ServerId(1), life: Life(1) };
        let outbox = Outbox::new(Names::new("hostwatch").unwrap(), identity, metrics.clone());
        let waiting = LinkState::Waiting { since: std::time::Instant::now(), attempts: 0, reason: String::new() };
        let (_link, link) = watch::channel(waiting);
        let gate = Gate::new(WebConfig::default(), &metrics);
        let app = App::new(page, None, link, outbox, gate);
        let ask = || metrics::metrics(State(app.clone()), HeaderMap::new());
        let held = Arc::clone(&app.pages).acquire_many_owned(MAX_PAGES as u32).await.unwrap();
        assert_eq!(ask().await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(overview::overview(State(app.clone())).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(metrics.scrapes_rejected.get(), 2);
        drop(held);
        assert_eq!(ask().await.status(), StatusCode::OK);
    }
}
