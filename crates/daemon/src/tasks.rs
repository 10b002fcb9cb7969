//! The tasks of a daemon: each has an owner that notices when it ends and awaits it when the daemon stops.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};

use crate::Shutdown;

/// Essential tasks: one that ends before shutdown was asked for is a reason for the daemon to end. Dropping this aborts them all.
pub struct Tasks {
    shutdown: Shutdown,
    /// In the order of spawning.
    running: Vec<Task>,
}

struct Task {
    name: String,
    handle: JoinHandle<anyhow::Result<()>>,
}

impl Tasks {
    /// No tasks yet. They have to end when `shutdown` is cancelled.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, running: Vec::new() }
    }

    /// Spawns a task; `name` is how the log calls it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "this is the owner that the ban asks for")]
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        future: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.running.push(Task { name: name.into(), handle: tokio::task::spawn(future) });
    }

    /// Waits until a task fails or panics, or ends although shutdown was not asked for, and says which and why. It may be
    /// dropped and called again; while no task runs it waits for ever.
    pub async fn first_end(&mut self) -> anyhow::Error {
        loop {
            let (task, end) = self.next_end().await;
            match task.outcome(end) {
                Ok(()) if self.shutdown.is_cancelled() => {}
                Ok(()) => return anyhow!("the task {} ended, which it should not do on its own", task.name),
                Err(error) => return error,
            }
        }
    }

    /// Asks for shutdown and awaits the tasks, the youngest first, for `limit` in all; those that are still running then are
    /// aborted.
    ///
    /// # Errors
    /// Names every task that failed, panicked or overran, with the reason.
    pub async fn drain(mut self, limit: Duration) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let deadline = Instant::now() + limit;
        let mut failures = Vec::new();
        while let Some(mut task) = self.running.pop() {
            let outcome = match timeout_at(deadline, &mut task.handle).await {
                Ok(end) => task.outcome(end),
                Err(_) => {
                    task.handle.abort();
                    Err(anyhow!("the task {} was still running {limit:?} after it was asked to stop", task.name))
                }
            };
            failures.extend(outcome.err().map(|error| format!("{error:#}")));
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(anyhow!(failures.join("; ")))
    }

    async fn next_end(&mut self) -> (Task, Result<anyhow::Result<()>, JoinError>) {
        poll_fn(|context| {
            for index in 0..self.running.len() {
                if let Poll::Ready(end) = Pin::new(&mut self.running[index].handle).poll(context) {
                    return Poll::Ready((self.running.remove(index), end));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.running.iter().for_each(|task| task.handle.abort());
    }
}

impl Task {
    /// How the task ended, with its name.
    fn outcome(&self, end: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
        match end {
            Ok(result) => result.with_context(|| format!("the task {} failed", self.name)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(anyhow!("the task {} panicked: {}", self.name, message(&*panic))),
                Err(error) => Err(anyhow!("the task {} was lost: {error}", self.name)),
            },
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tasks() -> (Tasks, Shutdown) {
        let shutdown = Shutdown::new();
        (Tasks::new(shutdown.clone()), shutdown)
    }

    /// A task that obeys `shutdown`, after `delay`.
    async fn obedient(shutdown: Shutdown, delay: Duration) -> anyhow::Result<()> {
        shutdown.cancelled().await;
        sleep(delay).await;
        Ok(())
    }

    async fn end_of(future: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> String {
        let (mut tasks, shutdown) = tasks();
        tasks.spawn("first", obedient(shutdown.clone(), Duration::ZERO));
        tasks.spawn("odd", future);
        tasks.spawn("last", obedient(shutdown, Duration::ZERO));
        let error = tasks.first_end().await;
        tasks.drain(SECOND).await.unwrap();
        format!("{error:#}")
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_is_named_with_the_reason() {
        assert_eq!(end_of(async { Ok(()) }).await, "the task odd ended, which it should not do on its own");
        let failing = async { Err(anyhow!("disk full").context("cannot write")) };
        assert_eq!(end_of(failing).await, "the task odd failed: cannot write: disk full");
        assert_eq!(end_of(async { panic!("no {}", "luck") }).await, "the task odd panicked: no luck");
        assert_eq!(end_of(async { panic!("plain") }).await, "the task odd panicked: plain");
        assert_eq!(end_of(async { std::panic::panic_any(1) }).await, "the task odd panicked: without a message");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_after_shutdown_is_no_end_but_a_failure_is() {
        let (mut tasks, shutdown) = tasks();
        assert!(timeout(SECOND, tasks.first_end()).await.is_err(), "without tasks there is no end");
        tasks.spawn("good", obedient(shutdown.clone(), Duration::ZERO));
        assert!(timeout(SECOND, tasks.first_end()).await.is_err());
        shutdown.cancel();
        assert!(timeout(SECOND, tasks.first_end()).await.is_err());
        tasks.spawn("bad", async { Err(anyhow!("broken")) });
        assert_eq!(format!("{:#}", tasks.first_end().await), "the task bad failed: broken");
    }

    #[tokio::test(start_paused = true)]
    async fn drain_ends_as_soon_as_all_tasks_did() {
        let (mut tasks, shutdown) = tasks();
        for seconds in [1, 3, 2] {
            tasks.spawn(format!("task {seconds}"), obedient(shutdown.clone(), seconds * SECOND));
        }
        let start = Instant::now();
        tasks.drain(10 * SECOND).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 3);
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn drain_is_bounded_and_says_what_went_wrong_the_youngest_first() {
        struct OnDrop(&'static str, Arc<Mutex<Vec<&'static str>>>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.1.lock().unwrap().push(self.0);
            }
        }

        let (mut tasks, shutdown) = tasks();
        let gone = Arc::new(Mutex::new(Vec::new()));
        for name in ["stuck", "also stuck"] {
            let guard = OnDrop(name, gone.clone());
            tasks.spawn(name, async {
                let _guard = guard;
                pending().await
            });
        }
        tasks.spawn("good", obedient(shutdown.clone(), SECOND));
        tasks.spawn("bad", async move {
            shutdown.cancelled().await;
            Err(anyhow!("disk full"))
        });
        let start = Instant::now();
        let error = tasks.drain(5 * SECOND).await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 5);
        assert_eq!(
            error.to_string(),
            "the task bad failed: disk full; \
             the task also stuck was still running 5s after it was asked to stop; \
             the task stuck was still running 5s after it was asked to stop"
        );
        sleep(SECOND).await;
        assert_eq!(gone.lock().unwrap().len(), 2, "what overran is aborted");
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_without_an_owner_are_aborted() {
        let (mut tasks, _shutdown) = tasks();
        let alive = Arc::new(());
        let held = alive.clone();
        tasks.spawn("orphan", async {
            let _held = held;
            pending().await
        });
        tokio::task::yield_now().await;
        drop(tasks);
        sleep(SECOND).await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
