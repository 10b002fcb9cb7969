//! In steady state a collection allocates nothing, whatever the size of the machine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;

use std::fs;
use std::path::Path;
use std::time::Duration;

use allocation_counter::measure;
use hostwatch_plugins::{Access, Origin, PLUGINS, Page, Plugin, Roots, Run, Samples, find};
use hostwatch_wire::text::Format;
use hostwatch_wire::{MetricType, Parameters};

/// What reads no file of the host, and so has no cases.
const OF_NO_FILES: [&str; 6] = ["client", "exec", "scrape", "systemd", "timex", "uname"];

fn collect(plugin: &mut dyn Plugin, samples: &mut Samples) -> bool {
    samples.begin();
    plugin.collect(samples).unwrap();
    samples.finish().unwrap()
}

#[test]
fn a_collection_of_the_same_shape_allocates_nothing() {
    for descriptor in PLUGINS.iter().filter(|plugin| !OF_NO_FILES.contains(&plugin.name)) {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(descriptor.name);
        let mut measured = 0;
        for case in fs::read_dir(cases).unwrap() {
            let case = case.unwrap().path();
            if !fs::read_to_string(case.join("expected.txt")).unwrap().starts_with("# HELP") {
                continue;
            }
            let mut plugin = case::build(descriptor, &case);
            let mut samples = Samples::new();
            let first = measure(|| assert!(collect(&mut *plugin, &mut samples), "{}", case.display()));
            assert!(first.count_total > 0, "the allocations are not counted");
            // The second one still makes room for what the plugin compares with.
            assert!(!collect(&mut *plugin, &mut samples), "{}", case.display());
            for _ in 0..3 {
                let steady = measure(|| assert!(!collect(&mut *plugin, &mut samples)));
                assert_eq!(steady.count_total, 0, "{} allocates {} bytes", case.display(), steady.bytes_total);
            }
            measured += 1;
        }
        assert!(measured > 0, "no case of {} has samples", descriptor.name);
    }
}

#[test]
fn a_page_of_the_same_shape_allocates_nothing() {
    let page = |value: usize| {
        let buckets =
            |n: usize| (1..9).map(move |le| format!("h_bucket{{n=\"{n}\\n\",le=\"{le}\",job=\"j\"}} {value}\n"));
        let series = (0..500).flat_map(|n| buckets(n).chain([format!("h_sum{{n=\"{n}\\n\"}} {value}\n")]));
        format!("# HELP h A \\\\ histogram.\n# TYPE h histogram\n{}x {value}\n", series.collect::<String>())
    };
    let (mut read, mut samples) = (Page::default(), Samples::new());
    let mut collect = |text: &str| {
        samples.begin();
        read.parse(text.as_bytes(), Origin::Exporter(Format::Text)).unwrap();
        read.push_to(&mut samples);
        samples.finish().unwrap()
    };
    let pages = [page(1), page(2), page(3)];
    assert!(collect(&pages[0]));
    assert!(!collect(&pages[1]));
    assert_eq!(measure(|| assert!(!collect(&pages[2]))).count_total, 0);
}

#[test]
fn a_large_machine_costs_no_allocation_either() {
    let directory = tempfile::tempdir().unwrap();
    let stat: String = (0..256).map(|cpu| format!("cpu{cpu} 12345 1 2 3 4 5 6 7 8 9\n")).collect();
    fs::write(directory.path().join("stat"), stat).unwrap();
    let roots = Roots { procfs: directory.path().to_owned(), ..Roots::default() };
    let mut plugin = find("cpu").unwrap().build(&roots.clone().into(), &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    collect(&mut *plugin, &mut samples);
    collect(&mut *plugin, &mut samples);
    assert_eq!(measure(|| assert!(!collect(&mut *plugin, &mut samples))).count_total, 0);
}

#[test]
fn what_the_client_says_of_itself_costs_no_allocation() {
    let access = Access::default();
    let took = Duration::from_millis(1);
    for (service, plugin) in [("a", "cpu"), ("b", "exec"), ("c", "exec")] {
        access.ledger.ran(service, Run { plugin, collector: plugin, took, succeeded: true, left_out: 1 });
    }
    let mut plugin = find("client").unwrap().build(&access, &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    collect(&mut *plugin, &mut samples);
    collect(&mut *plugin, &mut samples);
    assert_eq!(measure(|| assert!(!collect(&mut *plugin, &mut samples))).count_total, 0);
}

#[test]
fn asking_the_kernel_itself_costs_no_allocation_either() {
    let mut plugin = find("timex").unwrap().build(&Roots::default().into(), &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    collect(&mut *plugin, &mut samples);
    assert_eq!(measure(|| assert!(!collect(&mut *plugin, &mut samples))).count_total, 0);
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
