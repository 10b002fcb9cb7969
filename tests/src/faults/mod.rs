//! Faults, one by one: afterwards every report that a ring held has arrived, each once, the books balance with nothing
//! outstanding, nobody was announced as down without being so, nobody panicked, and the server takes no more memory.

mod daemons;
mod links;
mod network;
mod redis;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Server, ServerSetup};

use crate::fleet::{ANY_HOST, DEADLINE, books, figure, files, is_up};

/// Everything is quick, so that what takes minutes in production takes seconds here.
const SETTINGS: &str = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"20s\"\n[delivery]\nack_interval = \"1s\"\n";

const HOSTS: [&str; 2] = ["one", "two"];

/// So much memory a server may take beside a fifth more than before a fault.
const ROOM: f64 = (8 << 20) as f64;

/// What a fault may be announced as. Everything else would be false.
const TRUE_ALERTS: [&str; 2] = ["RedisLinkDown", "FleetSilent"];

/// A server and two clients that have reported.
struct Rig {
    redis: Redis,
    server: Server,
    clients: Vec<Client>,
    /// What the server took before the fault.
    resident: u64,
}

impl Rig {
    fn start() -> Result<Self> {
        Self::start_on(Redis::start()?)
    }

    fn start_on(redis: Redis) -> Result<Self> {
        let url = redis.url();
        Self::start_through(redis, &url, ClientSetup { redis_url: url.clone(), ..ClientSetup::default() })
    }

    /// The server reaches Redis under `server_url`, and the client of the host `one` as `first` says.
    fn start_through(redis: Redis, server_url: &str, first: ClientSetup) -> Result<Self> {
        let mut server = Server::start(&ServerSetup {
            redis_url: server_url.to_owned(),
            files: files(SETTINGS, ANY_HOST),
            ..ServerSetup::default()
        })?;
        let second = ClientSetup { redis_url: redis.url(), ..ClientSetup::default() };
        let started = HOSTS.iter().zip([first, second]);
        let clients =
            started.map(|(host, setup)| Client::start(&ClientSetup { host: Some((*host).to_owned()), ..setup }));
        let clients = clients.collect::<Result<_>>()?;
        server.eventually("both hosts report", DEADLINE, |page| {
            HOSTS.iter().try_for_each(|host| {
                is_up(page, host)?;
                ensure!(books(page, host)?.received >= 3.0);
                Ok(())
            })
        })?;
        let resident = server.process.resident_bytes()?;
        Ok(Self { redis, server, clients, resident })
    }

    /// Waits until nobody has been heard for a while: the fault has lasted.
    fn wait_for_silence(&mut self) -> Result<()> {
        HOSTS.iter().try_for_each(|host| self.wait_for_silence_of(host, Duration::from_secs(3)))
    }

    /// Waits until `host` was not heard for so long, and is stale.
    fn wait_for_silence_of(&mut self, host: &str, time: Duration) -> Result<()> {
        self.server.eventually(&format!("{host} is silent"), DEADLINE, |page| {
            let stale = page.value("hostwatch_host_state", &[("instance", host), ("state", "stale")]);
            ensure!(stale == Some(1.0), "{host} is heard");
            let heard = figure(page, "hostwatch_host_last_report_timestamp_seconds", host)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            ensure!(now - heard >= time.as_secs_f64(), "it was heard {:.1} s ago", now - heard);
            Ok(())
        })
    }

    /// Waits until the fault is over for both hosts; then nothing is lost.
    fn recovers(&mut self) -> Result<()> {
        let page = self.settles()?;
        for host in HOSTS {
            let lost = books(&page, host)?.lost;
            ensure!(lost == 0.0, "{lost} reports of {host} are lost");
        }
        Ok(())
    }

    /// What holds after every fault: both hosts report again, nothing is outstanding, no false alert was raised, nobody
    /// panicked, and the server takes about the memory that it took before.
    fn settles(&mut self) -> Result<Page> {
        let sequence = |page: &Page, host: &str| figure(page, "hostwatch_host_report_sequence", host);
        let before = self.server.page()?;
        let page = self.server.eventually("both hosts are whole again", DEADLINE, |page| {
            for host in HOSTS {
                is_up(page, host)?;
                let outstanding = books(page, host)?.outstanding;
                ensure!(outstanding == 0.0, "{outstanding} reports of {host} are outstanding");
                let is_heard = sequence(page, host)? > sequence(&before, host).unwrap_or_default();
                ensure!(is_heard, "{host} has not reported again");
            }
            Ok(page.clone())
        })?;
        self.nothing_false_was_announced()?;
        for process in self.clients.iter().map(|client| &client.process).chain([&self.server.process]) {
            ensure!(!process.log().contains("panicked"), "{}", process.show_log());
        }
        let (before, after) = (self.resident as f64, self.server.process.resident_bytes()? as f64);
        ensure!(after <= before * 1.2 + ROOM, "the server took {before} bytes before the fault, and {after} after it");
        Ok(page)
    }

    fn nothing_false_was_announced(&self) -> Result<()> {
        let (_, events) = self.server.get("/api/v1/events")?;
        let events: serde_json::Value = serde_json::from_str(&events)?;
        let mut names = events["events"].as_array().into_iter().flatten().map(|event| event["alertname"].as_str());
        ensure!(names.all(|name| name.is_some_and(|name| TRUE_ALERTS.contains(&name))), "{events}");
        Ok(())
    }
}
