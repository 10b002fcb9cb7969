//! What a sample of each plugin costs: one behind the other without a pause, in units of the smallest one.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_plugins::{Access, Descriptor, PLUGINS, Samples};
use hostwatch_wire::Parameters;

/// After so many collections everything has the room that it needs.
const WARM_UP: usize = 20;
/// Of so many collections the middle one tells.
const COLLECTIONS: usize = 1_001;
/// What the others are compared with: it reads the smallest file there is.
const UNIT: &str = "load";

pub(super) fn run() -> Result<()> {
    // The plugins run in this very process, which is no release build.
    if cfg!(debug_assertions) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let release = ["run", "--quiet", "--release", "--package", "xtask", "--", "bench", "plugins"];
        let exit = Command::new(cargo).args(release).status().context("run cargo")?;
        ensure!(exit.success(), "cargo run --release: {exit}");
        return Ok(());
    }
    let access = Access::default();
    let unit = hostwatch_plugins::find(UNIT).context("no unit")?;
    let unit = cost(unit, &access)?;
    println!("# in units of {UNIT}, which takes {unit:.1?}");
    for descriptor in PLUGINS {
        match cost(descriptor, &access) {
            Ok(cost) => println!("{} {:.1}", descriptor.name, cost.as_secs_f64() / unit.as_secs_f64()),
            Err(error) => println!("# {}: {error:#}", descriptor.name),
        }
    }
    Ok(())
}

/// The time that a collection takes when nothing has changed.
fn cost(descriptor: &Descriptor, access: &Access) -> Result<Duration> {
    let mut plugin = descriptor.build(access, &Parameters::new(), Duration::MAX)?;
    let mut samples = Samples::new();
    let mut taken = Vec::with_capacity(WARM_UP + COLLECTIONS);
    for _ in 0..WARM_UP + COLLECTIONS {
        let start = Instant::now();
        samples.collect(&mut *plugin)?;
        taken.push(start.elapsed());
    }
    let measured = &mut taken[WARM_UP..];
    measured.sort_unstable();
    Ok(measured[COLLECTIONS / 2])
}
