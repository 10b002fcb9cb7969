//! The loop behind a link: connect, subscribe, announce, ping, and begin again when the connection is lost.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::link::Shared;
use crate::session::Session;
use crate::{Error, InboxSender, LinkState, Settings, Timing};

/// Time between two calls of the progress callback.
const BEAT_INTERVAL: Duration = Duration::from_millis(2_500);

/// Keeps a link connected for as long as it runs.
pub struct Driver {
    core: Core,
    beat: Box<dyn Fn() + Send>,
}

impl Driver {
    pub(crate) fn new(settings: Settings, inbox: InboxSender, shared: Arc<Shared>) -> Self {
        Self { core: Core { settings, inbox, shared }, beat: Box::new(|| ()) }
    }

    /// Calls `beat` at least every five seconds while the loop lives, whether Redis is there or not. It must not block.
    #[must_use]
    pub fn on_progress(self, beat: impl Fn() + Send + 'static) -> Self {
        Self { beat: Box::new(beat), ..self }
    }

    /// Connects, and reconnects for ever; returns only on shutdown. Then, or when this future is dropped, the connection is
    /// closed and commands under way fail, so say goodbye before.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { core, beat } = self;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            never = core.keep_connected() => match never {},
            never = keep_beating(beat) => match never {},
        }
    }
}

/// Beats on the task of the loop: the beat stops when something blocks that task. All that the loop itself waits for is
/// limited in time.
async fn keep_beating(beat: Box<dyn Fn() + Send>) -> Infallible {
    let mut ticks = interval(BEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        beat();
    }
}

/// A driver's own half: it ends the link when it is dropped.
struct Core {
    settings: Settings,
    inbox: InboxSender,
    shared: Arc<Shared>,
}

/// What is told about a link's life.
struct History {
    generation: u64,
    /// When the present connection was announced; `None` as long as it is not.
    connected: Option<Instant>,
    /// When the last connection was lost, and how many attempts have failed since.
    lost: Instant,
    attempts: u32,
}

impl Core {
    async fn keep_connected(&self) -> Infallible {
        let Settings { address, timing, .. } = &self.settings;
        let mut backoff = Backoff::new(timing.backoff_min, timing.backoff_max);
        let mut history = History { generation: 0, connected: None, lost: Instant::now(), attempts: 0 };
        loop {
            let reason = self.connect_once(&mut history).await;
            if let Some(since) = history.connected.take() {
                // A connection that is lost soon, time and again, must not be made anew without a wait.
                if since.elapsed() >= timing.backoff_max {
                    backoff.reset();
                }
                tracing::warn!(%address, "lost the connection to Redis: {reason}");
                (history.lost, history.attempts) = (Instant::now(), 0);
            } else {
                history.attempts = history.attempts.saturating_add(1);
                // The first, second, fourth, eighth failure and so on: a line per attempt would fill the log in a night.
                if history.attempts.is_power_of_two() {
                    tracing::warn!(%address, attempts = history.attempts, "can not connect to Redis: {reason}");
                }
            }
            let (since, attempts) = (history.lost, history.attempts);
            self.shared.state.send_replace(LinkState::Waiting { since, attempts, reason });
            sleep(backoff.next_wait()).await;
        }
    }

    /// Follows one connection from its first packet to its end and says why it ended.
    async fn connect_once(&self, history: &mut History) -> String {
        let session = match Session::open(&self.settings, &self.inbox).await {
            Ok(session) => session,
            Err(reason) => return reason,
        };
        let attempt = Attempt::begin(&self.shared, session);
        tokio::select! {
            biased;
            () = attempt.session.gone() => "the connection was closed".into(),
            reason = self.keep_subscribed(&attempt.session, history) => reason,
            error = self.keep_pinging(&attempt.session) => error.to_string(),
        }
    }

    /// Brings Redis to what is wanted, announces the connection once it is there, and then follows every change.
    async fn keep_subscribed(&self, session: &Session, history: &mut History) -> String {
        loop {
            let batch = {
                let mut current = self.shared.lock();
                let batch = current.subscriptions.next_batch();
                if batch.is_none() {
                    session.settle(current.subscriptions.last());
                    // In the same breath, so that no change can fall between "nothing left to do" and "connected".
                    current.session.get_or_insert_with(|| session.clone());
                }
                batch
            };
            let Some(batch) = batch else {
                if history.connected.is_none() {
                    self.announce(history);
                }
                self.shared.changed.notified().await;
                continue;
            };
            match session.change(&batch).await {
                Ok(()) => session.settle(batch.through),
                Err(error) => {
                    session.fail(batch.through, error.clone());
                    return format!("{batch}: {error}");
                }
            }
        }
    }

    fn announce(&self, history: &mut History) {
        let since = Instant::now();
        history.connected = Some(since);
        history.generation += 1;
        let generation = history.generation;
        let subscriptions = self.shared.lock().subscriptions.len();
        tracing::info!(address = %self.settings.address, generation, subscriptions, "connected to Redis");
        self.shared.state.send_replace(LinkState::Connected { since, generation });
    }

    /// Nothing else notices a peer that is gone without a word. While messages arrive it is not: the answer is behind them.
    async fn keep_pinging(&self, session: &Session) -> Error {
        let Timing { ping_interval, ping_timeout, .. } = self.settings.timing;
        let mut ticks = interval(ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let arrived = session.arrived();
            match timeout(ping_timeout, session.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) if session.arrived() != arrived => {}
                Err(_) => return Error::TimedOut(ping_timeout),
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let reason = "the link was shut down".into();
        self.shared.state.send_replace(LinkState::Waiting { since: Instant::now(), attempts: 0, reason });
    }
}

/// A session and its entry in what links share; dropping it takes both back, whatever ended it.
struct Attempt<'a> {
    shared: &'a Shared,
    session: Session,
}

impl<'a> Attempt<'a> {
    fn begin(shared: &'a Shared, session: Session) -> Self {
        shared.lock().subscriptions.begin();
        Self { shared, session }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        {
            let mut current = self.shared.lock();
            current.session = None;
            current.subscriptions.end();
        }
        self.session.close();
    }
}
