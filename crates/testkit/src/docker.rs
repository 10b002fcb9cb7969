//! A private Docker Engine, which stops with the tests that use it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{Process, Signal, eventually, require, root};

const DEADLINE: Duration = Duration::from_secs(60);

/// How long the engine may take to stop what runs in it.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// How long another run of the tests on this tree may hold the images.
const LOCK_DEADLINE: Duration = Duration::from_secs(3_600);

/// Marks the containers that are ours to remove.
pub const LABEL: &str = "hostwatch-test";

/// A running engine with a socket of its own. Its images stay in `target/docker` for the next run. With the last
/// reference its containers are removed and it is stopped; it also stops, with its containers, when this process is killed.
pub struct Docker {
    process: Process,
    pub(crate) directory: TempDir,
    /// Held while images are made: each is made once.
    pub(crate) making: Mutex<()>,
    /// Two engines must not share a data directory.
    _lock: File,
}

impl Docker {
    /// The engine of this process, started if it does not run.
    ///
    /// # Errors
    /// When Docker is not installed, this user is not root, or the engine does not come up.
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(docker) = shared.upgrade() {
            return Ok(docker);
        }
        let docker = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&docker);
        Ok(docker)
    }

    fn start() -> Result<Self> {
        require("docker")?;
        let kept = root()?.join("target/docker");
        std::fs::create_dir_all(&kept).with_context(|| kept.display().to_string())?;
        let lock = File::create(kept.join("lock"))?;
        eventually("the images of this tree are free", LOCK_DEADLINE, || match lock.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => bail!("another run of the tests uses them"),
            Err(TryLockError::Error(error)) => Err(error.into()),
        })?;
        let directory = tempfile::Builder::new().prefix("docker.").tempdir()?;
        // The engine stops its containers when it is asked to, and leaves them behind when it is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]);
        // Containers that see the host's mounts as they come and go need a / that is shared, which it is under systemd.
        command.args(["unshare", "--mount", "--propagation", "shared", "--"]).arg(require("dockerd")?);
        command.arg("--data-root").arg(kept.join("data")).arg("--exec-root").arg(directory.path().join("exec"));
        command.arg("--pidfile").arg(directory.path().join("pid"));
        command.arg(format!("--host=unix://{}", directory.path().join("sock").display()));
        command.args(["--iptables=false", "--bridge=none"]);
        let process = Process::start("dockerd", &command, &directory.path().join("log"))?;
        let mut docker = Self { process, directory, making: Mutex::default(), _lock: lock };
        let mut version = docker.command(&["version"]);
        docker.process.eventually("the engine answers", DEADLINE, |_| succeed(&mut version).map(drop))?;
        // What a machine that lost its power left behind.
        docker.remove_containers()?;
        // Of what earlier builds left, the newest saves time, and the rest only takes room.
        docker.run(&["image", "prune", "--force", "--filter", "until=24h"])?;
        Ok(docker)
    }

    /// Runs `docker` with these arguments; hands out what it printed.
    ///
    /// # Errors
    /// When it fails: with its standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        succeed(&mut self.command(arguments))
    }

    /// `docker` with these arguments, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(arguments).envs(self.environment()).stdin(Stdio::null());
        command
    }

    /// What makes another program's `docker` speak to this engine.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let directory = self.directory.path().display();
        [
            ("DOCKER_HOST", format!("unix://{directory}/sock")),
            ("DOCKER_CONFIG", directory.to_string()),
            ("DOCKER_CONTEXT", String::new()),
            // BuildKit is a package of its own; our files need nothing of it.
            ("DOCKER_BUILDKIT", "0".to_owned()),
        ]
    }

    /// Builds an image from a `Dockerfile` without a context.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build(&self, tag: &str, dockerfile: &str) -> Result<()> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.feed(&["build", "--network", "host", "--tag", tag, "-"], dockerfile.as_bytes())
    }

    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<()> {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("standard input")?.write_all(input)?;
        checked(&command, child.wait_with_output()?).map(drop)
    }

    fn remove_containers(&self) -> Result<()> {
        let ids = self.run(&["ps", "--all", "--quiet", "--filter", &format!("label={LABEL}")])?;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            self.run(&[&["rm", "--force", "--volumes"], ids.as_slice()].concat())?;
        }
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let stopped = self.remove_containers().and_then(|()| {
            self.process.signal(Signal::TERM)?;
            self.process.wait_exit(STOP_DEADLINE).map(drop)
        });
        if let Err(error) = stopped {
            eprintln!("{error:#}");
        }
    }
}

/// Runs a command; hands out its standard output.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    checked(command, output)
}

fn checked(command: &Command, output: Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let program = command.get_program().display();
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}\n{stdout}{stderr}", words.join(" "), output.status);
    }
    Ok(stdout.into_owned())
}
