//! The plugins over this machine, compared with what sysinfo says about it and with itself a little later.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hostwatch_plugins::{Access, PLUGINS, Roots, Samples, facts, find};
use hostwatch_wire::{Parameter, Parameters};

fn collect(name: &str) -> Samples {
    let mut plugin = find(name).unwrap().build(&Access::default(), &Parameters::new(), Duration::MAX).unwrap();
    let mut samples = Samples::new();
    samples.collect(&mut *plugin).unwrap();
    samples
}

#[test]
fn every_plugin_works_here() {
    for descriptor in PLUGINS.iter().filter(|plugin| !matches!(plugin.name, "exec" | "process" | "scrape" | "textfile"))
    {
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

#[test]
fn a_group_of_processes_is_what_runs() {
    // Longer than what the kernel keeps of a name.
    let name = format!("hostwatch-test-of-process-{}", std::process::id());
    let parameters = Parameters::from([("names".to_owned(), Parameter::List(vec![name.clone()]))]);
    let mut plugin = find("process").unwrap().build(&Access::default(), &parameters, Duration::MAX).unwrap();
    let mut figures = || {
        let mut samples = Samples::new();
        samples.begin();
        plugin.collect(&mut samples).unwrap();
        samples.finish().unwrap();
        let families = samples.layout().families.iter();
        let names = families.flat_map(|family| family.series.iter().map(|_| family.name.clone()));
        names.zip(samples.values().to_vec()).collect::<Vec<_>>()
    };
    let value = |figures: &[(String, f64)], word: &str| {
        figures.iter().find(|(name, _)| name.contains(word)).map(|(_, value)| *value)
    };
    assert_eq!(value(&figures(), "num_procs"), Some(0.0));

    let mut child = Command::new("cat").arg0(&name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Once it answers, it has closed whatever it was loaded from.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let found = figures();
    assert_eq!((value(&found, "num_procs"), value(&found, "num_threads")), (Some(1.0), Some(1.0)));
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    assert_eq!(value(&found, "open_filedesc"), Some(open as f64));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - value(&found, "oldest_start_time").unwrap();
    assert!((-2.0..600.0).contains(&age), "{age}");

    drop(child.stdin.take());
    child.wait().unwrap();
    let found = figures();
    assert_eq!((value(&found, "num_procs"), value(&found, "oldest_start_time")), (Some(0.0), None));
}
