//! The timer of the main loop: one of the kernel's own, timerfd_create(2). tokio's timers are kept in a wheel, for whose sake
//! a thread wakes up several times on the way to one that is due in more than a moment; a machine that idles pays for each.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

use crate::clock::{Clock, Moment};

/// Comes at a moment.
pub(crate) struct Alarm {
    clock: Clock,
    timer: AsyncFd<OwnedFd>,
    set_to: Option<Moment>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// The process has as many open files as it may have.
    pub(crate) fn new(clock: Clock) -> io::Result<Self> {
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(deprecated, reason = "the other one is unsafe, for the sake of types that lie about their descriptor")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { clock, timer, set_to: None })
    }

    /// Comes at `moment`, or at once if it has passed. Whatever it was set to before is forgotten.
    pub(crate) async fn at(&mut self, moment: Moment) -> io::Result<()> {
        if self.set_to != Some(moment) {
            self.set(moment)?;
        }
        loop {
            let mut ready = self.timer.readable().await?;
            let read = |timer: &AsyncFd<OwnedFd>| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?);
            if let Ok(read) = ready.try_io(read) {
                // There is nothing more to read before it is set again.
                ready.clear_ready();
                self.set_to = None;
                return read.map(|_| ());
            }
        }
    }

    fn set(&mut self, moment: Moment) -> io::Result<()> {
        let wait = moment.since(self.clock.now());
        // A wait of nothing would mean never.
        let it_value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().max(1).into(),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = self.timer.get_ref();
        rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        self.set_to = Some(moment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_comes_at_its_moment_and_only_then() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock).unwrap();
        let first = clock.now();
        // One that passed, one that was given up for an earlier one, and one after the other.
        alarm.at(first).await.unwrap();
        let later = alarm.at(first + Duration::from_secs(3_600));
        assert!(tokio::time::timeout(Duration::from_millis(1), later).await.is_err());
        for wait in [20, 0, 20] {
            let moment = clock.now() + Duration::from_millis(wait);
            alarm.at(moment).await.unwrap();
            assert!(clock.now() >= moment);
        }
        // One that has come while nobody waited for it is not taken for the next.
        let soon = clock.now() + Duration::from_millis(5);
        tokio::select! {
            biased;
            _ = alarm.at(soon) => {}
            () = tokio::task::yield_now() => {}
        }
        while clock.now() < soon + Duration::from_millis(5) {
            std::thread::yield_now();
        }
        let moment = clock.now() + Duration::from_millis(20);
        alarm.at(moment).await.unwrap();
        assert!(clock.now() >= moment);
    }
}
