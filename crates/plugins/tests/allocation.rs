//! In steady state a collection allocates nothing, whatever the size of the machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use allocation_counter::measure;
use hostwatch_plugins::{PLUGINS, Plugin, Roots, Samples};
use hostwatch_wire::{MetricType, Parameters};

fn collect(plugin: &mut dyn Plugin, samples: &mut Samples) -> bool {
    samples.begin();
    plugin.collect(samples).unwrap();
    samples.finish().unwrap()
}

#[test]
fn a_collection_of_the_same_shape_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let stat: String = (0..256).map(|cpu| format!("cpu{cpu} 12345 1 2 3 4 5 6 7 8 9\n")).collect();
    fs::write(directory.path().join("stat"), stat).unwrap();
    fs::write(directory.path().join("loadavg"), "0.18 0.36 0.32 1/90 13211\n").unwrap();
    fs::write(directory.path().join("meminfo"), "MemTotal: 24684084 kB\nActive(anon): 8 kB\nHugePages_Free: 3\n")
        .unwrap();
    let roots = Roots { procfs: directory.path().to_owned(), ..Roots::default() };
    for descriptor in PLUGINS {
        let mut plugin = descriptor.build(&roots, &Parameters::new()).unwrap();
        let mut samples = Samples::new();
        let first = measure(|| assert!(collect(&mut *plugin, &mut samples), "{}", descriptor.name));
        assert!(first.count_total > 0, "the allocations are not counted");
        // The second one still makes room for what the plugin compares with.
        assert!(!collect(&mut *plugin, &mut samples), "{}", descriptor.name);
        for _ in 0..3 {
            let steady = measure(|| assert!(!collect(&mut *plugin, &mut samples)));
            assert_eq!(steady.count_total, 0, "{} allocates {} bytes", descriptor.name, steady.bytes_total);
        }
    }
}

#[test]
fn a_collection_that_was_given_up_costs_nothing_later() {
    let mut samples = Samples::new();
    let mut collect = |finish: bool| {
        samples.begin();
        samples.family("x", MetricType::Gauge, "A figure.");
        samples.push(&[("a", "1"), ("b", "0")], 0.0);
        if finish {
            samples.push(&[("a", "1"), ("b", "1")], 1.0);
            samples.finish().unwrap();
        }
    };
    collect(true);
    collect(false);
    assert_eq!(measure(|| collect(true)).count_total, 0);
}
