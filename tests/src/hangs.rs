//! A hang is caught: single threads of the packaged daemons are held from outside, and systemd starts the daemon again.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hostwatch_testkit::eventually_every;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::machine::{HOST, Machine};

/// `WatchdogSec=` of the units.
const WATCHDOG: Duration = Duration::from_secs(30);

/// How much later than that a busy machine may get to it.
const LATE: Duration = Duration::from_secs(10);

/// `TimeoutAbortSec=` of the units, `RestartSec=`, and what a busy machine needs to find the time.
const RESTART: Duration = Duration::from_secs(10 + 5 + 30);

/// Threads that are held in the kernel, each as if it hung, while all others run on.
struct Held {
    threads: Vec<Pid>,
}

impl Held {
    /// Holds threads by their ids on this machine. To be used by the thread that calls it, and by no other: to the kernel,
    /// it is the one that holds them.
    fn hold(threads: &[u32]) -> Result<Self> {
        let mut held = Self { threads: Vec::new() };
        for thread in threads {
            let thread = Pid::from_raw(i32::try_from(*thread)?);
            ptrace::seize(thread, ptrace::Options::empty()).with_context(|| format!("seize {thread}"))?;
            held.threads.push(thread);
            ptrace::interrupt(thread)?;
            let stopped = waitpid(thread, Some(WaitPidFlag::__WALL))?;
            ensure!(matches!(stopped, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)), "{stopped:?}");
        }
        Ok(held)
    }

    /// Takes note of threads that were killed: until then the kernel keeps what is left of them for us.
    fn reap(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        for thread in &self.threads {
            match waitpid(*thread, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD | Errno::ESRCH) => {
                    gone.push(*thread);
                }
                Ok(_) => {}
                Err(error) => bail!("wait for {thread}: {error}"),
            }
        }
        self.threads.retain(|thread| !gone.contains(thread));
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended cannot be let go.
        for thread in &self.threads {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

/// The threads of a unit's main process by their ids on this machine, the first one first.
fn threads(machine: &Machine, unit: &str) -> Result<Vec<u32>> {
    let pid: u32 = machine.0.host_pid(machine.show(unit, "MainPID")?.parse()?)?;
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        threads.push(entry?.file_name().to_string_lossy().parse()?);
    }
    // The kernel begins anew at small ids now and then, so the first thread need not have the smallest one.
    threads.sort_unstable_by_key(|thread| (*thread != pid, *thread));
    Ok(threads)
}

/// What both daemons do for others while a thread of one is held: it has to be all of it, or the unit has to be restarted.
/// What was measured has to be newer than `since`, in seconds since 1970.
fn is_well(machine: &Machine, unit: &str, since: f64) -> Result<()> {
    machine.run("curl --silent --fail --max-time 5 http://127.0.0.1:10120/-/ready")?;
    let page = format!("curl --silent --fail --max-time 5 http://127.0.0.1:10120/metrics/host/{HOST}");
    let measured: f64 = machine.run(&format!("{page} | sed -n 's/^node_time_seconds{{}} //p'"))?.parse()?;
    ensure!(measured > since, "the last measurement is {} s too old", since - measured);
    // Of this life of it alone: an earlier one may have ended for just that.
    let life = format!("_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value {unit})");
    let log = machine.run(&format!("journalctl --output cat --priority warning {life}"))?;
    ensure!(!log.contains("made no progress"), "{log}");
    Ok(())
}

/// Seconds since 1970, on this machine and in its containers.
fn now() -> Result<f64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64())
}

/// Holds the threads that `choose` picks, and waits until systemd has started the unit again.
fn is_restarted(unit: &str, choose: impl Fn(&[u32]) -> Vec<u32>) -> Result<()> {
    let machine = Machine::with_packages()?;
    let mut held = Held::hold(&choose(&threads(&machine, unit)?))?;
    let start = now()?;
    let killed = eventually_every(Duration::from_millis(500), "the watchdog bites", WATCHDOG + RESTART, || {
        held.reap()?;
        ensure!(machine.show(unit, "NRestarts")? == "1", "not restarted");
        Ok(())
    });
    killed.map_err(|error| {
        anyhow!("{error:#}\n{}", machine.run("journalctl --no-pager --lines=60").unwrap_or_default())
    })?;
    // Either systemd has missed the sign of life, or the daemon itself has missed one of its loops.
    let bites = format!("journalctl --output short-unix --unit {unit} | grep -E 'Watchdog timeout|Watchdog request'");
    let bite = machine.run(&bites)?;
    let bitten: f64 = bite.split(' ').next().context("a time")?.parse()?;
    let took = bitten - start;
    ensure!(took <= (WATCHDOG + LATE).as_secs_f64(), "the watchdog took {took} s: {bite}");
    machine.wait_until_up()
}

