//! hostwatch-client under guard: one host, with directories of its own.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Result;

use crate::home::Home;
use crate::process::Process;
use crate::server::without_our_environment;
use crate::{Signal, programs, require};

const DEADLINE: Duration = Duration::from_secs(20);

/// What a client is started with.
#[derive(Clone, Debug, Default)]
pub struct ClientSetup {
    /// The host's id, as `HOSTWATCH_HOST`; default: what its settings or the hostname say.
    pub host: Option<String>,
    /// Its Redis, as `HOSTWATCH_REDIS_URL`.
    pub redis_url: String,
    /// The text of client.toml; default: the file of the directory, else an empty one.
    pub toml: Option<String>,
    /// Another /proc than the machine's, as `HOSTWATCH_PATHS_PROCFS`.
    pub procfs: Option<PathBuf>,
    /// The network namespace that it runs in, by name; default: ours.
    pub network: Option<String>,
    /// Further environment; wins over what the guard sets.
    pub environment: Vec<(String, String)>,
    /// Where its `config/`, `state/`, status file and log live; default: a temporary directory.
    pub directory: Option<PathBuf>,
    /// The program; default: the development build.
    pub program: Option<PathBuf>,
}

/// A running hostwatch-client. It is killed when this is dropped.
pub struct Client {
    /// The client process.
    pub process: Process,
    home: Home,
}

impl Client {
    /// Writes the settings and starts the client. Whether it gets through to a server is the server's page's to say.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(setup: &ClientSetup) -> Result<Self> {
        let home = Home::new("hostwatch-client", setup.directory.as_deref())?;
        let settings = home.path().join("config/client.toml");
        if setup.toml.is_some() || !settings.exists() {
            home.write("config/client.toml", setup.toml.as_deref().unwrap_or_default())?;
        }
        let program = match &setup.program {
            Some(program) => program,
            None => &programs()?.client,
        };
        let mut command = match &setup.network {
            // It becomes the program, under the same process id.
            Some(network) => {
                let mut command = Command::new(require("ip")?);
                command.args(["netns", "exec", network]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--config").arg(&settings);
        without_our_environment(&mut command);
        command.env("HOSTWATCH_REDIS_URL", &setup.redis_url);
        command.env("HOSTWATCH_STATE_DIRECTORY", home.directory("state/hostwatch-client")?);
        command.env("HOSTWATCH_STATUS_FILE", home.path().join("hostwatch-client.status"));
        if let Some(host) = &setup.host {
            command.env("HOSTWATCH_HOST", host);
        }
        if let Some(procfs) = &setup.procfs {
            command.env("HOSTWATCH_PATHS_PROCFS", procfs);
        }
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        let name = setup.host.as_ref().map_or_else(|| "hostwatch-client".to_owned(), |host| format!("client {host}"));
        let process = Process::start(&name, &command, &home.path().join("hostwatch-client.log"))?;
        Ok(Self { process, home })
    }

    /// The directory in which its state lives.
    pub fn state_directory(&self) -> PathBuf {
        self.home.path().join("state/hostwatch-client")
    }

    /// The status file that `hostwatch-client health` judges.
    pub fn status_file(&self) -> PathBuf {
        self.home.path().join("hostwatch-client.status")
    }

    /// Writes its settings, which it reads with [`Client::reload`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_settings(&self, toml: &str) -> Result<()> {
        self.home.write("config/client.toml", toml)
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

    /// Starts it again after its end, on what it left behind.
    ///
    /// # Errors
    /// When it still runs or cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()
    }
}
