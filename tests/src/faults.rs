//! Faults, one by one: afterwards every report that a ring held has arrived, each once, the books balance with nothing
//! outstanding, nobody was announced as down without being so, and nobody panicked.

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, Page, Redis, RedisSetup, Server, ServerSetup, Signal};

use crate::fleet::{ANY_HOST, DEADLINE, books, figure, files, is_up, start_client};

/// Everything is quick, so that what takes minutes in production takes seconds here.
const SETTINGS: &str = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"20s\"\n[delivery]\nack_interval = \"1s\"\n";

const HOSTS: [&str; 2] = ["one", "two"];

/// A server and two clients that have reported.
struct Rig {
    redis: Redis,
    server: Server,
    clients: Vec<Client>,
}

impl Rig {
    fn start() -> Result<Self> {
        Self::start_with(&RedisSetup::default())
    }

    fn start_with(setup: &RedisSetup) -> Result<Self> {
        let redis = Redis::start_with(setup)?;
        let mut server = Server::start(&ServerSetup {
            redis_url: redis.url(),
            files: files(SETTINGS, ANY_HOST),
            ..ServerSetup::default()
        })?;
        let clients = HOSTS.iter().map(|host| start_client(&redis, host)).collect::<Result<_>>()?;
        server.eventually("both hosts report", DEADLINE, |page| {
            HOSTS.iter().try_for_each(|host| {
                is_up(page, host)?;
                ensure!(books(page, host)?.received >= 3.0);
                Ok(())
            })
        })?;
        Ok(Self { redis, server, clients })
    }

    /// Waits until nobody has been heard for a while: the fault has lasted.
    fn wait_for_silence(&mut self) -> Result<()> {
        self.server.eventually("both hosts are silent", DEADLINE, |page| {
            HOSTS.iter().try_for_each(|host| {
                let stale = page.value("hostwatch_host_state", &[("instance", host), ("state", "stale")]);
                ensure!(stale == Some(1.0), "{host} is heard");
                Ok(())
            })
        })
    }

    /// Waits until both hosts report again and nothing is outstanding; then nothing is lost, and no false alert was raised.
    fn nothing_is_lost(&mut self) -> Result<()> {
        let sequence = |page: &Page, host: &str| figure(page, "hostwatch_host_report_sequence", host);
        let before = self.server.page()?;
        let page = self.server.eventually("both hosts are whole again", DEADLINE, |page| {
            for host in HOSTS {
                is_up(page, host)?;
                let books = books(page, host)?;
                ensure!(books.outstanding == 0.0, "{} reports of {host} are outstanding", books.outstanding);
                ensure!(
                    sequence(page, host)? > sequence(&before, host).unwrap_or_default(),
                    "{host} has not reported again"
                );
            }
            Ok(page.clone())
        })?;
        for host in HOSTS {
            let books = books(&page, host)?;
            ensure!(books.lost == 0.0, "{} reports of {host} are lost", books.lost);
        }
        let (_, events) = self.server.get("/api/v1/events?alertname=HostDown")?;
        let events: serde_json::Value = serde_json::from_str(&events)?;
        ensure!(events["events"].as_array().is_some_and(Vec::is_empty), "{events}");
        for process in self.clients.iter().map(|client| &client.process).chain([&self.server.process]) {
            ensure!(!process.log().contains("panicked"), "{}", process.log());
        }
        Ok(())
    }
}

#[test]
fn redis_stops_and_comes_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.stop()?;
    rig.wait_for_silence()?;
    rig.redis.start_again()?;
    rig.nothing_is_lost()
}

#[test]
fn redis_is_killed() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.kill()?;
    rig.redis.start_again()?;
    rig.nothing_is_lost()
}

#[test]
fn redis_hangs_for_a_while() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.pause()?;
    rig.wait_for_silence()?;
    rig.redis.resume()?;
    rig.nothing_is_lost()
}

#[test]
fn redis_cuts_every_subscriber() -> Result<()> {
    let mut rig = Rig::start()?;
    for _ in 0..5 {
        rig.redis.cli(&["client", "kill", "type", "pubsub"])?;
    }
    rig.nothing_is_lost()
}

#[test]
fn redis_loses_its_keys() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["flushall"])?;
    rig.nothing_is_lost()
}

