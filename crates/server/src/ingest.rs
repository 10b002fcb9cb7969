//! The task that owns the fleet: takes in messages, the state of the link, reloads and the passing of time, one after
//! the other, and never waits for Redis, disk or a reader.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use hostwatch_bus::{Inbox, InboxSender, Link, LinkState, Message};
use hostwatch_daemon::{Pulse, Shutdown};
use hostwatch_wire::Names;
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, info};

use crate::clock::Now;
use crate::fleet::{Fleet, FoundKey, Saved, Timing};
use crate::inventory::Inventory;
use crate::judge::Feed;
use crate::keys;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::state::StateDirectory;

/// So many messages are taken in before anything else has its turn.
const BATCH: usize = 256;
/// How often the fleet is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// An inventory that is to be put in force, and who waits to hear that it is.
pub(crate) struct Reload {
    /// What to watch.
    pub inventory: Inventory,
    /// How long things may take.
    pub timing: Timing,
    /// Told when it is in force.
    pub done: oneshot::Sender<()>,
}

/// What the task needs beside the fleet.
pub(crate) struct Ingest {
    /// What the hosts say.
    pub inbox: Inbox,
    /// The other end of `inbox`, for its figures.
    pub inbox_sender: InboxSender,
    /// Where the fleet's effects go.
    pub outbox: Outbox,
    /// Where the judge is told what the fleet does.
    pub feed: Feed,
    /// To read the configuration keys, and to follow its state.
    pub link: Link,
    /// The names of keys and channels.
    pub names: Names,
    /// What is to be put in force.
    pub reloads: mpsc::Receiver<Reload>,
    /// Where the fleet is saved.
    pub state: StateDirectory,
    /// Where the figures are kept.
    pub metrics: Metrics,
}

type ReadingKeys = Pin<Box<dyn Future<Output = Vec<FoundKey>> + Send>>;

impl Ingest {
    /// Runs until shutdown, then saves the fleet.
    ///
    /// # Errors
    /// When the fleet could not be saved at the end.
    pub(crate) async fn run(mut self, mut fleet: Fleet, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut link_state = self.link.state();
        link_state.mark_changed();
        let mut reading_keys: Option<ReadingKeys> = None;
        let mut saving: Option<JoinHandle<()>> = None;
        let mut save = every(SAVE_INTERVAL);
        save.reset();
        let mut tick = every(fleet.tick_interval());
        self.settle(&mut fleet);
        while !shutdown.is_cancelled() {
            pulse.beat();
            tokio::select! {
                Some(message) = self.inbox.recv() => self.take_in(&mut fleet, message),
                _ = tick.tick() => {
                    let now = Now::read();
                    fleet.on_floods(self.inbox_sender.take_floods(), now);
                    fleet.tick(now);
                }
                _ = link_state.changed() => {
                    let state = link_state.borrow_and_update().clone();
                    reading_keys = self.follow(&mut fleet, &state);
                }
                found = async { reading_keys.as_mut().expect("checked by the guard").await }, if reading_keys.is_some() => {
                    reading_keys = None;
                    info!("{} configuration keys were read", found.len());
                    fleet.on_keys(found, Now::read());
                }
                Some(Reload { inventory, timing, done }) = self.reloads.recv() => {
                    fleet.apply(inventory, timing, Now::read());
                    if tick.period() != fleet.tick_interval() {
                        tick = every(fleet.tick_interval());
                    }
                    self.settle(&mut fleet);
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                _ = save.tick() => {
                    if saving.as_ref().is_none_or(JoinHandle::is_finished) {
                        saving = Some(self.save_aside(fleet.save()));
                    }
                }
                () = shutdown.cancelled() => {}
            }
            self.settle(&mut fleet);
        }
        // Never two at once: the last one has to be the one that stays.
        if let Some(saving) = saving {
            saving.await?;
        }
        let (state, saved) = (self.state.clone(), fleet.save());
        tokio::task::spawn_blocking(move || state.save_fleet(&saved)).await?
    }

    fn take_in(&mut self, fleet: &mut Fleet, first: Message) {
        let timer = self.metrics.ingest_seconds.start_timer();
        let now = Now::read();
        fleet.on_message(&first.channel, &first.payload, now);
        for _ in 1..BATCH {
            let Some(message) = self.inbox.try_recv() else { break };
            fleet.on_message(&message.channel, &message.payload, now);
        }
        timer.observe_duration();
    }

    fn follow(&self, fleet: &mut Fleet, state: &LinkState) -> Option<ReadingKeys> {
        match *state {
            LinkState::Connected { since, generation } => {
                self.metrics.redis_connected.set(1);
                raise(&self.metrics.redis_connections, generation);
                fleet.on_connected(since);
                let (link, names) = (self.link.clone(), self.names.clone());
                Some(Box::pin(async move { keys::read_all(&link, &names).await }))
            }
            LinkState::Waiting { .. } => {
                self.metrics.redis_connected.set(0);
                fleet.on_disconnected();
                None
            }
        }
    }

    /// After each event: readers see it, and its effects are on their way.
    fn settle(&mut self, fleet: &mut Fleet) {
        fleet.publish();
        self.outbox.put(fleet.take_effects());
        self.feed.tell(fleet.take_observations());
        self.metrics.judge_waiting.set(self.feed.waiting() as i64);
        raise(&self.metrics.judge_dropped, self.feed.dropped());
        self.metrics.inbox_messages.set(self.inbox.len() as i64);
        raise(&self.metrics.inbox_dropped, self.inbox_sender.dropped());
    }

    /// Saves without waiting for the disk.
    fn save_aside(&self, saved: Saved) -> JoinHandle<()> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = state.save_fleet(&saved) {
                error!("the fleet could not be saved: {error:#}");
            }
        })
    }
}

/// Ticks that are not caught up on when they were missed.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Brings a counter up to a count that is kept elsewhere.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}
