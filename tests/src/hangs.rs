//! A hang is caught: single threads of the packaged daemons are held from outside, and systemd starts the daemon again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hostwatch_testkit::eventually_every;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::machine::Machine;

/// `WatchdogSec=` of the units.
const WATCHDOG: Duration = Duration::from_secs(30);

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

/// What a unit's main loops do for others while a thread is held: it has to be all of it, or the unit has to be restarted.
fn is_well(machine: &Machine, unit: &str) -> Result<()> {
    machine.run("curl --silent --fail --max-time 5 http://127.0.0.1:10120/-/ready")?;
    machine.run("hostwatch-client health")?;
    // Of this life of it alone: an earlier one may have ended for just that.
    let life = format!("_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value {unit})");
    let log = machine.run(&format!("journalctl --output cat --priority warning {life}"))?;
    ensure!(!log.contains("made no progress"), "{log}");
    Ok(())
}

/// Holds the threads that `choose` picks, and waits until systemd has started the unit again.
fn is_restarted(unit: &str, choose: impl Fn(&[u32]) -> Vec<u32>) -> Result<()> {
    let machine = Machine::with_packages()?;
    let mut held = Held::hold(&choose(&threads(&machine, unit)?))?;
    let start = Instant::now();
    let killed = eventually_every(Duration::from_millis(500), "the watchdog bites", WATCHDOG + RESTART, || {
        held.reap()?;
        ensure!(machine.show(unit, "NRestarts")? == "1", "not restarted");
        Ok(start.elapsed())
    });
    killed.map_err(|error| {
        anyhow!("{error:#}\n{}", machine.run("journalctl --no-pager --lines=60").unwrap_or_default())
    })?;
    let log = machine.run(&format!("journalctl --output cat --unit {unit}"))?;
    // Either systemd has missed the sign of life, or the daemon itself has missed one of its loops.
    ensure!(log.contains("Watchdog timeout (limit 30s)!") || log.contains("Watchdog request"), "{log}");
    machine.wait_until_up()
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
    let machine = Machine::with_packages()?;
    let unit = "hostwatch-server";
    for worker in 1..threads(&machine, unit)?.len() {
        let restarts = machine.show(unit, "NRestarts")?;
        // Threads that had a single errand end by themselves.
        let Some(thread) = threads(&machine, unit)?.get(worker).copied() else { break };
        let mut held = Held::hold(&[thread])?;
        let start = Instant::now();
        eventually_every(
            Duration::from_secs(1),
            "it is restarted, or has shown that it is well",
            WATCHDOG + RESTART,
            || {
                held.reap()?;
                if machine.show(unit, "NRestarts")? != restarts {
                    return Ok(());
                }
                // Whatever the worker could have kept from running would have been missed by now.
                ensure!(start.elapsed() > WATCHDOG + Duration::from_secs(5), "not restarted yet");
                is_well(&machine, unit)
            },
        )
        .with_context(|| format!("worker {worker}\n{}", machine.run("journalctl --lines=60").unwrap_or_default()))?;
        drop(held);
        machine.wait_until_up()?;
    }
    Ok(())
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
