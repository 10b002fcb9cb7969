//! The threads on which plugins run. Usually one drains the whole tick; another one starts only when a run keeps the
//! others waiting, up to a bound. A run that hangs costs its thread and nobody waits for it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostwatch_plugins::{Plugin, Samples};
use hostwatch_wire::ServiceName;
use tokio::sync::mpsc;

use crate::clock::{Clock, Moment};

/// The most threads, those that hang included.
pub const MAX_THREADS: usize = 64;
/// So long may one run keep the others waiting before they get a thread more.
const PATIENCE: Duration = Duration::from_millis(20);

/// A plugin with the sink that remembers its layout.
pub(crate) struct Instance {
    /// What measures.
    pub(crate) plugin: Box<dyn Plugin>,
    /// What it measured last.
    pub(crate) samples: Samples,
}

/// One run of one service.
pub(crate) struct Job {
    /// Whose.
    pub(crate) service: ServiceName,
    /// Tells this run from every other.
    pub(crate) run: u64,
    /// What runs.
    pub(crate) instance: Instance,
}

/// How a run ended.
pub(crate) struct Finished {
    /// Whose it was.
    pub(crate) service: ServiceName,
    /// Which run.
    pub(crate) run: u64,
    /// How long the plugin took.
    pub(crate) took: Duration,
    /// An error is for people.
    pub(crate) result: Result<(), String>,
    /// None after a panic: what it has left behind is not to be trusted.
    pub(crate) instance: Option<Instance>,
}

/// The threads and the runs that wait for one.
pub(crate) struct Pool {
    clock: Clock,
    shared: Arc<Mutex<Shared>>,
    finished: mpsc::Sender<Finished>,
}

/// Written by the main loop and by the threads.
#[derive(Default)]
struct Shared {
    waiting: VecDeque<Job>,
    threads: usize,
    /// When a run last began, or a thread to run it.
    last_begin: Moment,
}

impl Pool {
    /// A pool whose results arrive where `finished` leads.
    #[must_use]
    pub(crate) fn new(clock: Clock, finished: mpsc::Sender<Finished>) -> Self {
        Self { clock, shared: Arc::default(), finished }
    }

    /// Runs `jobs` in their order, as soon as there is a thread.
    pub(crate) fn submit(&self, jobs: Vec<Job>) {
        lock(&self.shared).waiting.extend(jobs);
        self.relieve();
    }

    /// When [`Pool::relieve`] is to be called, while runs wait.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        let shared = lock(&self.shared);
        (!shared.waiting.is_empty() && shared.threads < MAX_THREADS).then_some(shared.last_begin + PATIENCE)
    }

    /// Starts a thread when runs wait and none has begun for a while.
    pub(crate) fn relieve(&self) {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        let stalled = shared.threads == 0 || now.since(shared.last_begin) >= PATIENCE;
        if shared.waiting.is_empty() || !stalled || shared.threads == MAX_THREADS {
            return;
        }
        shared.threads += 1;
        shared.last_begin = now;
        let (clock, queue, finished) = (self.clock, Arc::clone(&self.shared), self.finished.clone());
        tokio::task::spawn_blocking(move || drain(clock, &queue, &finished));
    }

    /// Takes a run back that has not begun.
    pub(crate) fn withdraw(&self, run: u64) -> Option<Instance> {
        let mut shared = lock(&self.shared);
        let index = shared.waiting.iter().position(|job| job.run == run)?;
        shared.waiting.remove(index).map(|job| job.instance)
    }
}

/// A thread's work: one run after the other until none waits.
fn drain(clock: Clock, shared: &Mutex<Shared>, finished: &mpsc::Sender<Finished>) {
    while let Some(job) = next_job(clock, shared) {
        // Without a receiver the client is stopping.
        if finished.blocking_send(run(job)).is_err() {
            return;
        }
    }
}

fn next_job(clock: Clock, shared: &Mutex<Shared>) -> Option<Job> {
    let mut shared = lock(shared);
    let job = shared.waiting.pop_front();
    match job {
        Some(_) => shared.last_begin = clock.now(),
        None => shared.threads -= 1,
    }
    job
}

fn run(job: Job) -> Finished {
    let Job { service, run, mut instance } = job;
    let began = std::time::Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        instance.samples.begin();
        instance.plugin.collect(&mut instance.samples)?;
        instance.samples.finish().map(|_| ())
    }));
    let took = began.elapsed();
    let (result, instance) = match outcome {
        Ok(result) => (result.map_err(|error| error.to_string()), Some(instance)),
        Err(panic) => {
            // It is in no state to be trusted with its own end either; the first panic is the one to tell of.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
            (Err(format!("the plugin panicked: {}", panic_text(&*panic))), None)
        }
    };
    Finished { service, run, took, result, instance }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// No code that can panic runs under the lock, so a poisoned one is as good as any.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
