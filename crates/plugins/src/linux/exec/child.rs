//! A child process with a deadline: in a group of its own, which ends with it.

use std::fmt::Display;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// The most that is kept of what a child prints; the rest is read and dropped.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
const CHUNK_BYTES: usize = 4 << 10;

/// How a child ended and what it printed.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs `command`, a program and its arguments, without any of this process's environment. Whatever of its group still
/// lives when it ends, or at the end of `timeout`, is killed.
pub(super) fn run(command: &[String], timeout: Duration) -> Result<Ended, String> {
    let (program, arguments) = command.split_first().ok_or("there is no program to run")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
    let mut group = Group(child);
    let [stdout, stderr] = group.watch(Instant::now() + timeout, timeout)?;
    Ok(Ended { status: group.end()?, stdout, stderr })
}

/// A child that leads its process group; both are gone when this is.
struct Group(Child);

impl Group {
    /// Reads what the child prints until it ends.
    fn watch(&mut self, deadline: Instant, timeout: Duration) -> Result<[String; 2], String> {
        let pid = Pid::from_child(&self.0);
        let end = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| cannot("watch it", errno))?;
        let mut stdout = Pipe::new(self.0.stdout.take());
        let mut stderr = Pipe::new(self.0.stderr.take());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let has_ended = wait(&end, &mut [&mut stdout, &mut stderr], left)?;
            // What it printed before it ended is in the pipes by now.
            if has_ended && !stdout.is_ready && !stderr.is_ready {
                return Ok([stdout.text(), stderr.text()]);
            }
            if Instant::now() >= deadline {
                return Err(format!("did not end within {timeout:?} and was killed"));
            }
            stdout.read()?;
            stderr.read()?;
        }
    }

    /// Kills what is left of the group and takes the child's status. Until then its number cannot be another's.
    fn end(mut self) -> Result<ExitStatus, String> {
        self.kill();
        self.0.wait().map_err(|error| cannot("learn how it ended", error))
    }

    fn kill(&self) {
        // Nobody is left of a group that cannot be killed.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After `end` both have happened: the standard library remembers the status, and forgets the number.
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            self.kill();
            let _ = self.0.wait();
        }
    }
}

/// One end of a pipe, and what came out of it.
struct Pipe<R> {
    source: Option<R>,
    is_ready: bool,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(source: Option<R>) -> Self {
        Self { source, is_ready: false, kept: Vec::new() }
    }

    /// Reads once if there is anything to read, so that it never waits.
    fn read(&mut self) -> Result<(), String> {
        let (Some(source), true) = (&mut self.source, self.is_ready) else { return Ok(()) };
        let mut chunk = [0; CHUNK_BYTES];
        let length = source.read(&mut chunk).map_err(|error| cannot("read what it prints", error))?;
        let room = MAX_OUTPUT_BYTES.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&chunk[..length.min(room)]);
        if length == 0 {
            self.source = None;
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

/// What can be waited for.
trait Source {
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    fn set_ready(&mut self, is_ready: bool);
}

impl<R: AsFd> Source for Pipe<R> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    fn set_ready(&mut self, is_ready: bool) {
        self.is_ready = is_ready;
    }
}

/// Waits until the child has ended, a pipe can be read, or time is up. Says whether the child has ended.
fn wait(end: &impl AsFd, pipes: &mut [&mut dyn Source], left: Duration) -> Result<bool, String> {
    let mut fds = vec![PollFd::new(end, PollFlags::IN)];
    let open: Vec<usize> = (0..pipes.len()).filter(|index| pipes[*index].fd().is_some()).collect();
    fds.extend(pipes.iter().filter_map(|pipe| pipe.fd()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let timeout =
        Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => return Err(cannot("wait for it", errno)),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
    let has_ended = ready.next().unwrap_or_default();
    drop(fds);
    pipes.iter_mut().for_each(|pipe| pipe.set_ready(false));
    for (index, is_ready) in open.into_iter().zip(ready) {
        pipes[index].set_ready(is_ready);
    }
    Ok(has_ended)
}

fn cannot(what: &str, error: impl Display) -> String {
    format!("cannot {what}: {error}")
}
