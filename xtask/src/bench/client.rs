//! What it costs a host to be watched: hostwatch-client beside node_exporter and collectd, all three in one run.

mod peers;
mod steady;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_client::{RingStatus, Status, wall_millis};
use hostwatch_testkit::{Client, Page, Process, Profile, Redis, Server, ServerSetup, Signal, build, require, root};
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

use super::{DEADLINE, HOST, start_client};
use crate::copy::copy_folder;
use crate::install::install;
use peers::{Collectd, Exporter};

/// Samples before the first measurement: what is made once has been made by then.
const WARM_UP: u32 = 20;
/// The most samples over which system calls are counted, which slows down whoever makes them.
const TRACED: u32 = 50;
/// The page of the server is read once in so many samples.
const PAGE_EVERY: u32 = 10;
/// The service that the others are compared with: it reads the smallest file there is.
const UNIT: &str = "load";

/// One figure for each: hostwatch-client, node_exporter, collectd.
type Three = [f64; 3];

pub(super) fn run(samples: u32, interval: Duration) -> Result<()> {
    install(&["prometheus-node-exporter", "collectd", "strace"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(samples, interval))
}

async fn measure(samples: u32, interval: Duration) -> Result<()> {
    let mut trio = Trio::start(interval)?;
    trio.pace(WARM_UP).await?;
    trio.durations.clear();
    let (cpu, series) = trio.cpu(samples).await?;
    let durations = std::mem::take(&mut trio.durations);
    let ring = trio.ring()?;
    let (resident, anonymous) = (trio.memory("VmRSS")?, trio.memory("RssAnon")?);
    trio.exporter.uncompressed();
    let (uncompressed, _) = trio.cpu(samples).await?;
    let calls = trio.calls(samples.min(TRACED)).await?;

    println!(
        "{samples} samples, one every {interval:?}, of all three at once; node_exporter is asked as Prometheus asks, \
         compressed over a connection that is kept:"
    );
    println!("{:26}{:>11} {:>14} {:>11}   ratio", "", "hostwatch", "node_exporter", "collectd");
    row("series", series);
    row("CPU a sample, µs", cpu);
    row("CPU a series, µs", std::array::from_fn(|of| cpu[of] / series[of]));
    row("CPU, uncompressed, µs", uncompressed);
    row("system calls a sample", calls);
    row("resident, KiB", resident);
    row("of that not of files, KiB", anonymous);
    tell_ring(&ring, resident[0]);
    tell_costs(&durations);
    steady::tell()
}

fn row(name: &str, figures: Three) {
    let [ours, exporter, collectd] = figures;
    let (exporter_ratio, collectd_ratio) = (exporter / ours, collectd / ours);
    let digits = if ours < 10.0 { 2 } else { 0 };
    println!(
        "  {name:24}{ours:>11.digits$} {exporter:>14.digits$} {collectd:>11.digits$}   1 : {exporter_ratio:.2} : {collectd_ratio:.2}"
    );
}

fn tell_ring(ring: &RingStatus, resident: f64) {
    let held = ring.bytes as f64 / 1024.0;
    let beside = resident - held;
    println!(
        "the ring held {held:.0} KiB in {} reports (15 min and 16 MiB are its bounds): {beside:.0} KiB are resident beside it",
        ring.reports
    );
}

/// What a run of each service takes; nothing where a plugin rests because there is nothing to report.
fn tell_costs(durations: &BTreeMap<String, Vec<f64>>) {
    let median = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let medians = || durations.iter().map(|(service, values)| (service.as_str(), median(values)));
    let unit = medians().find(|(service, _)| *service == UNIT).map_or(f64::NAN, |(_, median)| median);
    let total: f64 = medians().map(|(_, median)| median).sum();
    let mut costs: Vec<_> = medians().filter(|(_, median)| *median > 0.0).collect();
    costs.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    println!("the median of what all services take is {total:.0} µs, of that {UNIT} {unit:.0} µs; in units of it:");
    let named = costs.iter().map(|(service, median)| format!("{service} {:.1}", median / unit));
    println!("  {}", named.collect::<Vec<_>>().join(", "));
}

/// All that runs; it ends in this order.
struct Trio {
    client: Client,
    exporter: Exporter,
    collectd: Collectd,
    server: Server,
    _redis: Redis,
    directory: TempDir,
    interval: Duration,
    /// What the runs of each service took, in µs.
    durations: BTreeMap<String, Vec<f64>>,
}

/// How far everything has come.
struct Look {
    at: Instant,
    cpu: [Duration; 3],
    /// Reports, scrapes and values.
    samples: Three,
}

impl Trio {
    /// Starts everything, with the shipped services at one interval, and waits until the client runs them.
    fn start(interval: Duration) -> Result<Self> {
        let programs = build(Profile::Release)?;
        let directory = tempfile::tempdir()?;
        let redis = Redis::start()?;
        let shipped = root()?.join("packaging/config");
        copy_folder(&shipped, &directory.path().join("server/config"))?;
        let templates = std::fs::read_to_string(shipped.join("templates.toml"))?;
        let words = templates.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let variables: BTreeSet<&str> = words.filter(|word| word.ends_with("_interval")).collect();
        let set = |name| format!("{name} = \"{}ms\"", interval.as_millis());
        let variables: Vec<String> = variables.into_iter().map(set).collect();
        let hosts = format!("[hosts.{HOST}]\ntemplates = [\"linux\"]\nvars = {{ {} }}\n", variables.join(", "));
        let mut server = Server::start(&ServerSetup {
            redis_url: redis.unix_url(),
            directory: Some(directory.path().join("server")),
            files: vec![("hosts.toml".to_owned(), hosts)],
            program: Some(programs.server),
            ..ServerSetup::default()
        })?;
        let client = start_client(&redis, &mut server, programs.client)?;
        let exporter = Exporter::start(directory.path())?;
        let collectd = Collectd::start(directory.path(), interval)?;
        let durations = BTreeMap::new();
        Ok(Self { client, exporter, collectd, server, _redis: redis, directory, interval, durations })
    }

    fn processes(&self) -> [&Process; 3] {
        [&self.client.process, &self.exporter.process, &self.collectd.process]
    }

    /// Lets them take `samples` samples: the client and collectd by themselves, node_exporter because it is asked.
    async fn pace(&mut self, samples: u32) -> Result<()> {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for sample in 0..samples {
            ticks.tick().await;
            self.exporter.scrape()?;
            self.collectd.receive()?;
            if sample % PAGE_EVERY == 0 {
                self.note_durations(&self.server.page()?);
            }
        }
        ticks.tick().await;
        Ok(())
    }

    fn note_durations(&mut self, page: &Page) {
        for sample in page.series("hostwatch_host_service_duration_seconds") {
            let service = sample.label("service").unwrap_or_default().to_owned();
            self.durations.entry(service).or_default().push(sample.value * 1e6);
        }
    }

    fn look(&mut self) -> Result<Look> {
        self.collectd.receive()?;
        let page = self.server.page()?;
        let reports = page.value("hostwatch_host_report_sequence", &[("instance", HOST)]).context("no reports")?;
        let mut cpu = [Duration::ZERO; 3];
        for (cpu, process) in cpu.iter_mut().zip(self.processes()) {
            *cpu = process.cpu_time()?;
        }
        Ok(Look { at: Instant::now(), cpu, samples: [reports, self.exporter.scrapes, self.collectd.values] })
    }

    /// What each sample of each one takes, in µs of CPU, and how many series it has.
    async fn cpu(&mut self, samples: u32) -> Result<(Three, Three)> {
        let before = self.look()?;
        self.pace(samples).await?;
        let after = self.look()?;
        let cpu = std::array::from_fn(|of| (after.cpu[of] - before.cpu[of]).as_secs_f64() * 1e6);
        let page = self.server.page()?;
        let ours = page.samples.iter().filter(|sample| sample.name.starts_with("node_")).count() as f64;
        let series = [ours, self.exporter.series, self.collectd_series(&before, &after)];
        Ok((self.each(cpu, &before, &after), series))
    }

    /// How many system calls each sample of each one takes.
    async fn calls(&mut self, samples: u32) -> Result<Three> {
        let tracers = self.trace()?;
        let before = self.look()?;
        self.pace(samples).await?;
        let after = self.look()?;
        Ok(self.each(calls(tracers)?, &before, &after))
    }

    /// Figures of the time between two looks, by their samples. What collectd sends are values, as many a sample as it has
    /// series.
    fn each(&self, figures: Three, before: &Look, after: &Look) -> Three {
        let of = |index: usize| figures[index] / (after.samples[index] - before.samples[index]);
        [of(0), of(1), of(2) * self.collectd_series(before, after)]
    }

    /// How many values collectd sends each interval.
    fn collectd_series(&self, before: &Look, after: &Look) -> f64 {
        let rounds = (after.at - before.at).as_secs_f64() / self.interval.as_secs_f64();
        ((after.samples[2] - before.samples[2]) / rounds).round()
    }

    /// A line of each one's /proc/PID/status, in KiB.
    fn memory(&self, line: &str) -> Result<Three> {
        let mut memory = [0.0; 3];
        for (memory, process) in memory.iter_mut().zip(self.processes()) {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
            let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
            *memory = value.and_then(|value| value.trim().strip_suffix(" kB")).context("no memory")?.parse()?;
        }
        Ok(memory)
    }

    /// What the client's ring holds now: its status is written anew within seconds.
    fn ring(&mut self) -> Result<RingStatus> {
        let (file, now) = (self.client.status_file(), wall_millis());
        self.client.process.eventually("the client tells what its ring holds", DEADLINE, |_| {
            let status: Status = serde_json::from_slice(&std::fs::read(&file)?)?;
            ensure!(status.time_ms >= now, "not yet");
            Ok(status.ring)
        })
    }

    fn trace(&self) -> Result<[Process; 3]> {
        let [client, exporter, collectd] = self.processes();
        let directory = self.directory.path();
        Ok([trace(client, directory)?, trace(exporter, directory)?, trace(collectd, directory)?])
    }
}

/// Begins to count the system calls of a process.
fn trace(process: &Process, directory: &Path) -> Result<Process> {
    let mut command = Command::new(require("strace")?);
    command.args(["-f", "-c", "-p"]).arg(process.pid().to_string());
    let name = format!("strace of {}", process.name());
    let mut tracer = Process::start(&name, &command, &directory.join(&name))?;
    tracer.eventually("it is attached", DEADLINE, |tracer| {
        ensure!(tracer.log().contains(" attached"), "not yet");
        Ok(())
    })?;
    Ok(tracer)
}

/// Ends the counting. The last line has the calls in its fourth column.
fn calls(tracers: [Process; 3]) -> Result<Three> {
    let mut calls = [0.0; 3];
    for (calls, mut tracer) in calls.iter_mut().zip(tracers) {
        tracer.signal(Signal::INT)?;
        tracer.wait_exit(DEADLINE)?;
        let log = tracer.log();
        let total = log.lines().rfind(|line| line.ends_with(" total")).context("strace has no total")?;
        *calls = total.split_whitespace().nth(3).context("a short total")?.parse()?;
    }
    Ok(calls)
}
