//! Faults, one by one: afterwards every report that a ring held has arrived, each once, the books balance with nothing
//! outstanding, nobody was announced as down without being so, nobody panicked, and no process takes more memory.

mod clock;
mod daemons;
mod links;
mod network;
mod redis;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Server, ServerSetup, eventually};

use crate::fleet::{ANY_HOST, DEADLINE, TEMPLATES, books, figure, files, is_up};

/// Everything is quick, so that what takes minutes in production takes seconds here. As for `down_after`, clients need up to
/// 5 s to find a Redis that returned, and less than twice as much has false alarms.
const SETTINGS: &str = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"10s\"\n[delivery]\nack_interval = \"1s\"\n";

/// Longer than `down_after`: a host that is silent for so long is down, unless something excuses it.
const OUTAGE: Duration = Duration::from_secs(12);

/// So many that they may be called a fleet when they fall silent at once.
const HOSTS: [&str; 3] = ["one", "two", "three"];

/// So much memory a process may take beside a fifth more than before a fault.
const ROOM: f64 = (8 << 20) as f64;

/// A server and three clients that have reported.
struct Rig {
    redis: Redis,
    server: Server,
    /// Those of the hosts come first, in their order.
    clients: Vec<Client>,
    /// What was counted before the fault, by host.
    before: BTreeMap<&'static str, Counts>,
    /// What each process took before the fault, by its name: whatever takes its place may take as much.
    resident: BTreeMap<String, u64>,
    /// What may be announced, and of which host: everything else would be false.
    true_alerts: Vec<(&'static str, Option<&'static str>)>,
}

/// How a rig differs from one whose daemons all reach Redis directly.
#[derive(Default)]
struct RigSetup {
    /// Under which URL the server reaches Redis.
    server_url: Option<String>,
    /// Under which URL the clients reach Redis.
    clients_url: Option<String>,
    /// With what the client of the host `one` is started, if it is another.
    first: Option<ClientSetup>,
    /// How often each host reports; default: every second.
    interval: Option<&'static str>,
}

/// What the server counted of a host, over all its epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// The highest report of the current epoch.
    sequence: f64,
    lost: f64,
    duplicate: f64,
    resent: f64,
}

impl Counts {
    fn read(page: &Page, host: &str) -> Result<Self> {
        let of = |name: &str| figure(page, &format!("hostwatch_host_reports_{name}_total"), host);
        let sequence = figure(page, "hostwatch_host_report_sequence", host)?;
        Ok(Self { sequence, lost: of("lost")?, duplicate: of("duplicate")?, resent: of("resent")? })
    }
}

/// What a fault has cost, by host.
struct Toll {
    page: Page,
    /// What was counted since before the fault.
    hosts: BTreeMap<&'static str, Counts>,
}

impl Toll {
    /// Nothing of these hosts was lost, missing for a while, or came twice.
    fn is_nothing_for(&self, hosts: &[&str]) {
        for host in hosts {
            let Counts { lost, duplicate, resent, .. } = self.hosts[host];
            assert_eq!((lost, duplicate, resent), (0.0, 0.0, 0.0), "lost, duplicate and resent of {host}");
        }
    }

    /// Reports that had been published and were not heard have come again.
    fn has_filled_gaps(&self) {
        assert!(self.hosts.values().any(|counts| counts.resent > 0.0), "nothing was sent again: {:?}", self.hosts);
    }
}

impl Rig {
    fn start() -> Result<Self> {
        Self::start_with(Redis::start()?, RigSetup::default())
    }

    fn start_with(redis: Redis, setup: RigSetup) -> Result<Self> {
        let mut files = files(SETTINGS, ANY_HOST);
        if let Some(interval) = setup.interval {
            files.retain(|(name, _)| name != "templates.toml");
            files.push(("templates.toml".to_owned(), TEMPLATES.replace("\"1s\"", &format!("\"{interval}\""))));
        }
        let redis_url = setup.server_url.unwrap_or_else(|| redis.url());
        let mut server = Server::start(&ServerSetup { redis_url, files, ..ServerSetup::default() })?;
        let redis_url = setup.clients_url.unwrap_or_else(|| redis.url());
        let other = ClientSetup { redis_url, ..ClientSetup::default() };
        let first = setup.first.unwrap_or_else(|| other.clone());
        let setups = HOSTS.iter().zip([first, other.clone(), other]);
        let clients =
            setups.map(|(host, setup)| Client::start(&ClientSetup { host: Some((*host).to_owned()), ..setup }));
        let clients = clients.collect::<Result<Vec<_>>>()?;
        let before = server.eventually("all hosts report", DEADLINE, |page| {
            let counted = HOSTS.iter().map(|host| {
                is_up(page, host)?;
                ensure!(books(page, host)?.received >= 3.0, "{host} has hardly reported");
                Ok((*host, Counts::read(page, host)?))
            });
            counted.collect()
        })?;
        let processes = clients.iter().map(|client| &client.process).chain([&server.process]);
        let resident = processes.map(|process| Ok((process.name().to_owned(), process.resident_bytes()?)));
        let resident = resident.collect::<Result<_>>()?;
        // That our own link was away is true whenever it is said.
        let true_alerts = vec![("RedisLinkDown", None)];
        Ok(Self { redis, server, clients, before, resident, true_alerts })
    }

