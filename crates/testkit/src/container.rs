//! A container under guard.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::Docker;
use crate::docker::{LABEL, succeed};

/// A running container. It is removed, with its volumes, when this is dropped.
pub struct Container {
    docker: Arc<Docker>,
    id: String,
}

impl Container {
    /// Starts one with the arguments of `docker run`: options, the image, its command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(docker: &Arc<Docker>, arguments: &[&str]) -> Result<Self> {
        let id = docker.run(&[&["run", "--detach", "--label", LABEL], arguments].concat())?;
        Ok(Self::adopt(docker, id.trim()))
    }

    /// Takes one into care that something else has started.
    #[must_use]
    pub fn adopt(docker: &Arc<Docker>, id: &str) -> Self {
        Self { docker: Arc::clone(docker), id: id.to_owned() }
    }

    /// Runs a script of `sh` in it, which ends at the first command that fails; hands out what it printed.
    ///
    /// # Errors
    /// When it fails: with its standard error.
    pub fn run(&self, script: &str) -> Result<String> {
        succeed(&mut self.docker.command(&["exec", &self.id, "sh", "-ec", script]))
    }

    /// Runs a script that has to fail; hands out what it printed, on standard error too.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn fail(&self, script: &str) -> Result<String> {
        let output = self.docker.command(&["exec", &self.id, "sh", "-ec", script]).output()?;
        ensure!(!output.status.success(), "this should have failed: {script}");
        Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
    }

    /// Writes a file in it, readable by everybody.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let script = format!("mkdir -p \"$(dirname {path})\" && cat > {path}");
        self.docker.feed(&["exec", "--interactive", &self.id, "sh", "-ec", &script], text.as_bytes())
    }

    /// Copies a file or folder of this machine into it.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        self.docker.run(&["cp", &from.display().to_string(), &format!("{}:{to}", self.id)]).map(drop)
    }

    /// What `docker inspect` says of it, in a template of Go's.
    ///
    /// # Errors
    /// When there is no such field.
    pub fn inspect(&self, template: &str) -> Result<String> {
        Ok(self.docker.run(&["inspect", "--format", template, &self.id])?.trim().to_owned())
    }

    /// Stops it as `docker stop` does: SIGTERM, and SIGKILL after `patience`.
    ///
    /// # Errors
    /// When the engine does not.
    pub fn stop(&self, patience: Duration) -> Result<()> {
        self.docker.run(&["stop", "--time", &patience.as_secs().to_string(), &self.id]).map(drop)
    }

    /// Everything that its process has written.
    ///
    /// # Errors
    /// When the engine does not know.
    pub fn logs(&self) -> Result<String> {
        let output = self.docker.command(&["logs", &self.id]).output()?;
        Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
    }

    /// What its process has written to its standard output alone.
    ///
    /// # Errors
    /// When the engine does not know.
    pub fn stdout(&self) -> Result<String> {
        self.docker.run(&["logs", &self.id])
    }

    /// The process id that a process in it has on this machine.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn host_pid(&self, pid: u32) -> Result<u32> {
        let first = self.inspect("{{.State.Pid}}")?;
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        let ours = namespace(&first)?;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // A process may end while we look.
            if !namespace(&name).is_ok_and(|namespace| namespace == ours) {
                continue;
            }
            let status = std::fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
            // proc(5): its ids in all namespaces, the innermost one last.
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            if ids.and_then(|ids| ids.split_whitespace().last()) == Some(pid.to_string().as_str()) {
                return Ok(name.parse()?);
            }
        }
        bail!("no process {pid} in the container")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- container {} ---\n{}", self.id, self.logs().unwrap_or_default());
        }
        if let Err(error) = self.docker.run(&["rm", "--force", "--volumes", &self.id]) {
            eprintln!("{error:#}");
        }
    }
}
