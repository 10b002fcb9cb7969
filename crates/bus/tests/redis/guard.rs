//! Guards of what a test runs: a private redis-server, and a link with its driver.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hostwatch_bus::{Inbox, InboxSender, Link, LinkState, Message, Password, Settings, Timing, inbox, link};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Generous: a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `poll` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A redis-server of its own, killed on drop.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
    dir: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments, such as `["--requirepass", "sesame"]`.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let password =
            arguments.iter().position(|word| *word == "--requirepass").map(|at| arguments[at + 1].to_owned());
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let child = spawn(&dir, port, &arguments);
        let redis = Self { child, port, arguments, password, dir };
        redis.answers().await;
        redis
    }

    /// Starts again after `kill`, at the same addresses.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.port, &self.arguments);
        self.answers().await;
    }

    async fn answers(&self) {
        let what = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let start = Instant::now();
        while !self.answers_now() {
            assert!(start.elapsed() < DEADLINE, "redis-server does not answer:\n{}", what());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn answers_now(&self) -> bool {
        let Ok(mut socket) = UnixStream::connect(self.socket()) else { return false };
        let mut byte = [0];
        socket.write_all(b"PING\r\n").is_ok() && socket.read_exact(&mut byte).is_ok()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) fn tcp_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What redis-cli prints, logged in as the default user.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.arg("-s").arg(self.socket()).args(words);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "redis-cli {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// As `cli`, but the answer has to be OK.
    pub(crate) fn set(&self, words: &[&str]) {
        assert_eq!(self.cli(words), "OK", "{words:?}");
    }

    /// A connection with the beginning of a message of so many bytes, all but the last of which Redis has to keep.
    pub(crate) fn begin_a_message(&self, bytes: usize) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        write!(stream, "*3\r\n$7\r\nPUBLISH\r\n$1\r\nx\r\n${bytes}\r\n").unwrap();
        stream.write_all(&vec![b'x'; bytes - 1]).unwrap();
        stream
    }

    /// The rules of a user, in the words of DESIGN.md.
    pub(crate) fn user(&self, name: &str, rules: &str) {
        let words: Vec<_> = ["ACL", "SETUSER", name].into_iter().chain(rules.split_whitespace()).collect();
        self.set(&words);
    }
}

fn spawn(dir: &TempDir, port: u16, arguments: &[String]) -> Child {
    let path = |name: &str| dir.path().join(name);
    Command::new("redis-server")
        .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &port.to_string()])
        .arg("--dir")
        .arg(dir.path())
        .arg("--unixsocket")
        .arg(path("socket"))
        .arg("--logfile")
        .arg(path("log"))
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .expect("redis-server has to be installed: install the package redis-server")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        address: url.parse().unwrap(),
        username: None,
        password: None,
        tls: hostwatch_bus::Tls::default(),
        client_name: "hostwatch-test".into(),
        outlives_others: false,
        timing: Timing::default(),
    }
}

pub(crate) fn login(url: &str, username: &str, password: &str) -> Settings {
    Settings { username: Some(username.into()), password: Some(Password::new(password)), ..settings(url) }
}

/// A link whose driver runs until drop.
pub(crate) struct Bus {
    pub(crate) link: Link,
    pub(crate) inbox: Inbox,
    pub(crate) sender: InboxSender,
    pub(crate) beats: Arc<AtomicU64>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bus {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::start_with(settings, inbox(100_000, 1 << 26))
    }

    pub(crate) fn start_with(settings: Settings, (sender, inbox): (InboxSender, Inbox)) -> Self {
        let (link, driver) = link(settings, sender.clone());
        let beats = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&beats);
        let driver = driver.on_progress(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run(shutdown.clone()));
        Self { link, inbox, sender, beats, shutdown, tasks }
    }

    /// Waits until the link is connected for the nth time.
    pub(crate) async fn connected(&self, nth: u64) {
        self.reaches(|state| matches!(state, LinkState::Connected { generation, .. } if *generation == nth)).await;
    }

    /// Waits until the link waits for a reason with this in it.
    pub(crate) async fn waits(&self, part: &str) -> String {
        match self.reaches(|state| matches!(state, LinkState::Waiting { reason, .. } if reason.contains(part))).await {
            LinkState::Waiting { reason, .. } => reason,
            LinkState::Connected { .. } => unreachable!(),
        }
    }

    pub(crate) async fn reaches(&self, wanted: impl FnMut(&LinkState) -> bool) -> LinkState {
        let mut state = self.link.state();
        match timeout(DEADLINE, state.wait_for(wanted)).await {
            Ok(state) => state.unwrap().clone(),
            Err(_) => panic!("still {:?}", self.link.state().borrow()),
        }
    }

    pub(crate) async fn next(&mut self) -> Message {
        timeout(DEADLINE, self.inbox.recv()).await.expect("no message came").unwrap()
    }

    /// Waits for the next message and checks it.
    pub(crate) async fn receives(&mut self, channel: &str, payload: &str) {
        let message = self.next().await;
        assert_eq!((message.channel.as_str(), message.payload.as_slice()), (channel, payload.as_bytes()));
    }

    /// Shuts the driver down and waits for its end.
    pub(crate) async fn shut_down(&mut self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.tasks.join_next()).await.expect("the driver has not ended").unwrap().unwrap();
    }
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
