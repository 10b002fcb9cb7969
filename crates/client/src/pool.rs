//! The threads on which plugins run. Usually one serves the whole tick and then waits for the next; another one starts only
//! when a run keeps the others waiting, up to a bound. A run that hangs costs its thread and nobody waits for it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostwatch_plugins::{Plugin, Samples};
use hostwatch_wire::ServiceName;
use tokio::sync::Notify;

use crate::clock::{Clock, Moment};

/// The most threads, those that hang included.
const MAX_THREADS: usize = 64;
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
    /// What runs. It goes from hand to hand, and is large.
    pub(crate) instance: Box<Instance>,
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
    pub(crate) instance: Option<Box<Instance>>,
}

/// The threads, the runs that wait for one, and those that have ended.
pub(crate) struct Pool {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Written by the main loop and by the threads.
    queue: Mutex<Queue>,
    /// Wakes a thread that waits.
    work: Condvar,
    /// Wakes the main loop: waking it for each run would cost more than many a run.
    ended: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    finished: Vec<Finished>,
    threads: usize,
    /// How many of the threads wait for work: one at the most, but for a moment.
    idle: usize,
    /// Whether the idle thread was called and has not begun since. One that something keeps from waking up never does.
    is_called: bool,
    /// When a run last began, or a thread to run it, or the idle one was called.
    last_begin: Moment,
    /// Whether the system gave no thread the last time.
    is_refused: bool,
    is_closed: bool,
}

impl Pool {
    /// A pool without threads.
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, shared: Arc::default() }
    }

    /// Runs `jobs` in their order, as soon as there is a thread.
    pub(crate) fn submit(&self, jobs: Vec<Job>) {
        self.shared.queue().waiting.extend(jobs);
        self.relieve();
    }

    /// Comes when a thread has ended the last of its runs, which are all of a tick if none is slow. For those that have
    /// ended before one that is slow, [`Pool::next`] comes.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.ended.notified().await }
    }

    /// How many runs wait for a thread.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue().waiting.len()
    }

    /// Moves the runs that have ended to `finished`.
    pub(crate) fn take_finished(&self, finished: &mut Vec<Finished>) {
        finished.append(&mut self.shared.queue().finished);
    }

    /// When [`Pool::relieve`] and [`Pool::take_finished`] are to be called, while runs wait.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        let queue = self.shared.queue();
        let may_help = queue.idle > 0 && !queue.is_called || queue.threads < MAX_THREADS;
        (may_help && !queue.waiting.is_empty() || !queue.finished.is_empty()).then_some(queue.last_begin + PATIENCE)
    }

    /// Has one thread more serve the queue when runs wait: one that is idle, or a new one if none has begun for a while,
    /// not even the idle one that was called.
    pub(crate) fn relieve(&self) {
        let now = self.clock.now();
        let mut queue = self.shared.queue();
        if queue.waiting.is_empty() {
            return;
        }
        let is_stalled = queue.threads == 0 || now.since(queue.last_begin) >= PATIENCE;
        if queue.idle > 0 && !queue.is_called {
            (queue.is_called, queue.last_begin) = (true, now);
            drop(queue);
            self.shared.work.notify_one();
        } else if is_stalled && queue.threads < MAX_THREADS {
            queue.last_begin = now;
            let (clock, shared) = (self.clock, Arc::clone(&self.shared));
            let thread = std::thread::Builder::new().name("plugins".to_owned());
            match thread.spawn(move || serve(clock, &shared)) {
                Ok(_) => (queue.threads, queue.is_refused) = (queue.threads + 1, false),
                Err(error) if !queue.is_refused => {
                    queue.is_refused = true;
                    tracing::error!("plugins have to wait: the system gives no thread: {error}");
                }
                Err(_) => {}
            }
        }
    }

    /// Takes a run back that has not begun.
    pub(crate) fn withdraw(&self, run: u64) -> Option<Box<Instance>> {
        let mut queue = self.shared.queue();
        let index = queue.waiting.iter().position(|job| job.run == run)?;
        queue.waiting.remove(index).map(|job| job.instance)
    }
}

impl Drop for Pool {
    /// The client is stopping: nobody wants what has not begun.
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.waiting.clear();
        queue.is_closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's work: one run after the other. The first that has nothing to do waits for the next tick, any other ends.
fn serve(clock: Clock, shared: &Shared) {
    let mut queue = shared.queue();
    loop {
        let mut has_run = false;
        while let Some(job) = queue.waiting.pop_front() {
            (queue.is_called, queue.last_begin) = (false, clock.now());
            drop(queue);
            let finished = run(job);
            queue = shared.queue();
            queue.finished.push(finished);
            has_run = true;
        }
        if has_run {
            // Whoever wakes up takes the lock at once.
            drop(queue);
            shared.ended.notify_one();
            queue = shared.queue();
            continue;
        }
        if queue.is_closed || queue.idle > 0 {
            queue.threads -= 1;
            return;
        }
        (queue.is_called, queue.idle) = (false, queue.idle + 1);
        queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        queue.idle -= 1;
    }
}

fn run(job: Job) -> Finished {
    let Job { service, run, mut instance } = job;
    let began = std::time::Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| instance.samples.collect(&mut *instance.plugin).map(|_| ())));
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

#[cfg(test)]
mod tests {
    use hostwatch_plugins::CollectError;

    use super::*;

    struct Nothing;

    impl Plugin for Nothing {
        fn collect(&mut self, _: &mut Samples) -> Result<(), CollectError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_thread_that_does_not_come_is_not_waited_for() {
        let clock = Clock::start();
        let pool = Pool::new(clock);
        // As if something held the thread that waits.
        {
            let mut queue = pool.shared.queue();
            (queue.threads, queue.idle) = (1, 1);
        }
        let mut finished = Vec::new();
        for run in 1..=3 {
            let instance = Instance { plugin: Box::new(Nothing), samples: Samples::new() };
            pool.submit(vec![Job { service: "one".parse().unwrap(), run, instance: Box::new(instance) }]);
            assert_eq!(pool.shared.queue().threads, 1, "the idle one is called first");
            tokio::time::sleep_until(clock.instant(pool.next().unwrap())).await;
            pool.relieve();
            pool.ended().await;
            pool.take_finished(&mut finished);
            assert_eq!(finished.pop().map(|finished| finished.run), Some(run));
            // The thread that helped out ends by itself.
            while pool.shared.queue().threads > 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}
