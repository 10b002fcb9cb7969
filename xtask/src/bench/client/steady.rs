//! A collection when nothing has changed: whether it allocates, and how long it takes. The plugins on this machine, in this
//! process, one behind the other without a pause.

use std::time::{Duration, Instant};

use allocation_counter::measure;
use anyhow::Result;
use hostwatch_client::{Source, Surroundings, load};
use hostwatch_plugins::{PLUGINS, Plugin, Samples};
use hostwatch_testkit::root;
use hostwatch_wire::Parameters;

use crate::bench::HOST;

/// After so many collections everything has the room that it needs.
const WARM_UP: u32 = 5;
/// A disk or an interface may come or go meanwhile, so that one of these has to be quiet.
const TRIES: u32 = 20;
/// Of so many collections the middle one tells how long it takes.
const TIMED: usize = 501;
/// What costs are compared with: the smallest file there is.
const UNIT: &str = "load";

pub(super) fn tell() -> Result<()> {
    // What plugins may touch is what the shipped settings say.
    let source = Source { file: root()?.join("packaging/config/client.toml"), optional: false };
    let access = load(&source, &Surroundings { hostname: HOST.to_owned(), ..Surroundings::default() })?.access;
    let (mut plugins, mut loud, mut values, mut costs) = (0, Vec::new(), 0, Vec::new());
    for descriptor in PLUGINS {
        let Ok(mut plugin) = descriptor.build(&access, &Parameters::new(), Duration::MAX) else { continue };
        let mut samples = Samples::new();
        let works = (0..WARM_UP).try_for_each(|_| samples.collect(&mut *plugin).map(drop));
        if !descriptor.on_by_default && works.is_err() {
            continue;
        }
        works?;
        costs.push((descriptor.name, cost(&mut *plugin, &mut samples)?));
        if !descriptor.on_by_default {
            continue;
        }
        let mut least = u64::MAX;
        for _ in 0..TRIES {
            let mut outcome = Ok(false);
            least = least.min(measure(|| outcome = samples.collect(&mut *plugin)).count_total);
            outcome?;
        }
        if least > 0 {
            loud.push(format!("{} ({least})", descriptor.name));
        }
        plugins += 1;
        values += samples.values().len();
    }
    let loud = if loud.is_empty() { "none".to_owned() } else { loud.join(", ") };
    println!("allocations while {plugins} default plugins collect {values} samples in steady state: {loud}");
    println!("  (a report of them takes a few for each service, however many samples it has)");
    let unit = costs.iter().find(|(name, _)| *name == UNIT).map_or(Duration::ZERO, |(_, cost)| *cost);
    println!("what a sample costs without a pause before it, in units of {UNIT}, which takes {unit:.1?}:");
    costs.iter().for_each(|(name, cost)| println!("{name} {:.1}", cost.as_secs_f64() / unit.as_secs_f64()));
    Ok(())
}

/// The time that a collection takes.
fn cost(plugin: &mut dyn Plugin, samples: &mut Samples) -> Result<Duration> {
    let mut taken = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let start = Instant::now();
        samples.collect(plugin)?;
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[TIMED / 2])
}
