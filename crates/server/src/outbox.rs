//! What the fleet wants said and written, on its way to Redis.
//!
//! The fleet never waits for Redis. A host's key is kept as the state to be reached, one entry a host, and tried until
//! it is; what is said to a host is a bounded queue. When the link is lost both are dropped: the fleet writes every key
//! again after the next connect, and hosts ask again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hostwatch_bus::{Error, Link, LinkState, Retained};
use hostwatch_daemon::{OncePerMinute, Pulse, Shutdown};
use hostwatch_wire::{HostId, Names, ServerBody, ServerMessage};
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::fleet::{Effect, Identity};
use crate::metrics::Metrics;

/// So many messages to hosts wait, at most.
const MAX_SAID: usize = 100_000;
/// So much of each kind is taken in one turn, so that nothing waits long for the rest.
const BATCH: usize = 500;
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
    keys: BTreeMap<HostId, Key>,
    said: VecDeque<(HostId, Vec<u8>)>,
}

/// What a host's configuration key is to become.
enum Key {
    Retain(Vec<u8>),
    Forget,
}

/// How a turn went.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// There was nothing to do.
    Idle,
    /// Everything that was taken is done.
    Done,
    /// Something was refused, and is tried again or dropped.
    Failed(Error),
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
        let encoded: Vec<Encoded> = effects.into_iter().filter_map(|effect| self.encode(effect)).collect();
        let mut queue = self.shared.lock();
        for effect in encoded {
            match effect {
                Encoded::Listen(host) => {
                    queue.ignore.remove(&host);
                    queue.listen.insert(host);
                }
                Encoded::Ignore(host) => {
                    queue.listen.remove(&host);
                    queue.ignore.insert(host);
                }
                Encoded::Key(host, key) => {
                    queue.keys.insert(host, key);
                }
                Encoded::Say(_, _) if queue.said.len() >= MAX_SAID => self.shared.metrics.outbox_dropped.inc(),
                Encoded::Say(host, bytes) => queue.said.push_back((host, bytes)),
            }
        }
        self.shared.show(&queue);
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// How many configuration keys are not yet as they should be.
    pub(crate) fn waiting_keys(&self) -> usize {
        self.shared.lock().keys.len()
    }

    /// Carries out what was put until shutdown, and then what is left.
    pub(crate) async fn run(self, link: Link, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut state = link.state();
        let mut log_limit = OncePerMinute::default();
        loop {
            pulse.beat();
            let connected = matches!(*state.borrow_and_update(), LinkState::Connected { .. });
            if !connected {
                self.lose();
            }
            match self.turn(&link, connected).await {
                Turn::Idle if shutdown.is_cancelled() => return Ok(()),
                Turn::Idle => {
                    tokio::select! {
                        () = self.shared.changed.notified() => {}
                        _ = state.changed() => {}
                        () = tokio::time::sleep(IDLE) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Turn::Done => {}
                Turn::Failed(_) if shutdown.is_cancelled() => return Ok(()),
                Turn::Failed(error) => {
                    if error != Error::Disconnected && log_limit.allow("refused", Instant::now()).is_some() {
                        warn!("Redis did not take what hosts are to be told: {error}");
                    }
                    pause(&mut state, &shutdown).await;
                }
            }
        }
    }

    /// One batch of each kind. Subscriptions first: a welcome may only go out when the host's reports are listened to.
    /// Each kind stands alone: a key that Redis refuses keeps nothing else from being said.
    async fn turn(&self, link: &Link, connected: bool) -> Turn {
        let mut batch = self.shared.lock().take(connected);
        if batch.is_empty() {
            return Turn::Idle;
        }
        let names = &self.shared.names;
        let reports = |hosts: &BTreeSet<HostId>| hosts.iter().map(|host| names.reports(host)).collect::<Vec<_>>();
        let mut failure = None;
        if !batch.listen.is_empty()
            && let Err(error) = link.subscribe(&reports(&batch.listen)).await
        {
            // The link goes on wanting them; what would be said now might be answered where nobody listens.
            self.shared.metrics.outbox_dropped.inc_by(batch.said.len() as u64);
            batch.said.clear();
            failure = Some(error);
        }
        if !batch.ignore.is_empty() {
            failure = failure.or(link.unsubscribe(&reports(&batch.ignore)).await.err());
        }
        if let Err(error) = self.write(link, &batch.keys).await {
            self.put_back(batch.keys);
            failure = failure.or(Some(error));
        }
        let said: Vec<_> = batch.said.into_iter().map(|(host, bytes)| (names.commands(&host), bytes)).collect();
        if let Err(error) = link.publish_all(&said).await {
            self.shared.metrics.outbox_dropped.inc_by(said.len() as u64);
            failure = failure.or(Some(error));
        }
        self.shared.show(&self.shared.lock());
        failure.map_or(Turn::Done, Turn::Failed)
    }

    async fn write(&self, link: &Link, keys: &BTreeMap<HostId, Key>) -> Result<(), Error> {
        let names = &self.shared.names;
        let (mut retained, mut forgotten) = (Vec::new(), Vec::new());
        for (host, key) in keys {
            match key {
                Key::Retain(payload) => retained.push(Retained {
                    key: names.config_key(host),
                    channel: names.commands(host),
                    payload: payload.clone(),
                }),
                Key::Forget => forgotten.push(names.config_key(host)),
            }
        }
        let deleted = link.delete(&forgotten).await;
        link.retain_all(&retained).await?;
        deleted
    }

    /// The keys are tried again, unless they have been put anew meanwhile.
    fn put_back(&self, keys: BTreeMap<HostId, Key>) {
        let mut queue = self.shared.lock();
        for (host, key) in keys {
            queue.keys.entry(host).or_insert(key);
        }
    }

    /// What was to be said and written over a link that is lost is out of date when the next one is there.
    fn lose(&self) {
        let mut queue = self.shared.lock();
        self.shared.metrics.outbox_dropped.inc_by(queue.said.len() as u64);
        queue.said.clear();
        queue.keys.clear();
        self.shared.show(&queue);
    }

    fn encode(&self, effect: Effect) -> Option<Encoded> {
        Some(match effect {
            Effect::Listen(host) => Encoded::Listen(host),
            Effect::Ignore(host) => Encoded::Ignore(host),
            Effect::Forget(host) => Encoded::Key(host, Key::Forget),
            Effect::Retain(host, config) => {
                let bytes = self.message(&host, ServerBody::Config(config))?;
                Encoded::Key(host, Key::Retain(bytes))
            }
            Effect::Say(host, body) => {
                let bytes = self.message(&host, body)?;
                Encoded::Say(host, bytes)
            }
        })
    }

    fn message(&self, host: &HostId, body: ServerBody) -> Option<Vec<u8>> {
        let Identity { server, life } = self.shared.identity;
        let message = ServerMessage { server, life, body };
        message.encode().inspect_err(|error| warn!(%host, "a message to {host} cannot be sent: {error}")).ok()
    }
}

/// An effect as it goes to Redis.
enum Encoded {
    Listen(HostId),
    Ignore(HostId),
    Key(HostId, Key),
    Say(HostId, Vec<u8>),
}

/// Waits a little, or until the link has changed.
async fn pause(state: &mut watch::Receiver<LinkState>, shutdown: &Shutdown) {
    tokio::select! {
        _ = state.changed() => {}
        () = tokio::time::sleep(PAUSE) => {}
        () = shutdown.cancelled() => {}
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how much waits.
    fn show(&self, queue: &Queue) {
        self.metrics.outbox_keys.set(queue.keys.len() as i64);
        self.metrics.outbox_messages.set((queue.said.len() + queue.listen.len() + queue.ignore.len()) as i64);
    }
}

impl Queue {
    /// A batch of each kind; without a connection only the subscriptions, which the link remembers.
    fn take(&mut self, connected: bool) -> Self {
        let limit = if connected { BATCH } else { 0 };
        Self {
            listen: take_first(&mut self.listen, BATCH),
            ignore: take_first(&mut self.ignore, BATCH),
            keys: std::iter::from_fn(|| self.keys.pop_first()).take(limit).collect(),
            said: match self.listen.is_empty() {
                true => self.said.drain(..self.said.len().min(limit)).collect(),
                // Not before every subscription that was put earlier.
                false => VecDeque::new(),
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.ignore.is_empty() && self.keys.is_empty() && self.said.is_empty()
    }
}

fn take_first(hosts: &mut BTreeSet<HostId>, limit: usize) -> BTreeSet<HostId> {
    std::iter::from_fn(|| hosts.pop_first()).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use hostwatch_daemon::Watchdog;
    use hostwatch_testkit::Redis;
    use hostwatch_wire::{ContentHash, HostConfig, Life, Revision, ServerId, WantLayout};

    use super::*;

    /// A connection as `user`, its password `pw`, and everything that it hears.
    async fn connect(redis: &Redis, user: &str, stop: &Shutdown) -> (Link, hostwatch_bus::Inbox) {
        let settings = hostwatch_bus::Settings {
            address: redis.url().parse().unwrap(),
            username: Some(user.to_owned()),
            password: Some(hostwatch_bus::Password::new("pw")),
            tls: hostwatch_bus::Tls::default(),
            client_name: user.to_owned(),
            outlives_others: false,
            timing: hostwatch_bus::Timing::default(),
        };
        let (sender, inbox) = hostwatch_bus::inbox(10_000, 1 << 20);
        let (link, driver) = hostwatch_bus::link(settings, sender);
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(driver.run(stop.clone()));
        tasks.close();
        link.state().wait_for(|state| matches!(state, LinkState::Connected { .. })).await.unwrap();
        (link, inbox)
    }

    fn host(index: usize) -> HostId {
        format!("host-{index}").parse().unwrap()
    }

    fn outbox() -> Outbox {
        let identity = Identity { server: ServerId(1), life: Life(1) };
        Outbox::new(Names::new("hostwatch").unwrap(), identity, Metrics::new().unwrap())
    }

    fn retain(index: usize) -> Effect {
        let revision = Revision { number: 1, content: ContentHash::of(b"") };
        Effect::Retain(host(index), HostConfig { revision, services: Vec::new() })
    }

    fn say(index: usize) -> Effect {
        Effect::Say(host(index), ServerBody::WantLayout(WantLayout { layouts: Vec::new() }))
    }

    async fn next(inbox: &mut hostwatch_bus::Inbox) -> String {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, inbox.recv()).await.expect("a message within 30 s").unwrap().channel
    }

    #[tokio::test]
    async fn a_key_that_is_refused_keeps_nothing_from_being_said() {
        let redis = Redis::start().unwrap();
        let stop = Shutdown::new();
        redis.cli(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all"]).unwrap();
        redis.cli(&["ACL", "SETUSER", "writer", "on", ">pw", "~*", "&*", "+@all", "-set"]).unwrap();
        let (reader, mut heard) = connect(&redis, "reader", &stop).await;
        reader.psubscribe("hostwatch:{*}:commands").await.unwrap();
        let (writer, _inbox) = connect(&redis, "writer", &stop).await;
        let (outbox, pulse) = (outbox(), Watchdog::new().pulse("outbox", Duration::from_secs(20)));
        outbox.put(vec![retain(1), say(2)]);
        let running = tokio_util::task::TaskTracker::new();
        running.spawn(outbox.clone().run(writer, pulse, stop.clone()));
        assert_eq!(next(&mut heard).await, "hostwatch:{host-2}:commands");
        assert_eq!(outbox.waiting_keys(), 1, "it is tried until it is written");
        redis.cli(&["ACL", "SETUSER", "writer", "+set"]).unwrap();
        assert_eq!(next(&mut heard).await, "hostwatch:{host-1}:commands");
        assert_eq!(redis.cli(&["EXISTS", "hostwatch:{host-1}:config"]).unwrap().trim(), "1");
        stop.cancel();
        running.close();
        running.wait().await;
    }

    #[tokio::test]
    async fn everything_gets_through_in_batches_and_subscriptions_come_first() {
        const HOSTS: usize = 3 * BATCH + 1;
        let redis = Redis::start().unwrap();
        let stop = Shutdown::new();
        redis.cli(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all"]).unwrap();
        let (reader, mut heard) = connect(&redis, "reader", &stop).await;
        reader.psubscribe("hostwatch:{*}:commands").await.unwrap();
        let (writer, _inbox) = connect(&redis, "reader", &stop).await;
        let outbox = outbox();
        outbox.put((0..HOSTS).flat_map(|index| [say(index), Effect::Listen(host(index))]).collect());
        let running = tokio_util::task::TaskTracker::new();
        let pulse = Watchdog::new().pulse("outbox", Duration::from_secs(20));
        running.spawn(outbox.clone().run(writer, pulse, stop.clone()));
        let first = next(&mut heard).await;
        let channels = redis.cli(&["PUBSUB", "CHANNELS", "hostwatch:{*}:reports"]).unwrap();
        assert_eq!(channels.lines().count(), HOSTS, "all were subscribed before {first} was told anything");
        for _ in 1..HOSTS {
            next(&mut heard).await;
        }
        stop.cancel();
        running.close();
        running.wait().await;
    }
}
