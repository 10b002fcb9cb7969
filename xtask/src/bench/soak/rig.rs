//! Everything that runs during a soak, and what a fault does to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_client::wall_millis;
use hostwatch_testkit::{
    Client, ClientSetup, Page, Profile, Proxy, Redis, Server, ServerSetup, Traffic, build, eventually_every,
};

use super::LOOK;
use super::crowd::{Crowd, read_status};
use super::faults::{Fault, Way};
use super::ledger::Ledger;

/// The host whose client is a process of its own.
const PROCESS: &str = "process";
/// Of so many clients one reaches Redis through the proxy.
const PROXIED: usize = 10;

const DEADLINE: Duration = Duration::from_secs(60);

/// Everybody reports every second; a rule over minutes wants the past back after each restart of the server.
const SERVICES: &str = r#"
[services.load]
plugin = "load"
interval = "1s"
[[services.load.triggers]]
alert = "HighLoad"
expr = 'avg_over_time(node_load1[10m]) > 1e9'

[services.cpu]
plugin = "cpu"
interval = "1s"

[services.memory]
plugin = "memory"
interval = "1s"
"#;
const TEMPLATES: &str = "[templates.crowd]\nservices = [\"load\"]\n\n\
                         [templates.process]\nextends = [\"crowd\"]\nservices = [\"cpu\", \"memory\"]\n";

/// They end in this order.
pub(super) struct Rig {
    crowd: Crowd,
    client: Client,
    pub(super) server: Server,
    way_of_clients: Proxy,
    way_of_server: Proxy,
    redis: Redis,
    ledger: Ledger,
}

impl Rig {
    /// Starts all, and waits until everybody reports.
    pub(super) fn start(hosts: u32) -> Result<Self> {
        let programs = build(Profile::Release)?;
        let redis = Redis::start()?;
        let (way_of_clients, way_of_server) = (Proxy::start(redis.port())?, Proxy::start(redis.port())?);
        let matches = "[[match]]\nhost = \"crowd-*\"\ntemplates = [\"crowd\"]\n";
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let server = Server::start(&ServerSetup {
            redis_url: way_of_server.url(),
            files: vec![
                file("hosts.toml", &format!("[hosts.{PROCESS}]\ntemplates = [\"process\"]\n\n{matches}")),
                file("templates.toml", TEMPLATES),
                file("services/soak.toml", SERVICES),
            ],
            program: Some(programs.server),
            ..ServerSetup::default()
        })?;
        let client = Client::start(&ClientSetup {
            host: Some(PROCESS.to_owned()),
            redis_url: way_of_clients.url(),
            program: Some(programs.client),
            ..ClientSetup::default()
        })?;
        let urls: Vec<String> = (0..hosts as usize)
            .map(|number| if number % PROXIED == 0 { way_of_clients.url() } else { redis.url() })
            .collect();
        let crowd = Crowd::start(&urls)?;
        let mut rig = Self { crowd, client, server, way_of_clients, way_of_server, redis, ledger: Ledger::default() };
        rig.server.eventually("everybody reports", DEADLINE, |page| {
            let up = page.value("hostwatch_hosts", &[("state", "up")]);
            ensure!(up == Some(f64::from(hosts) + 1.0), "{up:?} of {hosts} hosts and one are up");
            Ok(())
        })?;
        Ok(rig)
    }

    /// Looks whether all is as it should be, faults aside. How many reports are outstanding.
    ///
    /// # Errors
    /// When one of the processes or clients has ended.
    pub(super) fn look(&mut self) -> Result<u64> {
        self.crowd.is_alive()?;
        for process in [&mut self.client.process, &mut self.server.process, &mut self.redis.process] {
            ensure!(process.exited()?.is_none(), "{} has ended\n{}", process.name(), process.show_log());
        }
        Ok(self.ledger.look(&self.server.page()?))
    }

    /// Lets `fault` happen, and waits until it is over.
    pub(super) fn suffer(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::RedisStops(time) => {
                self.redis.stop()?;
                pass(time)?;
                self.redis.start_again()
            }
            Fault::RedisIsKilled(time) => {
                self.redis.kill()?;
                pass(time)?;
                self.redis.start_again()
            }
            Fault::RedisHangs(time) => {
                self.redis.pause()?;
                pass(time)?;
                self.redis.resume()
            }
            Fault::SubscribersAreCutOff => self.redis.cli(&["client", "kill", "type", "pubsub"]).map(drop),
            Fault::KeysAreLost => self.redis.cli(&["flushall"]).map(drop),
            Fault::ServerIsKilled(time) => {
                self.close_server()?;
                self.server.kill()?;
                pass(time)?;
                self.server.start_again()
            }
            Fault::ServerRestarts => {
                self.close_server()?;
                let exit = self.server.terminate()?;
                ensure!(exit.success(), "{exit}\n{}", self.server.process.show_log());
                self.server.start_again()
            }
            Fault::ClientRestarts => {
                self.ledger.close_client(&self.client.process)?;
                let exit = self.client.terminate()?;
                ensure!(exit.success(), "{exit}\n{}", self.client.process.show_log());
                self.client.start_again()
            }
            Fault::WayIsSpoilt(way, traffic, time) => {
                let way = match way {
                    Way::OfClients => &self.way_of_clients,
                    Way::OfServer => &self.way_of_server,
                };
                way.set(traffic);
                pass(time)?;
                way.set(Traffic::Passes);
                Ok(())
            }
        }
    }

    /// The newest number of each client, by what it says of itself from now on.
    pub(super) fn newest_reports(&mut self) -> Result<BTreeMap<String, u64>> {
        let now_ms = wall_millis();
        eventually_every(LOOK, "every client says how it is", DEADLINE, || {
            let mut newest = self.crowd.newest_reports(now_ms)?;
            newest.insert(PROCESS.to_owned(), read_status(&self.client.status_file(), now_ms)?.last_seq);
            Ok(newest)
        })
    }

    /// Ends everything, and hands out what was counted.
    pub(super) fn finish(mut self) -> Result<Ledger> {
        self.close_server()?;
        self.ledger.close_client(&self.client.process)?;
        let goodbyes = self.crowd.hosts().len();
        self.crowd.stop()?;
        self.server.eventually("everybody has said goodbye", DEADLINE, |page: &Page| {
            let left = page.value("hostwatch_hosts", &[("state", "left")]).context("no count of hosts")?;
            ensure!(left == goodbyes as f64, "{left} have");
            Ok(())
        })?;
        Ok(self.ledger)
    }

    fn close_server(&mut self) -> Result<()> {
        let page = self.server.page()?;
        self.ledger.look(&page);
        self.ledger.close_server(&page, &self.server.process)
    }
}

/// The time that a fault takes.
fn pass(time: Duration) -> Result<()> {
    let start = Instant::now();
    eventually_every(LOOK, "the end of the fault", 2 * time + DEADLINE, || {
        ensure!(start.elapsed() >= time, "not over");
        Ok(())
    })
}