    /// Waits until nobody has been heard for longer than anything but the fault excuses.
    fn wait_for_an_outage(&mut self) -> Result<()> {
        HOSTS.iter().try_for_each(|host| self.wait_for_silence_of(host, OUTAGE))
    }

    /// Waits until `host` was not heard for so long, and does not count as up.
    fn wait_for_silence_of(&mut self, host: &str, time: Duration) -> Result<()> {
        self.server.eventually(&format!("{host} is silent"), DEADLINE, |page| {
            ensure!(figure(page, "hostwatch_host_up", host)? == 0.0, "{host} is heard");
            let heard = figure(page, "hostwatch_host_last_report_timestamp_seconds", host)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
            ensure!(now - heard >= time.as_secs_f64(), "it was heard {:.1} s ago", now - heard);
            Ok(())
        })
    }

    /// Ends the server with SIGKILL, and starts it again after so long. It counts anew.
    fn kill_the_server_for(&mut self, time: Duration) -> Result<()> {
        self.server.kill()?;
        time_passes(time)?;
        self.server.start_again()?;
        for counts in self.before.values_mut() {
            *counts = Counts { sequence: counts.sequence, ..Counts::default() };
        }
        Ok(())
    }

    /// Waits until the fault is over for all hosts; then nothing is lost.
    fn recovers(&mut self) -> Result<Toll> {
        let toll = self.settles()?;
        for (host, counts) in &toll.hosts {
            ensure!(books(&toll.page, host)?.lost == 0.0 && counts.lost == 0.0, "{host} has lost reports: {counts:?}");
        }
        Ok(toll)
    }

    /// What holds after every fault: all hosts report again, nothing is outstanding, nothing came more than once that was not
    /// under way during the fault, no false alert was raised and none is left, nobody panicked, and every process takes about
    /// the memory that it took before.
    fn settles(&mut self) -> Result<Toll> {
        let sequence = |page: &Page, host: &str| figure(page, "hostwatch_host_report_sequence", host);
        let before = self.server.page()?;
        let page = self.server.eventually("all hosts are whole again", DEADLINE, |page| {
            for host in HOSTS {
                is_up(page, host)?;
                let outstanding = books(page, host)?.outstanding;
                ensure!(outstanding == 0.0, "{outstanding} reports of {host} are outstanding");
                let is_heard = sequence(page, host)? > sequence(&before, host).unwrap_or_default();
                ensure!(is_heard, "{host} has not reported again");
            }
            let firing = page.series("ALERTS").next();
            ensure!(firing.is_none(), "{firing:?} is left");
            Ok(page.clone())
        })?;
        let mut hosts = BTreeMap::new();
        for (host, before) in &self.before {
            let now = Counts::read(&page, host)?;
            let counts = Counts {
                sequence: now.sequence - before.sequence,
                lost: now.lost - before.lost,
                duplicate: now.duplicate - before.duplicate,
                resent: now.resent - before.resent,
            };
            // In another epoch everything is new.
            let made = if counts.sequence < 0.0 { now.sequence } else { counts.sequence };
            ensure!(counts.duplicate <= made, "of {made} reports of {host} {} came again", counts.duplicate);
            hosts.insert(*host, counts);
        }
        self.nothing_false_was_announced()?;
        self.nobody_has_suffered()?;
        Ok(Toll { page, hosts })
    }

    fn nothing_false_was_announced(&self) -> Result<()> {
        for (alert, host) in self.announced()? {
            let is_true = |(name, whose): &(&str, Option<&str>)| *name == alert && *whose == host.as_deref();
            ensure!(self.true_alerts.iter().any(is_true), "{alert} of {host:?} was announced");
        }
        Ok(())
    }

    /// The alerts that have fired, with their hosts.
    fn announced(&self) -> Result<Vec<(String, Option<String>)>> {
        let (_, events) = self.server.get("/api/v1/events")?;
        let events: serde_json::Value = serde_json::from_str(&events)?;
        let fired = events["events"].as_array().context("no events")?.iter().filter(|event| event["to"] == "firing");
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        fired.map(|event| Ok((text(&event["alertname"]).context("no name")?, text(&event["host"])))).collect()
    }

    /// Nobody has panicked, in any of its lives, and who lives takes about the memory that it took before.
    fn nobody_has_suffered(&mut self) -> Result<()> {
        let clients = self.clients.iter_mut().map(|client| &mut client.process);
        for process in clients.chain([&mut self.server.process]) {
            ensure!(!process.history().contains("panicked"), "{}", process.show_log());
            let Some(before) = self.resident.get(process.name()) else { continue };
            if process.exited()?.is_none() {
                let (before, after) = (*before as f64, process.resident_bytes()? as f64);
                let name = process.name();
                ensure!(
                    after <= before * 1.2 + ROOM,
                    "{name} took {before} bytes before the fault, and {after} after it"
                );
            }
        }
        Ok(())
    }
}

/// Waits for so long.
fn time_passes(time: Duration) -> Result<()> {
    let begin = Instant::now();
    eventually("time passes", DEADLINE, || {
        ensure!(begin.elapsed() >= time, "not yet");
        Ok(())
    })
}
