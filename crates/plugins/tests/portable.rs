//! The portable plugins over this machine, compared with those that read procfs.
//!
//! A figure of the one lies between what the other says just before and just after. One that moves both ways may do so in
//! between, so they are asked until they agree: those that mean something else never do.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use hostwatch_plugins::{Access, Descriptor, PORTABLE, Plugin, Roots, Samples, find};
use hostwatch_testkit::eventually;
use hostwatch_wire::{Parameter, Parameters};

const DEADLINE: Duration = Duration::from_secs(60);

/// Name, type and labels of a series.
type Key = (String, String, Vec<(String, String)>);

fn portable(name: &str) -> &'static Descriptor {
    PORTABLE.iter().find(|descriptor| descriptor.name == name).unwrap()
}

fn build(descriptor: &Descriptor, access: &Access, parameters: &[(&str, &str)]) -> Box<dyn Plugin> {
    let parameter = |(name, value): &(&str, &str)| ((*name).to_owned(), Parameter::Text((*value).to_owned()));
    let parameters: Parameters = parameters.iter().map(parameter).collect();
    descriptor.build(access, &parameters, Duration::MAX).unwrap()
}

fn collect(plugin: &mut dyn Plugin) -> BTreeMap<Key, f64> {
    let mut samples = Samples::new();
    samples.collect(plugin).unwrap();
    let series = samples.layout().families.iter().flat_map(|family| {
        family.series.iter().map(|series| {
            let labels = series.labels.iter().map(|label| (label.name.clone(), label.value.clone()));
            (family.name.clone(), format!("{:?}", family.kind), labels.collect())
        })
    });
    series.zip(samples.values().iter().copied()).collect()
}

/// Compares all series of `families`, which are all that the portable plugin has, with those of the native one.
#[track_caller]
fn check(name: &str, access: &Access, parameters: &[(&str, &str)], families: &[&str]) {
    let mut native = build(find(name).unwrap(), access, parameters);
    let mut portable = build(portable(name), access, parameters);
    let mut native = || {
        let mut series = collect(&mut *native);
        series.retain(|(family, ..), _| families.contains(&family.as_str()));
        series
    };
    let agree = || {
        let (before, found, after) = (native(), collect(&mut *portable), native());
        let names: BTreeSet<&str> = found.keys().map(|(family, ..)| family.as_str()).collect();
        anyhow::ensure!(names == families.iter().copied().collect(), "families: {names:?}");
        for (key, value) in &found {
            let (Some(before), Some(after)) = (before.get(key), after.get(key)) else {
                anyhow::bail!("{key:?} is in the portable plugin alone, beside {:?}", before.keys());
            };
            let between = before.min(*after)..=before.max(*after);
            anyhow::ensure!(between.contains(value), "{key:?} is {value}, beside {between:?}");
        }
        let missing = after.keys().find(|key| !found.contains_key(*key));
        anyhow::ensure!(missing.is_none(), "{missing:?} is in the native plugin alone");
        Ok(())
    };
    eventually(&format!("two {name} that agree"), DEADLINE, agree).unwrap();
}

#[test]
fn each_stands_for_a_plugin_and_takes_no_other_parameters() {
    assert!(PORTABLE.is_sorted_by_key(|descriptor| descriptor.name));
    for descriptor in PORTABLE {
        let native = find(descriptor.name).unwrap();
        assert_eq!((descriptor.collector, descriptor.on_by_default), (native.collector, native.on_by_default));
        assert_ne!(descriptor.about, native.about, "{} is the portable one", native.name);
        let known = native.parameters();
        assert!(descriptor.parameters().iter().all(|name| known.contains(name)), "{}", descriptor.name);
    }
}

#[test]
fn load() {
    check("load", &Access::default(), &[], &["node_load1", "node_load5", "node_load15"]);
}

#[test]
fn memory() {
    let families = [
        "node_memory_MemTotal_bytes",
        "node_memory_MemFree_bytes",
        "node_memory_MemAvailable_bytes",
        "node_memory_SwapTotal_bytes",
        "node_memory_SwapFree_bytes",
    ];
    check("memory", &Access::default(), &[], &families);
}

#[test]
fn netdev() {
    let families = [
        "node_network_receive_bytes_total",
        "node_network_receive_packets_total",
        "node_network_receive_errs_total",
        "node_network_transmit_bytes_total",
        "node_network_transmit_packets_total",
        "node_network_transmit_errs_total",
    ];
    // The one file among the interfaces in sysfs, which sysinfo takes for one of them.
    check("netdev", &Access::default(), &[("device_exclude", "^(veth.*|bonding_masters)$")], &families);
    check("netdev", &Access::default(), &[("device_include", "^lo$")], &families);
}

