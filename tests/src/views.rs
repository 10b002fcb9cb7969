//! What a client sees where its view could be spoilt, compared with what root sees outside, series by series.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use hostwatch_testkit::{Labels, Page};

/// Figures move between three looks, and each has to agree in one round at the least.
const ROUNDS: usize = 12;

/// Gauges of what is in use at the moment: whoever looks at them moves them.
const MOVING: [&str; 11] = [
    "node_arp_entries",
    "node_filefd_allocated",
    "node_filesystem_avail_bytes",
    "node_filesystem_files_free",
    "node_filesystem_free_bytes",
    "node_load",
    "node_memory_",
    "node_processes_",
    "node_procs_",
    "node_sockstat_",
    "node_tcp_connection_states",
];

/// What does not move, though its name begins like the name of what does.
const FIXED: [&str; 3] =
    ["node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes", "node_memory_VmallocTotal_bytes"];

type Key = (String, Labels);

/// Looks from outside, from inside, and from outside again, until each series that all three had was between the two from
/// outside once. In every round both sides have the same series.
pub(crate) fn compare(outside: impl Fn() -> Result<Page>, inside: impl Fn() -> Result<Page>) -> Result<()> {
    let (mut agreed, mut open) = (BTreeSet::new(), BTreeMap::new());
    let mut before = values(&outside()?);
    for _ in 0..ROUNDS {
        let (seen, after) = (values(&inside()?), values(&outside()?));
        ensure!(seen.len() > 50, "only {} series", seen.len());
        let missing = before.keys().filter(|key| after.contains_key(*key) && !seen.contains_key(*key));
        let strange = seen.keys().filter(|key| !before.contains_key(*key) && !after.contains_key(*key));
        let (missing, strange): (Vec<_>, Vec<_>) = (missing.collect(), strange.collect());
        ensure!(missing.is_empty() && strange.is_empty(), "only outside: {missing:?}, only inside: {strange:?}");
        for (key, seen) in seen {
            let (Some(before), Some(after)) = (before.get(&key), after.get(&key)) else { continue };
            let (low, high) = (before.min(*after), before.max(*after));
            if agrees(&key.0, low, seen, high) {
                open.remove(&key);
                agreed.insert(key);
            } else if !agreed.contains(&key) {
                let found = format!("{key:?}: {seen}, outside {low} to {high}");
                open.insert(key, found);
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        before = after;
    }
    bail!("in none of {ROUNDS} rounds:\n{}", open.into_values().collect::<Vec<_>>().join("\n"))
}

/// The values of a page's series by name and labels. What the client says of itself, and how long a plugin took, is of one
/// run alone.
fn values(page: &Page) -> BTreeMap<Key, f64> {
    let samples = page.samples.iter();
    let of_the_host = samples
        .filter(|sample| !sample.name.contains("duration_seconds") && !sample.name.starts_with("hostwatch_client_"));
    of_the_host.map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect()
}

/// Whether looking at it, or the passing of a moment, may move a gauge there and back.
fn moves(name: &str) -> bool {
    MOVING.iter().any(|begin| name.starts_with(begin)) && !FIXED.contains(&name)
}

/// Whether a value lies between two others, or for what moves as good as between them.
fn agrees(name: &str, low: f64, seen: f64, high: f64) -> bool {
    let percent = low.abs().max(high.abs()) / 100.0;
    let little = match name {
        _ if !moves(name) => 0.0,
        _ if name.starts_with("node_load") => 0.5,
        // Whoever looks inside has programs run beside the client, a shell and one of Docker or systemd.
        _ if ["node_filefd_", "node_processes_", "node_sockstat_"].iter().any(|begin| name.starts_with(begin)) => {
            percent.max(32.0)
        }
        _ if name.starts_with("node_memory_") => percent.max(64e6),
        _ if name.ends_with("_bytes") => percent.max(1e6),
        _ => percent.max(1.0),
    };
    (low - little..=high + little).contains(&seen) || seen.is_nan() && low.is_nan()
}

#[test]
fn what_agrees_is_as_good_as_between() {
    for (name, low, seen, high, expected) in [
        ("node_cpu_seconds_total", 10.0, 10.5, 11.0, true),
        ("node_cpu_seconds_total", 10.0, 11.01, 11.0, false),
        ("node_timex_offset_seconds", -3.0, -2.0, -1.0, true),
        ("node_timex_offset_seconds", -3.0, 2.0, -1.0, false),
        ("node_filesystem_size_bytes", 1e9, 1e9 + 1.0, 1e9, false),
        ("node_filesystem_avail_bytes", 1e6, 1.5e6, 1e6, true),
        ("node_filesystem_avail_bytes", 1e9, 1.02e9, 1e9, false),
        ("node_memory_MemTotal_bytes", 1e9, 1e9 + 4096.0, 1e9, false),
        ("node_load1", 0.0, 0.6, 0.0, false),
        ("node_procs_running", 1.0, 3.0, 1.0, false),
        ("node_hwmon_temp_celsius", f64::NAN, f64::NAN, f64::NAN, true),
    ] {
        assert_eq!(agrees(name, low, seen, high), expected, "{name}: {low}, {seen}, {high}");
    }
}
