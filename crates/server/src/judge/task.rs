//! Runs the judge on a thread of its own: judging is work for the processor, and must hold up neither the fleet nor readers.

use std::time::{Duration, Instant};

use hostwatch_daemon::{Pulse, Shutdown};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use super::feed::{Changes, FeedReceiver};
use super::{Judge, SavedAlerts};
use crate::clock::Now;
use crate::metrics::Metrics;
use crate::state::StateDirectory;

/// So many reports are judged before anything else has its turn.
const BATCH: usize = 256;
/// How exact timers are, and how soon readers see what is new.
const TICK: Duration = Duration::from_millis(250);
/// The alerts are saved so soon after a transition…
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// …and so often in any case, so that a restart knows how long nobody looked.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// What the task needs beside the judge.
pub(crate) struct JudgeTask {
    /// What the fleet tells.
    pub feed: FeedReceiver,
    /// Where the alerts are saved.
    pub state: StateDirectory,
    /// Where the figures are kept.
    pub metrics: Metrics,
}

impl JudgeTask {
    /// Runs until shutdown, then saves the alerts.
    ///
    /// # Errors
    /// When the alerts could not be saved at the end.
    pub(crate) async fn run(self, judge: Judge, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(self.follow(judge, pulse, shutdown))).await?
    }

    async fn follow(mut self, mut judge: Judge, pulse: Pulse, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saving: Option<JoinHandle<()>> = None;
        let mut saved = Instant::now();
        let mut begun = false;
        while !shutdown.is_cancelled() {
            pulse.beat();
            let (mut report, mut ticked) = (None, false);
            tokio::select! {
                told = self.feed.recv() => report = told,
                _ = tick.tick() => ticked = true,
                () = shutdown.cancelled() => {}
            }
            let now = Now::read();
            if let Some(changes) = self.feed.changes() {
                take_changes(&mut judge, changes, now);
                if !std::mem::replace(&mut begun, true) {
                    judge.begin(now);
                }
            }
            for _ in 0..BATCH {
                let Some(next) = report.take().or_else(|| self.feed.try_recv()) else { break };
                let timer = self.metrics.judge_seconds.start_timer();
                judge.on_report(&next, now);
                timer.observe_duration();
            }
            if ticked {
                judge.tick(now);
                judge.publish();
            }
            let due = now.since(saved) >= if judge.is_unsaved() { SAVE_AFTER } else { SAVE_INTERVAL };
            if due && saving.as_ref().is_none_or(JoinHandle::is_finished) {
                saved = now.monotonic;
                saving = Some(self.save_aside(judge.save(now)));
            }
        }
        // Never two at once: the last one has to be the one that stays.
        if let Some(saving) = saving {
            saving.await?;
        }
        self.state.save_alerts(&judge.save(Now::read()))
    }

    /// Saves without waiting for the disk.
    fn save_aside(&self, alerts: SavedAlerts) -> JoinHandle<()> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = state.save_alerts(&alerts) {
                error!("the alerts could not be saved: {error:#}");
            }
        })
    }
}

fn take_changes(judge: &mut Judge, changes: Changes, now: Now) {
    if let Some(rules) = changes.rules {
        judge.apply(&rules, now);
    }
    if let Some(settings) = changes.storm {
        judge.guard(settings);
    }
    if let Some(is_connected) = changes.link {
        judge.on_link(is_connected, now);
    }
    for (host, facts) in changes.hosts {
        match facts {
            Some(facts) => judge.on_host(host, facts, now),
            None => judge.on_removed(&host, now),
        }
    }
}
