//! Asks mounts for their figures on threads of its own, because a mount whose server is gone never answers. Those that keep
//! nobody waiting are asked on the thread of the plugin, which takes a tenth of the time.
//!
//! One thread asks all mounts in turn. Only when one of them holds up the others another thread goes on, and a mount
//! that has not answered is not asked again before it has: it costs one thread and its own figures.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;
use rustix::io::Errno;

use crate::CollectError;

/// The most threads, those that hang included. Mounts beyond so many that hang are not asked.
const MAX_THREADS: usize = 32;
/// So long may one mount hold up the others before they get a thread more.
const PATIENCE: Duration = Duration::from_millis(20);

/// The threads and the mounts that wait for one.
pub(super) struct Prober {
    shared: Arc<Shared>,
    /// Whom this round asks, in the order of the queue.
    asked: Vec<Arc<Probe>>,
}

/// Written by the plugin's thread and by the prober's.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Probe>>,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

/// One mount that can be asked.
pub(super) struct Probe {
    id: u64,
    path: PathBuf,
    state: Mutex<State>,
    answered: Condvar,
}

enum State {
    Idle,
    /// It waits for a thread, or for the mount.
    Asked,
    Answered(Result<Figures, Errno>),
}

/// What statvfs(3) says, in bytes and inodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) size: f64,
    pub(super) free: f64,
    pub(super) avail: f64,
    pub(super) files: f64,
    pub(super) files_free: f64,
}

/// What a mount says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// Its figures.
    Figures(Figures),
    /// What the system says instead.
    Failed(Errno),
    /// Nothing in time.
    Outstanding,
}

impl Prober {
    /// Starts no thread yet.
    pub(super) fn new() -> Self {
        Self { shared: Arc::default(), asked: Vec::new() }
    }

    /// Asks all `probes` but those that still owe an answer, and waits until they have answered, at most to `deadline`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn ask<'a>(
        &mut self,
        probes: impl Iterator<Item = &'a Arc<Probe>>,
        deadline: Instant,
    ) -> Result<(), CollectError> {
        self.asked.clear();
        self.asked.extend(probes.filter(|probe| probe.begin()).map(Arc::clone));
        lock(&self.shared.queue).waiting.extend(self.asked.iter().map(Arc::clone));
        let answered = self.wait(deadline);
        // What no thread has begun is taken back.
        lock(&self.shared.queue).waiting.drain(..).for_each(|probe| *lock(&probe.state) = State::Idle);
        answered
    }

    fn wait(&self, deadline: Instant) -> Result<(), CollectError> {
        self.relieve()?;
        // Usually the last one answers last, and this thread wakes up once.
        for probe in self.asked.iter().rev() {
            while !probe.has_answered_within(PATIENCE.min(deadline.saturating_duration_since(Instant::now()))) {
                if Instant::now() >= deadline {
                    return Ok(());
                }
                self.relieve()?;
            }
        }
        Ok(())
    }

    /// Sees to it that one thread more serves the queue, if anything waits there.
    fn relieve(&self) -> Result<(), CollectError> {
        let mut queue = lock(&self.shared.queue);
        if queue.waiting.is_empty() {
            return Ok(());
        }
        if queue.idle > 0 {
            self.shared.work.notify_one();
        } else if queue.threads < MAX_THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("statvfs".to_owned());
            thread.spawn(move || serve(&shared)).map_err(CollectError::Thread)?;
            queue.threads += 1;
        }
        Ok(())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        lock(&self.shared.queue).is_closed = true;
        self.shared.work.notify_all();
    }
}