/// Holds one thread after the other but the first; each time the unit goes on with its work, or systemd starts it again.
fn works_or_is_restarted(unit: &str) -> Result<()> {
    let machine = Machine::with_packages()?;
    let count = threads(&machine, unit)?.len();
    ensure!(count > 1, "it has one thread only");
    for index in 1..count {
        let restarts = machine.show(unit, "NRestarts")?;
        // Threads that had a single errand end by themselves.
        let Some(thread) = threads(&machine, unit)?.get(index).copied() else { break };
        let mut held = Held::hold(&[thread])?;
        // Whatever the thread could have kept from running would have been missed by then.
        let missed = now()? + WATCHDOG.as_secs_f64() + 5.0;
        eventually_every(
            Duration::from_secs(1),
            "it is restarted, or has shown that it is well",
            WATCHDOG + RESTART,
            || {
                held.reap()?;
                if machine.show(unit, "NRestarts")? != restarts {
                    return Ok(());
                }
                is_well(&machine, unit, missed)
            },
        )
        .with_context(|| format!("thread {index}\n{}", machine.run("journalctl --lines=60").unwrap_or_default()))?;
        drop(held);
        machine.wait_until_up()?;
    }
    Ok(())
}

#[test]
fn systemd_restarts_a_client_whose_main_loop_hangs() -> Result<()> {
    is_restarted("hostwatch-client", |threads| vec![threads[0]])
}

#[test]
fn systemd_restarts_a_server_whose_loop_of_signals_hangs() -> Result<()> {
    is_restarted("hostwatch-server", |threads| vec![threads[0]])
}

#[test]
fn systemd_restarts_a_server_whose_workers_hang() -> Result<()> {
    is_restarted("hostwatch-server", |threads| threads[1..].to_vec())
}

#[test]
fn a_server_with_one_worker_that_hangs_works_or_systemd_restarts_it() -> Result<()> {
    works_or_is_restarted("hostwatch-server")
}

#[test]
fn a_client_with_one_thread_that_hangs_measures_or_systemd_restarts_it() -> Result<()> {
    works_or_is_restarted("hostwatch-client")
}

#[test]
fn systemd_restarts_nothing_while_redis_is_away() -> Result<()> {
    let machine = Machine::with_packages()?;
    // Stricter than what is shipped, so that it takes less time.
    for unit in ["hostwatch-server", "hostwatch-client"] {
        machine
            .0
            .write(&format!("/etc/systemd/system/{unit}.service.d/watchdog.conf"), "[Service]\nWatchdogSec=6s\n")?;
    }
    machine.run("systemctl daemon-reload && systemctl restart hostwatch-server hostwatch-client")?;
    machine.wait_until_up()?;
    let fed = |unit: &str| -> Result<u64> { Ok(machine.show(unit, "WatchdogTimestampMonotonic")?.parse()?) };
    // First nobody answers, then nobody is there.
    for away in [
        "systemctl kill --signal STOP redis-server",
        "systemctl kill --signal KILL redis-server; systemctl stop redis-server",
    ] {
        machine.run(away)?;
        for unit in ["hostwatch-server", "hostwatch-client"] {
            let before = fed(unit)?;
            machine.until("the watchdog was fed for longer than its patience", || {
                let passed = fed(unit)? - before;
                ensure!(passed > 12_000_000, "{passed} us");
                Ok(())
            })?;
            let status = machine.show(unit, "StatusText")?;
            ensure!(status.contains("waiting for Redis"), "{status}");
            ensure!(machine.show(unit, "NRestarts")? == "0", "{unit} was restarted");
        }
    }
    machine.run("systemctl start redis-server")?;
    machine.wait_until_up()
}
