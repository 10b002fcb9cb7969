//! What systemd is told: both daemons speak to a real datagram socket, at whose other end is the test.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Process, Redis, Server, ServerSetup, Signal};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::fleet::{ANY_HOST, DEADLINE, files};

/// A daemon and its service manager.
struct Service {
    daemon: Daemon,
    manager: Manager,
    /// Holds `config/`, and what the daemon makes.
    directory: TempDir,
}

enum Daemon {
    Server(Server),
    Client(Client),
}

/// The service manager's end of the socket, and what it was told so far, one message each.
struct Manager {
    socket: UnixDatagram,
    said: Vec<String>,
    /// So many messages have been looked at.
    heard: usize,
}

impl Service {
    fn start(program: &str, redis: &Redis) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        let environment = vec![
            ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
            ("WATCHDOG_USEC".to_owned(), "2000000".to_owned()),
        ];
        let daemon = Daemon::start(program, redis, directory.path(), environment)?;
        Ok(Self { daemon, manager: Manager { socket, said: Vec::new(), heard: 0 }, directory })
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.daemon {
            Daemon::Server(server) => &mut server.process,
            Daemon::Client(client) => &mut client.process,
        }
    }

    /// Waits for a message that comes after those that were waited for, and `is_meant`; hands it out.
    fn hears(&mut self, what: &str, is_meant: impl Fn(&str) -> bool) -> Result<String> {
        let (manager, process) = match &mut self.daemon {
            Daemon::Server(server) => (&mut self.manager, &mut server.process),
            Daemon::Client(client) => (&mut self.manager, &mut client.process),
        };
        process.eventually(what, DEADLINE, |_| manager.next(&is_meant))
    }

    fn hears_exactly(&mut self, message: &str) -> Result<()> {
        self.hears(message, |said| said == message).map(drop)
    }

    /// Waits for a new status with `words`.
    fn hears_status(&mut self, words: &str) -> Result<String> {
        self.hears(words, |said| said.starts_with("STATUS=") && said.contains(words))
    }

    /// Waits for so many signs of life from now on that all loops must have turned in between. What else comes meanwhile
    /// can still be waited for.
    fn stays_alive(&mut self) -> Result<()> {
        self.manager.take_in()?;
        let heard = std::mem::replace(&mut self.manager.heard, self.manager.said.len());
        (0..4).try_for_each(|_| self.hears_exactly("WATCHDOG=1\n"))?;
        self.manager.heard = heard;
        Ok(())
    }
}

impl Daemon {
    fn start(program: &str, redis: &Redis, directory: &Path, environment: Vec<(String, String)>) -> Result<Self> {
        let (redis_url, directory) = (redis.url(), Some(directory.to_owned()));
        if program == "server" {
            let files = files("", ANY_HOST);
            let setup = ServerSetup { redis_url, files, environment, directory, ..ServerSetup::default() };
            Server::start(&setup).map(Self::Server)
        } else {
            let host = Some("web".to_owned());
            let setup = ClientSetup { host, redis_url, environment, directory, ..ClientSetup::default() };
            Client::start(&setup).map(Self::Client)
        }
    }
}

impl Manager {
    /// Takes in what has come, and hands out the next message that `is_meant`.
    fn next(&mut self, is_meant: &impl Fn(&str) -> bool) -> Result<String> {
        self.take_in()?;
        let found = self.said[self.heard..].iter().position(|said| is_meant(said));
        let index = self.heard + found.with_context(|| format!("it said {:?}", &self.said[self.heard..]))?;
        self.heard = index + 1;
        Ok(self.said[index].clone())
    }

    fn take_in(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.said.push(String::from_utf8(buffer[..length].to_vec())?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Does the same with each of the daemons, at the same time.
fn with_both(check: impl Fn(&str) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let check = &check;
        let checks = ["server", "client"].map(|program| scope.spawn(move || check(program).context(program)));
        checks.into_iter().try_for_each(|check| check.join().unwrap())
    })
}

#[test]
fn readiness_does_not_wait_for_redis_and_the_status_says_how_it_is() -> Result<()> {
    with_both(|program| {
        let mut redis = Redis::start()?;
        redis.kill()?;
        let mut service = Service::start(program, &redis)?;
        // Either may come first.
        service.hears_exactly("READY=1\n")?;
        service.manager.heard = 0;
        service.hears_status("waiting for Redis")?;
        redis.start_again()?;
        let status = service.hears_status("connected to Redis")?;
        ensure!(!status.contains("waiting for Redis"), "{status}");
        redis.kill()?;
        service.hears_status("waiting for Redis")?;
        redis.start_again()?;
        service.hears_status("connected to Redis")?;
        let ready = service.manager.said.iter().filter(|said| said.contains("READY=1")).count();
        ensure!(ready == 1, "{:?}", service.manager.said);
        Ok(())
    })
}

#[test]
fn the_watchdog_is_fed_whatever_redis_does() -> Result<()> {
    with_both(|program| {
        let mut redis = Redis::start()?;
        redis.kill()?;
        let mut service = Service::start(program, &redis)?;
        service.hears_status("waiting for Redis")?;
        service.stays_alive()?;
        redis.start_again()?;
        service.hears_status("connected to Redis")?;
        service.stays_alive()?;
        // The connection stays open, and nobody answers.
        redis.pause()?;
        service.stays_alive()?;
        service.hears_status("waiting for Redis")?;
        service.stays_alive()?;
        redis.resume()?;
        service.hears_status("connected to Redis")?;
        let log = service.process().log();
        ensure!(!log.contains("made no progress"), "{log}");
        Ok(())
    })
}

#[test]
fn a_reload_is_announced_and_ends_also_after_a_mistake() -> Result<()> {
    with_both(|program| {
        let redis = Redis::start()?;
        let mut service = Service::start(program, &redis)?;
        service.hears_exactly("READY=1\n")?;
        let file = service.directory.path().join(format!("config/{program}.toml"));
        for text in ["", "colour = 1\n", ""] {
            std::fs::write(&file, text)?;
            let before = monotonic_micros();
            service.process().signal(Signal::HUP)?;
            let reloading = service.hears("RELOADING", |said| said.contains("RELOADING=1"))?;
            let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
            let time: u128 = time.with_context(|| format!("{reloading:?}"))?.parse()?;
            ensure!((before..=monotonic_micros()).contains(&time), "{time}");
            service.hears_exactly("READY=1\n")?;
        }
        let mistake = format!("config/{program}.toml:1: colour: unknown key; ");
        ensure!(service.process().log().matches(&mistake).count() == 1, "{}", service.process().log());
        Ok(())
    })
}

fn monotonic_micros() -> u128 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u128 * 1_000_000 + now.tv_nsec as u128 / 1_000
}

#[test]
fn a_stop_is_announced_and_ends_well() -> Result<()> {
    with_both(|program| {
        for redis_is_away in [false, true] {
            let mut redis = Redis::start()?;
            if redis_is_away {
                redis.kill()?;
            }
            let mut service = Service::start(program, &redis)?;
            service.hears_exactly("READY=1\n")?;
            let exit = service.process().terminate(DEADLINE)?;
            ensure!(exit.code() == Some(0), "{exit}");
            service.manager.take_in()?;
            let said = &service.manager.said[service.manager.heard..];
            let stopping = said.iter().position(|said| said == "STOPPING=1\n");
            let after = &said[stopping.with_context(|| format!("{said:?}"))?..];
            ensure!(!after.iter().any(|said| said.contains("READY=1")), "{after:?}");
        }
        Ok(())
    })
}