/// A thread's work: one mount after the other. The first that has nothing to do waits for the next round, any other ends.
fn serve(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(probe) = queue.waiting.pop_front() {
            drop(queue);
            let answer = probe.statvfs();
            // Whoever sees the answer finds this thread free, or at work again.
            queue = lock(&shared.queue);
            probe.answer_with(answer);
        } else if queue.is_closed || queue.idle > 0 {
            queue.threads -= 1;
            return;
        } else {
            queue.idle += 1;
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

impl Probe {
    /// Of a mount by the kernel's number for it, and the path at which it is seen.
    pub(super) fn new((id, path): (u64, PathBuf)) -> Self {
        Self { id, path, state: Mutex::new(State::Idle), answered: Condvar::new() }
    }

    /// What tells this mount from every other.
    pub(super) fn key(&self) -> (u64, PathBuf) {
        (self.id, self.path.clone())
    }

    /// What it answered last.
    pub(super) fn answer(&self) -> Answer {
        match *lock(&self.state) {
            State::Answered(Ok(figures)) => Answer::Figures(figures),
            State::Answered(Err(errno)) => Answer::Failed(errno),
            State::Idle | State::Asked => Answer::Outstanding,
        }
    }

    /// Marks it as asked, unless it still owes an answer.
    fn begin(&self) -> bool {
        let mut state = lock(&self.state);
        let free = !matches!(*state, State::Asked);
        *state = State::Asked;
        free
    }

    /// Has it answer on this thread, unless it still owes an answer.
    pub(super) fn answer_at_once(&self) {
        if self.begin() {
            // Nobody waits for it.
            *lock(&self.state) = State::Answered(self.statvfs());
        }
    }

    fn statvfs(&self) -> Result<Figures, Errno> {
        statvfs(&self.path).map(|stat| {
            let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
            Figures {
                size: bytes(stat.f_blocks),
                free: bytes(stat.f_bfree),
                avail: bytes(stat.f_bavail),
                files: stat.f_files as f64,
                files_free: stat.f_ffree as f64,
            }
        })
    }

    fn answer_with(&self, answer: Result<Figures, Errno>) {
        *lock(&self.state) = State::Answered(answer);
        self.answered.notify_all();
    }

    fn has_answered_within(&self, patience: Duration) -> bool {
        let waits = |state: &mut State| !matches!(state, State::Answered(_));
        let waited = self.answered.wait_timeout_while(lock(&self.state), patience, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn probe(path: &str) -> Arc<Probe> {
        Arc::new(Probe::new((1, path.into())))
    }

    #[test]
    fn every_mount_answers_for_itself_round_after_round() {
        let probes = [probe("/"), probe("/no such mount"), probe("/proc")];
        let mut prober = Prober::new();
        for _ in 0..100 {
            prober.ask(probes.iter(), Instant::now() + LONG).unwrap();
            assert!(matches!(probes[0].answer(), Answer::Figures(figures) if figures.size > 0.0));
            assert!(matches!(probes[1].answer(), Answer::Failed(Errno::NOENT)));
            assert!(matches!(probes[2].answer(), Answer::Figures(_)));
            // A busy machine may make the first thread look hung; the others end when there is nothing to do.
            assert!(lock(&prober.shared.queue).threads < 8, "threads pile up");
        }
    }

    #[test]
    fn who_owes_an_answer_is_neither_asked_nor_waited_for() {
        let (hung, sound) = (probe("/"), probe("/"));
        assert!(hung.begin());
        let mut prober = Prober::new();
        prober.ask([&hung, &sound].into_iter(), Instant::now() + LONG).unwrap();
        assert!(matches!(hung.answer(), Answer::Outstanding));
        assert!(matches!(sound.answer(), Answer::Figures(_)));
    }

    #[test]
    fn what_no_thread_took_in_time_is_asked_again() {
        let probe = probe("/");
        let mut prober = Prober::new();
        lock(&prober.shared.queue).threads = MAX_THREADS;
        prober.ask([&probe].into_iter(), Instant::now()).unwrap();
        assert!(matches!(probe.answer(), Answer::Outstanding));
        lock(&prober.shared.queue).threads = 0;
        prober.ask([&probe].into_iter(), Instant::now() + LONG).unwrap();
        assert!(matches!(probe.answer(), Answer::Figures(_)));
    }

    #[test]
    fn the_threads_end_with_the_prober() {
        let probe = probe("/");
        let mut prober = Prober::new();
        prober.ask([&probe].into_iter(), Instant::now() + LONG).unwrap();
        let shared = Arc::downgrade(&prober.shared);
        drop(prober);
        let deadline = Instant::now() + LONG;
        while shared.strong_count() > 0 {
            assert!(Instant::now() < deadline, "a thread holds on");
            std::thread::yield_now();
        }
    }
}