#[test]
fn rights_are_taken_away_and_given_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["acl", "setuser", "default", "resetchannels"])?;
    rig.wait_for_silence()?;
    rig.redis.cli(&["acl", "setuser", "default", "allchannels"])?;
    rig.nothing_is_lost()
}

#[test]
fn a_slow_server_is_cut_off_by_the_limit_of_its_buffer() -> Result<()> {
    let limit = "client-output-buffer-limit pubsub 16kb 16kb 1".to_owned();
    let mut rig = Rig::start_with(&RedisSetup { config: vec![limit], ..RedisSetup::default() })?;
    rig.server.process.signal(Signal::STOP)?;
    // What the clients publish fills the kernel's buffers before it counts, so that somebody helps them.
    let noise = "x".repeat(100_000);
    for _ in 0..200 {
        rig.redis.cli(&["publish", "hostwatch:{one}:reports", &noise])?;
    }
    hostwatch_testkit::eventually("Redis has closed the connection", DEADLINE, || {
        let log = rig.redis.process.log();
        ensure!(log.contains("overcoming of output buffer limits"), "{log}");
        Ok(())
    })?;
    rig.server.process.signal(Signal::CONT)?;
    rig.nothing_is_lost()
}

#[test]
fn the_server_is_killed_and_comes_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.server.kill()?;
    rig.server.start_again()?;
    rig.nothing_is_lost()
}

#[test]
fn a_client_restarts_while_redis_is_away() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.stop()?;
    rig.wait_for_silence()?;
    rig.clients[0].terminate()?;
    rig.clients[0].start_again()?;
    rig.redis.start_again()?;
    rig.nothing_is_lost()?;
    // What the first process could not send has come in the second one's name, under its own epoch.
    let totals = figure(&rig.server.page()?, "hostwatch_host_reports_lost_total", "one")?;
    assert_eq!(totals, 0.0);
    Ok(())
}

#[test]
fn two_clients_that_say_they_are_one_host_are_named() -> Result<()> {
    let mut rig = Rig::start()?;
    let mut second = start_client(&rig.redis, "one")?;
    rig.server.eventually("the host is in conflict", DEADLINE, |page| {
        let conflict = page.value("hostwatch_host_state", &[("instance", "one"), ("state", "conflict")]);
        ensure!(conflict == Some(1.0), "no conflict");
        Ok(())
    })?;
    assert!(rig.server.process.log().contains("two clients say that they are one"), "{}", rig.server.process.log());
    let page = rig.server.page()?;
    assert!(page.value("node_load1", &[("instance", "one")]).is_none(), "whose value would it be?");
    books(&page, "two").context("the other host is not concerned")?;
    is_up(&page, "two")?;
    second.terminate()?;
    rig.nothing_is_lost()
}

#[test]
fn a_server_that_starts_anew_has_the_past_again() -> Result<()> {
    const SERVICES: &str = r#"
[services.load]
plugin = "load"
interval = "1s"
[[services.load.triggers]]
alert = "Remembers"
expr = 'count_over_time(node_load1[10m]) >= 12'
"#;
    let redis = Redis::start()?;
    let mut files = files(SETTINGS, ANY_HOST);
    files.retain(|(name, _)| !name.starts_with("templates") && !name.starts_with("services"));
    files.push(("services/load.toml".to_owned(), SERVICES.to_owned()));
    files.push(("templates.toml".to_owned(), "[templates.linux]\nservices = [\"load\"]\n".to_owned()));
    let mut server = Server::start(&ServerSetup { redis_url: redis.url(), files, ..ServerSetup::default() })?;
    let _client = start_client(&redis, "one")?;
    let remembers = |page: &Page| -> Result<f64> {
        let alerts = page.series("ALERTS").filter(|alert| alert.label("alertname") == Some("Remembers")).count();
        ensure!(alerts == 1, "it does not fire");
        figure(page, "hostwatch_host_report_sequence", "one")
    };
    let before = server.eventually("twelve samples", DEADLINE, |page| remembers(page))?;
    // Neither the state of the fleet nor of the alerts: all that it knows comes from the host.
    server.kill()?;
    for file in ["fleet.state", "alerts.state"] {
        let _ = std::fs::remove_file(server.state_directory().join(file));
    }
    server.start_again()?;
    let after = server.eventually("it has them again", DEADLINE, |page| remembers(page))?;
    assert!(after < before + 12.0, "twelve new samples came meanwhile: {before} and {after}");
    Ok(())
}
