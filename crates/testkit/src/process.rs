//! A child process under guard: a group of its own, its output in a log file, gone when the guard is gone.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, kill_process, kill_process_group};

pub use rustix::process::Signal;

use crate::{eventually, require};

/// How much of a log is shown when something went wrong.
const TAIL_LINES: usize = 100;

/// How long the kernel may take to end a process that was killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A child process. It is killed, with its group, when this is dropped.
pub struct Process {
    name: String,
    /// Kept for [`Process::start_again`].
    command: Command,
    child: Child,
    /// Set once the child has been reaped: its process id may belong to somebody else from then on.
    exit: Option<ExitStatus>,
    log: PathBuf,
    /// Where in the log file the output of this run begins.
    log_begin: u64,
}

impl Process {
    /// Starts a command with its standard output and error appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("{name}: log {}", log.display()))?;
        let log_begin = output.metadata()?.len();
        let mut command = tied_to_this_process(command)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let (command, child) = spawn(command);
        let child = child.with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), command, child, exit: None, log: log.to_owned(), log_begin })
    }

    /// Starts the same command again; its output goes behind the earlier one in the same log.
    ///
    /// # Errors
    /// When it still runs, or cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            bail!("{} still runs", self.name);
        }
        self.log_begin = self.log.metadata()?.len();
        let (command, child) = spawn(std::mem::replace(&mut self.command, Command::new("")));
        self.command = command;
        self.child = child.with_context(|| format!("start {} again", self.name))?;
        self.exit = None;
        Ok(())
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also that of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(self.exit)
    }

    /// Sends a signal to the process alone, not to its group.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(exit) = self.exit {
            bail!("{} has ended: {exit}", self.name);
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `deadline`, with the end of its log.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let exit = eventually(&what, deadline, || self.exited()?.ok_or_else(|| anyhow!("it still runs")));
        exit.map_err(|error| self.with_log(error))
    }

    /// Sends SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// As [`Process::wait_exit`].
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_exit(deadline)
    }

    /// Sends SIGKILL to its group and reaps it; nothing happens if it has ended before.
    ///
    /// # Errors
    /// When it still is there after 10 s.
    pub fn kill(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL)
                .with_context(|| format!("kill {}", self.name))?;
            self.wait_exit(KILL_DEADLINE)?;
        }
        Ok(())
    }

    /// Polls until `poll` succeeds, as [`eventually`] does, and gives up at once when the process has ended.
    ///
    /// # Errors
    /// When the deadline has passed or the process has ended, with the end of its log.
    pub fn eventually<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut poll: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let outcome = eventually(what, deadline, || match self.exited()? {
            Some(exit) => Ok(Err(anyhow!("{what}: {} has ended: {exit}", self.name))),
            None => poll(self).map(Ok),
        });
        outcome.and_then(|value| value).map_err(|error| self.with_log(error))
    }

    /// Everything that this run has written so far.
    pub fn log(&self) -> String {
        self.log_from(self.log_begin as usize)
    }

    /// Everything that this run and those before it have written.
    pub fn history(&self) -> String {
        self.log_from(0)
    }

    fn log_from(&self, begin: usize) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned()
    }

    /// The last 100 lines that this run has written.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// CPU time that all its threads have used, user and system, to the nanosecond.
    ///
    /// # Errors
    /// When it has ended and was reaped.
    pub fn cpu_time(&self) -> Result<Duration> {
        let pid = nix::unistd::Pid::from_raw(self.pid().try_into()?);
        let time = nix::time::clock_getcpuclockid(pid).and_then(nix::time::ClockId::now);
        Ok(time.with_context(|| format!("the CPU time of {}", self.name))?.into())
    }

    /// Resident memory in bytes. Source: /proc/PID/stat.
    ///
    /// # Errors
    /// When it has ended and was reaped.
    pub fn resident_bytes(&self) -> Result<u64> {
        let fields = self.stat_after_name()?;
        // proc(5): rss, in pages, is field 24.
        let pages: u64 = fields.get(24 - 3).context("a short line")?.parse()?;
        Ok(pages * rustix::param::page_size() as u64)
    }

    /// The most resident memory that this run ever had, in bytes. Source: VmHWM in /proc/PID/status.
    ///
    /// # Errors
    /// When it has ended and was reaped.
    pub fn peak_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(&path).with_context(|| format!("{} ({path})", self.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("{path}: no VmHWM"))?;
        Ok(kib.parse::<u64>()? << 10)
    }

    fn stat_after_name(&self) -> Result<Vec<String>> {
        let path = format!("/proc/{}/stat", self.pid());
        let line = std::fs::read_to_string(&path).with_context(|| format!("{} ({path})", self.name))?;
        // The name is in parentheses and may hold anything, even parentheses and blanks.
        let (_, fields) = line.rsplit_once(") ").with_context(|| format!("{path}: no name"))?;
        Ok(fields.split_whitespace().map(str::to_owned).collect())
    }

    fn with_log(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}\n{}", self.show_log())
    }

    /// The end of its log under a headline, for people.
    pub fn show_log(&self) -> String {
        format!("--- {} ({}) ---\n{}\n--- end of {} ---", self.name, self.log.display(), self.log_tail(), self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.show_log());
        }
        if let Err(error) = self.kill() {
            eprintln!("{error:#}");
        }
    }
}

/// The same command, told to end when this process ends, however that happens. `setpriv` (util-linux) asks the kernel
/// for that and then becomes the program, under the same process id; doing it here would need `unsafe`.
fn tied_to_this_process(command: &Command) -> Result<Command> {
    let program = command.get_program();
    require(&program.to_string_lossy())?;
    let mut tied = Command::new(require("setpriv")?);
    tied.args(["--pdeathsig", "KILL", "--"]).arg(program).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        tied.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    Ok(tied)
}

/// Spawns on a thread that lives as long as this process: to the kernel, the parent whose death counts is the thread.
fn spawn(command: Command) -> (Command, io::Result<Child>) {
    type Job = (Command, mpsc::Sender<(Command, io::Result<Child>)>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                let child = command.spawn();
                // Nobody waits any more only when the waiting thread has panicked.
                let _ = answer.send((command, child));
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    spawner.send((command, answer)).expect("the spawning thread lives as long as the process");
    child.recv().expect("the spawning thread answers every job")
}
