//! Whether a collection allocates when nothing has changed: the default plugins on this machine, in this process.

use std::time::Duration;

use allocation_counter::measure;
use anyhow::Result;
use hostwatch_client::{Source, Surroundings, load};
use hostwatch_plugins::{PLUGINS, Samples};
use hostwatch_testkit::root;
use hostwatch_wire::Parameters;

use crate::bench::HOST;

/// After so many collections everything has the room that it needs.
const WARM_UP: u32 = 5;
/// A disk or an interface may come or go meanwhile, so that one of these has to be quiet.
const TRIES: u32 = 20;

pub(super) fn tell() -> Result<()> {
    // What plugins may touch is what the shipped settings say.
    let source = Source { file: root()?.join("packaging/config/client.toml"), optional: false };
    let access = load(&source, &Surroundings { hostname: HOST.to_owned(), ..Surroundings::default() })?.access;
    let (mut plugins, mut loud, mut values) = (0, Vec::new(), 0);
    for descriptor in PLUGINS.iter().filter(|descriptor| descriptor.on_by_default) {
        let mut plugin = descriptor.build(&access, &Parameters::new(), Duration::MAX)?;
        let mut samples = Samples::new();
        for _ in 0..WARM_UP {
            samples.collect(&mut *plugin)?;
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
    Ok(())
}
