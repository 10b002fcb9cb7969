//! hostwatch-server under guard: its directory of configuration, its address, its page.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::Home;
use crate::process::Process;
use crate::{Page, Signal, free_port, get, programs};

/// What the server writes to its log once it is bound, before the address.
const LISTENING: &str = "listening on ";

const DEADLINE: Duration = Duration::from_secs(20);

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct ServerSetup {
    /// Its Redis, as `HOSTWATCH_REDIS_URL`.
    pub redis_url: String,
    /// Files of the configuration directory and their text: `("templates.toml", …)`, `("services/linux.toml", …)`.
    /// A `server.toml` that is neither here nor in the directory is made, empty.
    pub files: Vec<(String, String)>,
    /// Further environment; wins over what the guard sets.
    pub environment: Vec<(String, String)>,
    /// Where its `config/`, `state/` and log live; default: a temporary directory.
    pub directory: Option<PathBuf>,
    /// Where it listens; default: a free port of 127.0.0.1, which it keeps when it is started again.
    pub listen_address: Option<String>,
    /// The program; default: the development build.
    pub program: Option<PathBuf>,
}

/// A running hostwatch-server. It is killed when this is dropped.
pub struct Server {
    /// The server process.
    pub process: Process,
    /// `http` or `https`.
    scheme: String,
    address: String,
    home: Home,
}

impl Server {
    /// Writes the configuration, starts the server and waits until it has said where it listens.
    ///
    /// # Errors
    /// When it cannot be built or does not come up, with the end of its log.
    pub fn start(setup: &ServerSetup) -> Result<Self> {
        let home = Home::new("hostwatch-server", setup.directory.as_deref())?;
        for (file, text) in &setup.files {
            home.write(&format!("config/{file}"), text)?;
        }
        let settings = home.path().join("config/server.toml");
        if !settings.exists() {
            home.write("config/server.toml", "")?;
        }
        let program = match &setup.program {
            Some(program) => program,
            None => &programs()?.server,
        };
        let listen_address = match &setup.listen_address {
            Some(address) => address.clone(),
            None => format!("127.0.0.1:{}", free_port()?),
        };
        let mut command = Command::new(program);
        command.arg("--config").arg(&settings);
        without_our_environment(&mut command);
        command.env("HOSTWATCH_REDIS_URL", &setup.redis_url);
        command.env("HOSTWATCH_WEB_LISTEN_ADDRESS", listen_address);
        command.env("HOSTWATCH_STATE_DIRECTORY", home.directory("state/hostwatch-server")?);
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start("hostwatch-server", &command, &home.path().join("hostwatch-server.log"))?;
        let mut server = Self { process, scheme: String::new(), address: String::new(), home };
        server.wait_until_bound()?;
        Ok(server)
    }

    /// The address of a path on it: `http://127.0.0.1:PORT/PATH`, or with `https` if it was started so.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// GETs a path: the status and the body.
    ///
    /// # Errors
    /// When no whole answer came within 10 s.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.url(path))
    }

    /// GETs `/metrics` and reads it strictly.
    ///
    /// # Errors
    /// When there is no page or something is wrong with it.
    pub fn page(&self) -> Result<Page> {
        match self.get("/metrics")? {
            (200, body) => Ok(Page::parse(&body)?),
            (status, body) => bail!("/metrics: {status}: {body}"),
        }
    }

    /// Polls `/metrics` until `check` finds on it what it looks for.
    ///
    /// # Errors
    /// When the deadline has passed or the server has ended, with the end of its log.
    pub fn eventually<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut check: impl FnMut(&Page) -> Result<T>,
    ) -> Result<T> {
        let url = self.url("/metrics");
        self.process.eventually(what, deadline, |_| check(&Page::parse(&get(&url)?.1)?))
    }

    /// The directory of its configuration.
    pub fn config_directory(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// The directory in which its state lives.
    pub fn state_directory(&self) -> PathBuf {
        self.home.path().join("state/hostwatch-server")
    }

    /// Writes a file of its configuration directory; it takes effect with [`Server::reload`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        self.home.write(&format!("config/{file}"), text)
    }

    /// Sends SIGHUP, which returns before the reload has happened.
    ///
    /// # Errors
    /// When it has ended.
    pub fn reload(&self) -> Result<()> {
        self.process.signal(Signal::HUP)
    }

    /// Sends SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// When it does not end within 20 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate(DEADLINE)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it does not end within 10 s.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again after its end, on what it left behind, and waits until it has said where it listens.
    ///
    /// # Errors
    /// When it still runs or does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.wait_until_bound()
    }

    fn wait_until_bound(&mut self) -> Result<()> {
        (self.scheme, self.address) = self.process.eventually("the server listens", DEADLINE, |process| {
            bound_address(&process.log()).context("no address in its log")
        })?;
        Ok(())
    }
}

/// Takes away what would reach into a test from the shell or the service manager that it runs under. The log level
/// stays, so that it can be raised for one run.
pub(crate) fn without_our_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOSTWATCH_") && name != "HOSTWATCH_LOG" {
            command.env_remove(name);
        }
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
}

/// The scheme and the address in the first line that tells one.
fn bound_address(log: &str) -> Option<(String, String)> {
    // A line that is still being written may hold half an address.
    let complete = &log[..=log.rfind('\n')?];
    let (_, rest) = complete.split_once(LISTENING)?;
    let (scheme, rest) = rest.split_once("://")?;
    let end = rest.find(|c: char| c.is_whitespace() || "/,\"".contains(c))?;
    Some((scheme.to_owned(), rest[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_a_whole_line_only() {
        let of = |log: &str| bound_address(log).map(|(scheme, address)| format!("{scheme} {address}"));
        assert_eq!(of("INFO listening on http://127.0.0.1:101"), None);
        assert_eq!(of("a\nINFO listening on http://127.0.0.1:10120\n").as_deref(), Some("http 127.0.0.1:10120"));
        assert_eq!(of("x listening on https://[::1]:9/ y\n").as_deref(), Some("https [::1]:9"));
    }
}
