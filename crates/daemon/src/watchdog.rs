//! Feeds the service manager's watchdog, but only while every essential loop makes progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::{ServiceManager, Shutdown};

/// Watches the loops of a daemon through their [`Pulse`]s.
pub struct Watchdog {
    /// How long the service manager waits for a sign of life before it kills us; `None` when it does not watch.
    patience: Option<Duration>,
    loops: Vec<Loop>,
}

/// The sign of life of one loop. Clones beat for the same loop.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Says that the loop has made a turn; idle turns count.
    pub fn beat(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Loop {
    name: &'static str,
    at_least_every: Duration,
    /// Set by the loop's pulses, cleared by the watchdog.
    has_beaten: Arc<AtomicBool>,
    last_beat: Instant,
    is_silent: bool,
}

impl Watchdog {
    /// A watchdog without loops that serves what `$WATCHDOG_USEC` asks for.
    pub fn new() -> Self {
        Self { patience: sd_notify::watchdog_enabled(), loops: Vec::new() }
    }

    /// Watches one more loop, which has to beat `at_least_every` so often; this is told apart to about a second.
    pub fn pulse(&mut self, name: &'static str, at_least_every: Duration) -> Pulse {
        let has_beaten = Arc::new(AtomicBool::new(false));
        let watched =
            Loop { name, at_least_every, has_beaten: has_beaten.clone(), last_beat: Instant::now(), is_silent: false };
        self.loops.push(watched);
        Pulse(has_beaten)
    }

    /// Feeds the watchdog at half its patience while every loop beats, and names in the log each loop that falls silent or
    /// is back, also when nobody asked for a watchdog. A loop that is silent for longer than that patience is reported at
    /// once, whenever the last feeding was. Returns on shutdown.
    pub async fn run(mut self, manager: ServiceManager, shutdown: Shutdown) {
        let feed_every = self.patience.map(|patience| patience / 2);
        let look_every = feed_every.map_or(LOOK_EVERY, |feed_every| feed_every.clamp(SHORTEST_LOOK, LOOK_EVERY));
        let mut looks = interval(look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.loops.iter_mut().for_each(|watched| watched.last_beat = Instant::now());
        let mut last_fed = None;
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            let now = Instant::now();
            // Every loop is looked at, so that each silent one is named, not only the first.
            let silences: Vec<Duration> = self.loops.iter_mut().filter_map(|watched| watched.look(now)).collect();
            // Of two looks around the due time, the nearer one feeds.
            let is_due = |feed_every| last_fed.is_none_or(|last: Instant| now - last + look_every / 2 >= feed_every);
            if silences.is_empty() && feed_every.is_some_and(is_due) {
                manager.alive();
                last_fed = Some(now);
            }
            if silences.into_iter().max() >= Some(self.patience.unwrap_or(Duration::MAX)) {
                manager.hung();
            }
        }
    }
}

/// How often the pulses are looked at, unless the service manager wants to be fed more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// However impatient the service manager is, looking is not to become work.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

impl Loop {
    /// For how long the loop is silent at `now`, if that is for too long.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        if self.has_beaten.swap(false, Ordering::Relaxed) {
            self.last_beat = now;
        }
        let silence = now - self.last_beat;
        let is_silent = silence > self.at_least_every;
        if is_silent && !self.is_silent {
            let Self { name, at_least_every, .. } = self;
            warn!("the loop {name} made no progress for {silence:.1?}; it should every {at_least_every:?}");
        }
        if !is_silent && self.is_silent {
            info!("the loop {} makes progress again", self.name);
        }
        self.is_silent = is_silent;
        is_silent.then_some(silence)
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::logging::tests::capture;
    use crate::service_manager::tests::Receiver;

    const SECOND: Duration = Duration::from_secs(1);

    /// Runs a watchdog over the loops `reader` (5 s) and `judge` (2 s) while `script` beats for them.
    async fn watch(patience: Option<Duration>, receiver: &Receiver, script: impl AsyncFnOnce(Pulse, Pulse)) {
        let mut watchdog = Watchdog { patience, loops: Vec::new() };
        let reader = watchdog.pulse("reader", 5 * SECOND);
        let judge = watchdog.pulse("judge", 2 * SECOND);
        let shutdown = Shutdown::new();
        let play = async {
            script(reader, judge).await;
            shutdown.cancel();
        };
        tokio::join!(watchdog.run(receiver.manager(), shutdown.clone()), play);
    }

    #[tokio::test(start_paused = true)]
    async fn is_fed_at_half_its_patience_while_all_loops_beat() {
        let receiver = Receiver::bind();
        let start = Instant::now();
        let mut feedings = Vec::new();
        watch(Some(10 * SECOND), &receiver, async |reader: Pulse, judge: Pulse| {
            for _ in 0..195 {
                reader.beat();
                judge.clone().beat();
                sleep(SECOND / 10).await;
                feedings.extend(receiver.take().iter().map(|said| {
                    assert_eq!(said, "WATCHDOG=1\n");
                    start.elapsed().as_secs()
                }));
            }
        })
        .await;
        assert_eq!(feedings, [0, 5, 10, 15]);
    }

    #[tokio::test(start_paused = true)]
    async fn starves_while_one_loop_is_silent_and_names_it() {
        let receiver = Receiver::bind();
        let (log, guard) = capture();
        watch(Some(4 * SECOND), &receiver, async |reader: Pulse, judge: Pulse| {
            for _ in 0..10 {
                reader.beat();
                judge.beat();
                sleep(SECOND).await;
            }
            assert!(!receiver.take().is_empty());
            for _ in 0..10 {
                reader.beat();
                sleep(SECOND).await;
            }
            let fed = receiver.take().iter().filter(|said| *said == "WATCHDOG=1\n").count();
            assert!(fed <= 1, "fed at most while the silence was within its limit");
            assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
            assert!(log.lines()[0].contains("WARN") && log.lines()[0].contains("the loop judge made no progress for"));
            judge.beat();
            sleep(2 * SECOND).await;
            assert!(!receiver.take().is_empty());
            assert!(log.lines()[1].contains("the loop judge makes progress again"));
        })
        .await;
        drop(guard);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_is_reported_within_the_patience_whenever_the_last_feeding_was() {
        let receiver = Receiver::bind();
        let start = Instant::now();
        watch(Some(10 * SECOND), &receiver, async |reader: Pulse, judge: Pulse| {
            loop {
                judge.beat();
                // The last feeding falls into the time in which the silence was still within its limit.
                if start.elapsed() <= SECOND {
                    reader.beat();
                }
                sleep(SECOND / 10).await;
                if receiver.take().iter().any(|said| said == "WATCHDOG=trigger\n") {
                    break;
                }
            }
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 12, "the last beat, its patience, and a look");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_request_it_only_warns() {
        let receiver = Receiver::bind();
        let (log, guard) = capture();
        watch(None, &receiver, async |_reader: Pulse, _judge: Pulse| sleep(20 * SECOND).await).await;
        drop(guard);
        assert!(receiver.take().is_empty());
        let lines = log.lines();
        assert!(lines.len() == 2 && lines[0].contains("judge") && lines[1].contains("reader"), "{lines:?}");
    }
}
