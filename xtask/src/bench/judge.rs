//! What judging costs: the server's own measurement of it, for reports that a swarm of hosts sends.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Profile, Prometheus, Redis, Server, ServerSetup, build, get};
use hostwatch_wire::{EncodedLayout, Family, Label, Layout, MetricType, Series, Suffix};
use tokio::time::{MissedTickBehavior, interval};

use super::swarm::{Swarm, with_swarm};
use crate::install::install;

const DEADLINE: Duration = Duration::from_secs(120);
/// What Prometheus writes on its own page.
const RULE_SECONDS: &str = "prometheus_rule_group_last_duration_seconds";

/// The series of the first part: 50 families of 10, each read by one trigger.
const FAMILIES: usize = 50;
const SERIES: usize = 10;
/// Reports that follow each other at once at the end of the first part.
const IN_A_ROW: u32 = 100;
/// Triggers of each host in the second part.
const TRIGGERS: usize = 20;

pub(super) fn run(duration: Duration, hosts: u32) -> Result<()> {
    install(&["prometheus"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(one_host(duration))?;
    runtime.block_on(many_hosts(duration, hosts))
}

/// The expression of one trigger: a third compare, a third aggregate, a third range over the last minute.
fn expression(family: usize) -> String {
    match family % 3 {
        0 => format!("bench_{family} > 1e9"),
        1 => format!("sum by (part) (bench_{family}) / 10 > 1e9"),
        _ => format!("max(rate(bench_{family}[1m])) > 1e9"),
    }
}

fn layout(families: usize) -> EncodedLayout {
    let families = (0..families).map(|family| Family {
        name: format!("bench_{family}"),
        kind: MetricType::Gauge,
        help: "A series to be judged.".to_owned(),
        series: (0..SERIES)
            .map(|series| Series {
                suffix: Suffix::None,
                labels: vec![
                    Label { name: "device".to_owned(), value: format!("device-{series}") },
                    Label { name: "part".to_owned(), value: format!("part-{}", series % 2) },
                ],
            })
            .collect(),
    });
    EncodedLayout::new(&Layout { families: families.collect() })
}

fn start(redis: &Redis, triggers: usize) -> Result<Server> {
    let mut services = "[services.bench]\nplugin = \"bench\"\ninterval = \"1s\"\n".to_owned();
    for family in 0..triggers {
        let expression = expression(family);
        write!(services, "[[services.bench.triggers]]\nalert = \"Bench{family}\"\nexpr = '{expression}'\n")?;
    }
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    Server::start(&ServerSetup {
        redis_url: redis.unix_url(),
        files: vec![
            file("hosts.toml", "[[match]]\nhost = \"*\"\ntemplates = [\"bench\"]\n"),
            file("templates.toml", "[templates.bench]\nservices = [\"bench\"]\n"),
            file("services/bench.toml", &services),
        ],
        program: Some(build(Profile::Release)?.server),
        ..ServerSetup::default()
    })
}

/// What the server measured so far.
#[derive(Clone, Copy)]
struct Judged {
    reports: f64,
    seconds: f64,
    evaluations: f64,
}

impl Judged {
    fn read(page: &Page) -> Result<Self> {
        let value = |name: &str| page.value(name, &[]).with_context(|| format!("no {name}"));
        let dropped = value("hostwatch_judge_reports_dropped_total")? + value("hostwatch_inbox_dropped_total")?;
        ensure!(dropped == 0.0, "{dropped} reports were dropped: the figures would flatter");
        Ok(Self {
            reports: value("hostwatch_judge_report_duration_seconds_count")?,
            seconds: value("hostwatch_judge_report_duration_seconds_sum")?,
            evaluations: page.series("hostwatch_rule_evaluations_total").map(|sample| sample.value).sum(),
        })
    }

    /// Microseconds for one report since `before`.
    fn each(self, before: Self) -> f64 {
        (self.seconds - before.seconds) * 1e6 / (self.reports - before.reports)
    }
}

async fn joined(server: &mut Server, swarm: &Swarm, hosts: u32) -> Result<()> {
    let known = |page: &Page| page.series("hostwatch_hosts").map(|sample| sample.value).sum::<f64>();
    let (start, mut seconds) = (Instant::now(), interval(Duration::from_secs(1)));
    // New hosts are let in at a rate: those that were turned away say hello again, as clients do.
    while known(&server.page()?) < f64::from(hosts) && start.elapsed() < DEADLINE {
        seconds.tick().await;
        swarm.join().await?;
    }
    server.eventually("all hosts have joined", DEADLINE, |page| {
        ensure!(known(page) == f64::from(hosts), "{}", known(page));
        // A host's key is written once its reports are listened to.
        let unwritten = page.value("hostwatch_outbox_keys", &[]).context("no count of keys")?;
        ensure!(unwritten == 0.0, "{unwritten} keys are not written");
        Ok(())
    })
}

async fn one_host(duration: Duration) -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start(&redis, FAMILIES)?;
    let mut rules = "groups:\n- name: bench\n  interval: 1s\n  rules:\n".to_owned();
    for family in 0..FAMILIES {
        writeln!(rules, "  - alert: Bench{family}\n    expr: {}", expression(family))?;
    }
    let scrape =
        format!("- job_name: node\n  honor_labels: true\n  static_configs:\n  - targets: ['{}']\n", server.address());
    let prometheus = Prometheus::start_with_rules(&scrape, &rules)?;
    let layout = layout(FAMILIES);
    let (mut ours, mut theirs, mut in_a_row) = (Vec::new(), Vec::new(), f64::NAN);
    with_swarm(&redis.unix_url(), 1, async |swarm| {
        joined(&mut server, swarm, 1).await?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        for second in 0..duration.as_secs() {
            ticks.tick().await;
            let values: Vec<f64> = (0..FAMILIES * SERIES).map(|series| (series as f64) + second as f64).collect();
            swarm.report("bench", &layout, &values).await?;
            let judged = Judged::read(&server.page()?)?;
            // The ranges fill during the first half.
            if let Some(before) =
                before.filter(|before: &Judged| second * 2 > duration.as_secs() && judged.reports > before.reports)
            {
                ours.push(judged.each(before));
                let own = Page::parse(&get(&prometheus.url("/metrics"))?.1)?;
                theirs.extend(own.series(RULE_SECONDS).map(|sample| sample.value * 1e6));
            }
            before = Some(judged);
        }
        let before = Judged::read(&server.page()?)?;
        for _ in 0..IN_A_ROW {
            swarm.report("bench", &layout, &[1.0; FAMILIES * SERIES]).await?;
        }
        let after = server.eventually("the last reports are judged", DEADLINE, |page| {
            let judged = Judged::read(page)?;
            ensure!(judged.reports >= before.reports + f64::from(IN_A_ROW), "{} reports", judged.reports);
            Ok(judged)
        })?;
        in_a_row = after.each(before);
        Ok(())
    })
    .await?;
    let (ours, theirs) = (median(&mut ours)?, median(&mut theirs)?);
    let samples = duration.as_secs().min(60);
    println!("one report of {} series, {FAMILIES} triggers, ranges of up to {samples} samples:", FAMILIES * SERIES);
    println!("  hostwatch {ours:.0} µs   Prometheus, the same rules once {theirs:.0} µs   ratio {:.3}", ours / theirs);
    println!("  {IN_A_ROW} such reports in a row, with all that it needs at hand: {in_a_row:.0} µs each");
    Ok(())
}

async fn many_hosts(duration: Duration, hosts: u32) -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start(&redis, TRIGGERS)?;
    let layout = layout(TRIGGERS);
    let rounds = (duration.as_secs() / 10).max(3);
    let (first, last) = with_swarm(&redis.unix_url(), hosts, async |swarm| {
        joined(&mut server, swarm, hosts).await?;
        let mut judged = Vec::new();
        for round in 0..rounds {
            let values: Vec<f64> = (0..TRIGGERS * SERIES).map(|series| (series as f64) + round as f64).collect();
            swarm.report("bench", &layout, &values).await?;
            let expected = f64::from(hosts) * (round + 1) as f64;
            judged.push(server.eventually("the round is judged", DEADLINE, |page| {
                let judged = Judged::read(page)?;
                ensure!(judged.reports >= expected, "{} of {expected} reports", judged.reports);
                Ok(judged)
            })?);
        }
        let ends = judged.first().zip(judged.last()).context("no round")?;
        Ok((*ends.0, *ends.1))
    })
    .await?;
    let each = last.each(first);
    let resident = server.process.resident_bytes()? as f64 / f64::from(1 << 20);
    println!("{hosts} hosts, {TRIGGERS} triggers over {} series each, {rounds} rounds of reports:", TRIGGERS * SERIES);
    println!(
        "  {each:.1} µs a report, {:.2} s a round, {:.1} M evaluations, {resident:.0} MiB resident",
        each * f64::from(hosts) / 1e6,
        (last.evaluations - first.evaluations) / 1e6
    );
    Ok(())
}

fn median(figures: &mut [f64]) -> Result<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().context("nothing was measured")
}
