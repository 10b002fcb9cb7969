//! The plugins over this machine, compared with what sysinfo says about it and with itself a little later.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use hostwatch_plugins::{Access, PLUGINS, Roots, Samples, facts, find};
use hostwatch_wire::Parameters;

fn collect(name: &str) -> Samples {
    let mut plugin = find(name).unwrap().build(&Access::default(), &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    samples.begin();
    plugin.collect(&mut samples).unwrap();
    samples.finish().unwrap();
    samples
}

#[test]
fn every_plugin_works_here() {
    for descriptor in PLUGINS.iter().filter(|plugin| !["exec", "scrape", "textfile"].contains(&plugin.name)) {
        let samples = collect(descriptor.name);
        // What this machine does not have is no error, and gives no samples.
        assert_eq!(samples.values().len(), samples.layout().len(), "{}", descriptor.name);
    }
}

#[test]
fn memory_and_processors_are_those_of_the_facts() {
    let facts = facts(&Roots::default());
    let memory = collect("memory");
    assert_eq!(memory.layout().families[0].name, "node_memory_MemTotal_bytes");
    assert_eq!(memory.values()[0], facts.memory_bytes as f64);
    let cpu = collect("cpu");
    assert_eq!(cpu.layout().families[0].series.len(), 8 * facts.cpus as usize);
}

#[test]
fn a_plugin_that_keeps_its_file_open_sees_the_figures_move() {
    let mut plugin = find("cpu").unwrap().build(&Access::default(), &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    let mut seconds = || {
        samples.begin();
        plugin.collect(&mut samples).unwrap();
        samples.finish().unwrap();
        samples.values().iter().sum::<f64>()
    };
    let (first, deadline) = (seconds(), Instant::now() + Duration::from_secs(30));
    // Asking again and again is work too, and shows in the figures.
    while seconds() <= first {
        assert!(Instant::now() < deadline, "the processors stand still");
    }
}
