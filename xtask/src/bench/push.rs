//! How long a configuration change takes to a host and back, as an operator sees it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::eventually_every;

use super::{DEADLINE, Rig, revision, services};

/// Between two looks at the page; the look itself takes about as long again.
const INTERVAL: Duration = Duration::from_micros(200);

pub(super) fn run(runs: u32) -> Result<()> {
    let rig = Rig::start()?;
    let mut times = Vec::new();
    for run in 0..runs {
        times.push(push(&rig, if run % 2 == 0 { "20s" } else { "10s" })?);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
    println!("SIGHUP until `applied` is on the page, {runs} runs, in ms:");
    for (name, time) in [("min", times[0]), ("median", at(0.5)), ("p95", at(0.95))] {
        println!("  {name:6} {:8.2}", time.as_secs_f64() * 1000.0);
    }
    Ok(())
}

/// One edit, and the time until the host has reported a revision that it had not before.
fn push(rig: &Rig, load_interval: &str) -> Result<Duration> {
    let before = revision(&rig.server.page()?, "applied").context("nothing applied")?.to_owned();
    rig.server.write("services/bench.toml", &services(load_interval))?;
    let start = Instant::now();
    rig.server.reload()?;
    eventually_every(INTERVAL, "the edit is applied", DEADLINE, || {
        let page = rig.server.page()?;
        let now = revision(&page, "applied").context("nothing applied")?;
        ensure!(now != before, "still {now}");
        Ok(start.elapsed())
    })
}
