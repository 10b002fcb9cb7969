//! `cargo xtask bench`: figures of the release build, printed and never asserted, since machines differ; only the soak fails,
//! when anything was lost.

mod client;
mod idle;
mod judge;
mod plugins;
mod push;
mod soak;
mod swarm;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use hostwatch_testkit::{Client, ClientSetup, Page, Profile, Redis, Server, ServerSetup, build};

use crate::install::install;
use soak::Soak;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The time from SIGHUP after an edit of a template until the client's `applied` is on the server's page.
    Push {
        /// How many edits.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
    },
    /// CPU time of server and client at rest, with Redis up and with Redis away.
    Idle {
        /// How long each of the two is watched.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: u64,
    },
    /// What it costs a host to be watched: CPU time, system calls and memory of the client with the shipped services, beside
    /// node_exporter, scraped at the same pace, and collectd. Also what the plugins allocate in steady state.
    Client {
        /// How many samples.
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..))]
        samples: u32,
        /// The time from one sample to the next, 100 ms or more.
        #[arg(long, default_value = "1s", value_parser = parse_interval)]
        interval: Duration,
    },
    /// What a sample of each plugin costs on this machine, without a pause before it, in units of the smallest one.
    Plugins,
    /// The time to judge one report of 500 series with 50 triggers, beside a Prometheus that evaluates the same rules over the
    /// same series; then 10,000 hosts with 20 triggers each.
    Judge {
        /// How many seconds of reports are judged.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..))]
        seconds: u64,
        /// How many hosts there are in the second part.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
        hosts: u32,
    },
    /// Faults of Redis, the server, a client and the ways between them, one every 20 s, while a fleet reports each second; fails
    /// when a report was lost, and names its host.
    Soak(Soak),
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        install(&["redis-server"])?;
        match self {
            Self::Client { samples, interval } => client::run(*samples, *interval),
            Self::Plugins => plugins::run(),
            Self::Judge { seconds, hosts } => judge::run(Duration::from_secs(*seconds), *hosts),
            Self::Soak(soak) => soak.run(),
            Self::Push { runs } => push::run(*runs),
            Self::Idle { seconds } => idle::run(Duration::from_secs(*seconds)),
        }
    }
}

/// The client runs no service more often.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

fn parse_interval(text: &str) -> Result<Duration> {
    let interval = humantime::parse_duration(text)?;
    ensure!(interval >= MIN_INTERVAL, "not {MIN_INTERVAL:?} or more");
    Ok(interval)
}

/// The id of the one host.
const HOST: &str = "bench";

const DEADLINE: Duration = Duration::from_secs(60);

/// One of each; they end in this order.
struct Rig {
    client: Client,
    server: Server,
    redis: Redis,
}

impl Rig {
    /// Starts all three and waits until the client runs what the server wants it to run.
    fn start() -> Result<Self> {
        let programs = build(Profile::Release)?;
        let redis = Redis::start()?;
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let mut server = Server::start(&ServerSetup {
            redis_url: redis.unix_url(),
            files: vec![
                file("hosts.toml", &format!("[hosts.{HOST}]\ntemplates = [\"bench\"]\n")),
                file("templates.toml", "[templates.bench]\nservices = [\"cpu\", \"load\", \"memory\"]\n"),
                file("services/bench.toml", &services("10s")),
            ],
            program: Some(programs.server),
            ..ServerSetup::default()
        })?;
        let client = start_client(&redis, &mut server, programs.client)?;
        Ok(Self { client, server, redis })
    }
}

/// Starts the one host's client and waits until it runs what the server wants it to run.
fn start_client(redis: &Redis, server: &mut Server, program: PathBuf) -> Result<Client> {
    let client = Client::start(&ClientSetup {
        host: Some(HOST.to_owned()),
        redis_url: redis.unix_url(),
        program: Some(program),
        ..ClientSetup::default()
    })?;
    server.eventually("the first config is applied", DEADLINE, |page| {
        let applied = revision(page, "applied").context("nothing applied")?;
        (revision(page, "wanted") == Some(applied)).then_some(()).context("another one is wanted")
    })?;
    Ok(client)
}

/// The services file, with the interval of one of them.
fn services(load_interval: &str) -> String {
    format!(
        "[services.cpu]\nplugin = \"cpu\"\ninterval = \"10s\"\n\n\
         [services.load]\nplugin = \"load\"\ninterval = \"{load_interval}\"\n\n\
         [services.memory]\nplugin = \"memory\"\ninterval = \"10s\"\n"
    )
}

/// The host's revision in a state, `wanted` or `applied`, as the page has it.
fn revision<'a>(page: &'a Page, state: &'a str) -> Option<&'a str> {
    let mut series = page.series("hostwatch_host_config_revision_info");
    series.find(|sample| sample.has(&[("instance", HOST), ("state", state)]))?.label("revision")
}