#[test]
fn filesystem() {
    // The native plugin would see the mounts of the first process, which may be others than ours.
    let procfs = tempfile::tempdir().unwrap();
    symlink("/proc/self", procfs.path().join("self")).unwrap();
    let access = Roots { procfs: procfs.path().to_owned(), ..Roots::default() }.into();
    // What sysinfo leaves out by itself, and what has no size, which the portable plugin leaves out.
    let exclude = [
        ("mount_points_exclude", "^/(dev|proc|run|sys)"),
        (
            "fs_types_exclude",
            "^(autofs|binfmt_misc|bpf|cgroup2?|cifs|configfs|debugfs|devpts|devtmpfs|fuse.*|fusectl|hugetlbfs|iso9660\
             |mqueue|nfs4?|nsfs|proc|pstore|rootfs|rpc_pipefs|securityfs|squashfs|sysfs|tmpfs|tracefs)$",
        ),
    ];
    let families = ["node_filesystem_size_bytes", "node_filesystem_avail_bytes", "node_filesystem_readonly"];
    check("filesystem", &access, &exclude, &families);
    check("filesystem", &access, &[("mount_points_include", "^/$")], &families);
}

/// What was counted for each processor, in seconds: what it idled, and all together.
fn times(series: BTreeMap<Key, f64>) -> BTreeMap<String, (f64, f64)> {
    let mut processors = BTreeMap::<String, (f64, f64)>::new();
    for ((family, kind, labels), value) in series {
        if family != "node_cpu_seconds_total" {
            continue;
        }
        assert_eq!(kind, "Counter");
        let [(cpu, number), (mode, what)] = labels.as_slice() else { panic!("{labels:?}") };
        assert_eq!((cpu.as_str(), mode.as_str()), ("cpu", "mode"));
        let (idle, all) = processors.entry(number.clone()).or_default();
        *all += value;
        // sysinfo counts what waits for a disk as idle, as it could have worked.
        if matches!(what.as_str(), "idle" | "iowait") {
            *idle += value;
        }
    }
    processors
}

#[test]
fn cpu() {
    /// Long enough for a tick of the kernel, of which there are 100 in a second, to matter little.
    const WINDOW: Duration = Duration::from_secs(1);
    /// A tick that the kernel has counted and not yet shown, for each reading, and as much for rounding.
    const TICKS: f64 = 0.04;
    // Anew each time: one that remembers keeps idle and iowait from running back, of which only the sum is steady.
    let native = || times(collect(&mut *build(find("cpu").unwrap(), &Access::default(), &[])));
    let mut portable = build(portable("cpu"), &Access::default(), &[]);

    let (outer_before, started) = (native(), Instant::now());
    let zero = times(collect(&mut *portable));
    let (inner_started, inner_before) = (Instant::now(), native());
    assert!(zero.values().all(|seconds| *seconds == (0.0, 0.0)), "{zero:?}");
    eventually("a second", DEADLINE, || {
        // To read is work, so that not all is idle.
        native();
        anyhow::ensure!(inner_started.elapsed() >= WINDOW);
        Ok(())
    })
    .unwrap();
    let (inner_after, inner_passed) = (native(), inner_started.elapsed().as_secs_f64());
    let found = times(collect(&mut *portable));
    let (passed, outer_after) = (started.elapsed().as_secs_f64(), native());

    assert!(found.keys().eq(outer_before.keys()), "{found:?} beside {outer_before:?}");
    for (cpu, (idle, all)) in &found {
        assert!((inner_passed - 1e-6..=passed + 1e-6).contains(all), "{cpu}: {all} s of {inner_passed} to {passed} s");
        let counted = |before: &BTreeMap<String, (f64, f64)>, after: &BTreeMap<String, (f64, f64)>| {
            let (before, after) = (before[cpu], after[cpu]);
            (after.0 - before.0, after.1 - before.1)
        };
        let (inner, outer) = (counted(&inner_before, &inner_after), counted(&outer_before, &outer_after));
        // The share that was idle: the portable plugin's window lies between the two.
        let least = (inner.0 - TICKS) / (outer.1 + TICKS);
        let most = (outer.0 + TICKS) / (inner.1 - TICKS);
        let share = idle / all;
        assert!((least..=most).contains(&share), "{cpu}: {share} is not within {least} to {most}");
    }
}
