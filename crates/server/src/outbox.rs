//! What the fleet wants said and written, on its way to Redis.
//!
//! The fleet never waits for Redis. What describes a host (its subscription, its key) is kept as the state to be
//! reached, one entry a host, and tried until it is; what is said to a host is a bounded queue, and dropped when Redis
//! is away: hosts ask again.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostwatch_bus::{Error, Link, LinkState, Retained};
use hostwatch_daemon::{Pulse, Shutdown};
use hostwatch_wire::{HostId, Names, ServerBody, ServerMessage};
use tokio::sync::Notify;
use tracing::warn;

use crate::fleet::{Effect, Identity};
use crate::metrics::Metrics;

/// So many messages to hosts wait, at most.
const MAX_SAID: usize = 100_000;
/// So many are taken at once: pings of the link pass between two batches.
const BATCH: usize = 1_000;
/// The pause after Redis refused something.
const PAUSE: Duration = Duration::from_secs(1);
/// A loop that is idle still says so to the watchdog this often.
const IDLE: Duration = Duration::from_secs(1);

/// Where effects are put. Clones share it.
#[derive(Clone)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    names: Names,
    identity: Identity,
    metrics: Metrics,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    listen: BTreeSet<HostId>,
    ignore: BTreeSet<HostId>,
    retain: HashMap<HostId, Vec<u8>>,
    forget: HashSet<HostId>,
    said: VecDeque<(HostId, Vec<u8>)>,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(names: Names, identity: Identity, metrics: Metrics) -> Self {
        Self { shared: Arc::new(Shared { names, identity, metrics, queue: Mutex::default(), changed: Notify::new() }) }
    }

    /// Takes what the fleet wants done.
    pub(crate) fn put(&self, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        for effect in effects {
            match effect {
                Effect::Listen(host) => {
                    queue.ignore.remove(&host);
                    queue.listen.insert(host);
                }
                Effect::Ignore(host) => {
                    queue.listen.remove(&host);
                    queue.ignore.insert(host);
                }
                Effect::Retain(host, config) => {
                    if let Some(bytes) = self.encode(&host, ServerBody::Config(config)) {
                        queue.forget.remove(&host);
                        queue.retain.insert(host, bytes);
                    }
                }
                Effect::Forget(host) => {
                    queue.retain.remove(&host);
                    queue.forget.insert(host);
                }
                Effect::Say(_, _) if queue.said.len() >= MAX_SAID => self.shared.metrics.outbox_dropped.inc(),
                Effect::Say(host, body) => {
                    if let Some(bytes) = self.encode(&host, body) {
                        queue.said.push_back((host, bytes));
                    }
                }
            }
        }
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// Carries out what was put, until shutdown; then once more what is left, so that goodbyes are acknowledged.
    pub(crate) async fn run(self, link: Link, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut state = link.state();
        loop {
            pulse.beat();
            let stopping = shutdown.is_cancelled();
            let connected = matches!(*state.borrow_and_update(), LinkState::Connected { .. });
            let batch = if connected { self.shared.lock().take() } else { Queue::default() };
            if stopping && (batch.is_empty() || !connected) {
                return Ok(());
            }
            if batch.is_empty() {
                tokio::select! {
                    () = self.shared.changed.notified(), if connected => {}
                    _ = state.changed() => {}
                    () = tokio::time::sleep(IDLE) => {}
                    () = shutdown.cancelled() => {}
                }
            } else if let Err((batch, error)) = self.carry_out(&link, batch).await {
                self.put_back(batch);
                if error != Error::Disconnected {
                    warn!(%error, "a batch for Redis failed and is tried again");
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Subscriptions first: a welcome may only go out when the host's reports are listened to.
    async fn carry_out(&self, link: &Link, batch: Queue) -> Result<(), (Queue, Error)> {
        let result = async {
            let reports = |hosts: &BTreeSet<HostId>| hosts.iter().map(|host| self.shared.names.reports(host)).collect();
            let (listen, ignore): (Vec<_>, Vec<_>) = (reports(&batch.listen), reports(&batch.ignore));
            if !listen.is_empty() {
                link.subscribe(&listen).await?;
            }
            if !ignore.is_empty() {
                link.unsubscribe(&ignore).await?;
            }
            link.delete(&self.keys(&batch.forget)).await?;
            let retained: Vec<Retained> =
                batch.retain.iter().map(|(host, payload)| self.retained(host, payload)).collect();
            link.retain_all(&retained).await?;
            let said: Vec<_> =
                batch.said.iter().map(|(host, bytes)| (self.shared.names.commands(host), bytes.clone())).collect();
            link.publish_all(&said).await
        };
        match result.await {
            Ok(_) => Ok(()),
            Err(error) => Err((batch, error)),
        }
    }

    fn retained(&self, host: &HostId, payload: &[u8]) -> Retained {
        let names = &self.shared.names;
        Retained { key: names.config_key(host), channel: names.commands(host), payload: payload.to_vec() }
    }

    fn keys(&self, hosts: &HashSet<HostId>) -> Vec<String> {
        hosts.iter().map(|host| self.shared.names.config_key(host)).collect()
    }

    /// What describes a host is tried again unless it has changed meanwhile.
    fn put_back(&self, batch: Queue) {
        self.shared.metrics.outbox_dropped.inc_by(batch.said.len() as u64);
        let mut queue = self.shared.lock();
        for host in batch.listen {
            if !queue.ignore.contains(&host) {
                queue.listen.insert(host);
            }
        }
        for host in batch.ignore {
            if !queue.listen.contains(&host) {
                queue.ignore.insert(host);
            }
        }
        for (host, bytes) in batch.retain {
            if !queue.forget.contains(&host) {
                queue.retain.entry(host).or_insert(bytes);
            }
        }
        for host in batch.forget {
            if !queue.retain.contains_key(&host) {
                queue.forget.insert(host);
            }
        }
    }

    fn encode(&self, host: &HostId, body: ServerBody) -> Option<Vec<u8>> {
        let Identity { server, life } = self.shared.identity;
        let message = ServerMessage { server, life, body };
        message.encode().inspect_err(|error| warn!(%host, %error, "a message to a host is too long")).ok()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Everything that describes hosts, and a batch of what is said to them.
    fn take(&mut self) -> Self {
        let rest = self.said.split_off(self.said.len().min(BATCH));
        let batch = mem::take(self);
        self.said = rest;
        batch
    }

    fn is_empty(&self) -> bool {
        self.listen.is_empty()
            && self.ignore.is_empty()
            && self.retain.is_empty()
            && self.forget.is_empty()
            && self.said.is_empty()
    }
}
