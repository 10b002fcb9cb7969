//! A private Redis: on a unix socket and on a TCP port of 127.0.0.1 that stay the same when it is started again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::Home;
use crate::{Process, Signal, free_port, require};

const DEADLINE: Duration = Duration::from_secs(10);

/// What can be chosen about a private Redis. The default is one that keeps nothing on disk.
#[derive(Clone, Debug, Default)]
pub struct RedisSetup {
    /// Where its socket, its files and its log live; default: a temporary directory. A socket's path has at most 107
    /// bytes.
    pub directory: Option<PathBuf>,
    /// Further lines of redis.conf, which win over those that the guard writes: `requirepass secret`.
    pub config: Vec<String>,
}

/// A running redis-server. It is killed when this is dropped.
pub struct Redis {
    /// The server process.
    pub process: Process,
    socket: PathBuf,
    port: u16,
    /// Held for its end: a temporary directory goes after the process.
    _home: Home,
}

impl Redis {
    /// Starts one with the default setup and waits until it answers.
    ///
    /// # Errors
    /// When redis-server is not installed or does not come up.
    pub fn start() -> Result<Self> {
        Self::start_with(&RedisSetup::default())
    }

    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn start_with(setup: &RedisSetup) -> Result<Self> {
        let home = Home::new("redis", setup.directory.as_deref())?;
        let directory = home.path();
        let (socket, port) = (directory.join("redis.sock"), free_port()?);
        let mut config = format!(
            "bind 127.0.0.1\nport {port}\nunixsocket {}\nunixsocketperm 700\ndir {}\nsave \"\"\n",
            socket.display(),
            directory.display()
        );
        for line in &setup.config {
            config.push_str(line);
            config.push('\n');
        }
        home.write("redis.conf", &config)?;
        let mut command = Command::new(require("redis-server")?);
        command.arg(directory.join("redis.conf"));
        let process = Process::start("redis", &command, &directory.join("redis.log"))?;
        let mut redis = Self { process, socket, port, _home: home };
        redis.wait_until_ready()?;
        Ok(redis)
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `redis+unix:///path/of/the/socket`
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of its unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs one command through redis-cli, on the unix socket, and hands out what it printed, without the last line
    /// feed.
    ///
    /// # Errors
    /// When Redis is away or answers with an error.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        // -e makes an error that Redis answered one of the program, too.
        let output = Command::new(require("redis-cli")?).arg("-e").arg("-s").arg(&self.socket).args(arguments).output();
        let output = output.context("run redis-cli")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("redis-cli {}: {text}{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Ends it with SIGTERM.
    ///
    /// # Errors
    /// When it has ended before, or does not end within 10 s.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(DEADLINE).map(drop)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it does not end within 10 s.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops its clock (SIGSTOP): connections stay open and nothing answers, as with a hung machine.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets a paused one go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Starts it again after its end: same socket, same port, same directory.
    ///
    /// # Errors
    /// When it still runs or does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let socket = &self.socket;
        self.process.eventually("redis answers", DEADLINE, |_| ping(socket))
    }
}

/// Asks on the socket itself, because redis-cli would need a password where one is set: being asked for it is an answer.
fn ping(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    match &answer {
        b"+PONG\r\n" | b"-NOAUTH" => Ok(()),
        other => bail!("redis answers {}", String::from_utf8_lossy(other)),
    }
}
