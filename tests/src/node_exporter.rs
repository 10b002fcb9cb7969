//! `hostwatch-client --once` beside Debian's node_exporter on the same machine: the same series, the same values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Page, Process, free_port, get, programs, require};

use crate::client_cli::ask;
use crate::fleet::DEADLINE;

/// Families that are not ours to report, by the beginning of their names: what the exporter says about itself.
const OF_THE_EXPORTER: [&str; 1] = ["node_exporter_build_info"];

/// Families of node_exporter's defaults that no plugin reports by default, by the beginning of their names.
const NOT_YET: [&str; 10] = [
    "node_btrfs_",
    "node_dmi_",
    "node_edac_",
    "node_infiniband_",
    "node_nfs",
    "node_nvme_",
    "node_rapl_",
    "node_systemd_",
    "node_xfs_",
    "node_zfs_",
];

/// Collectors of node_exporter's defaults that no plugin of ours stands for by default.
const NO_COLLECTOR: [&str; 15] = [
    "bcache",
    "btrfs",
    "dmi",
    "edac",
    "fibrechannel",
    "infiniband",
    "ipvs",
    "nfs",
    "nfsd",
    "nvme",
    "rapl",
    "systemd",
    "tapestats",
    "xfs",
    "zfs",
];

/// What does not move on a machine at rest or at work, so that both must say the same.
const STILL: [&str; 12] = [
    "node_boot_time_seconds",
    "node_memory_MemTotal_bytes",
    "node_memory_SwapTotal_bytes",
    "node_filefd_maximum",
    "node_filesystem_readonly",
    "node_filesystem_size_bytes",
    "node_entropy_pool_size_bits",
    "node_nf_conntrack_entries_limit",
    "node_selinux_enabled",
    "node_os_info",
    "node_time_zone_offset_seconds",
    "node_uname_info",
];

#[test]
fn every_series_of_debians_prometheus_node_exporter_is_there() -> Result<()> {
    let exporter = exporter_page()?;
    let answer = ask(&programs()?.client, Path::new("/"), &["--once"], &[("HOSTWATCH_HOST", "web")])?;
    ensure!(answer.code == Some(0), "{answer:?}");
    let client = series(&Page::parse(&answer.stdout)?);

    let excluded: Vec<&str> = [&OF_THE_EXPORTER[..], &NOT_YET].concat();
    let of_no_collector = |labels: &BTreeMap<String, String>| {
        labels.get("collector").is_some_and(|collector| NO_COLLECTOR.contains(&collector.as_str()))
    };
    let wanted: BTreeMap<_, _> = exporter
        .into_iter()
        .filter(|((name, _), _)| name.starts_with("node_") && !excluded.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|((_, labels), _)| !of_no_collector(labels))
        .collect();
    ensure!(wanted.len() > 100, "node_exporter has {} series that can be compared", wanted.len());
    let missing: BTreeSet<_> = wanted.keys().filter(|key| !client.contains_key(*key)).collect();
    ensure!(missing.is_empty(), "missing: {missing:#?}");
    for (key, value) in wanted.iter().filter(|((name, _), _)| STILL.contains(&name.as_str())) {
        assert_eq!(client[key], *value, "{key:?}");
    }
    // A list of what is missing must not outlive the lack.
    let outdated: Vec<_> =
        excluded.iter().filter(|prefix| client.keys().any(|(name, _)| name.starts_with(**prefix))).collect();
    ensure!(outdated.is_empty(), "listed as missing, but there: {outdated:?}");
    let outdated = client.keys().find(|(_, labels)| of_no_collector(labels));
    ensure!(outdated.is_none(), "listed as missing, but there: {outdated:?}");
    Ok(())
}

fn exporter_page() -> Result<Series> {
    let directory = tempfile::tempdir()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(require("prometheus-node-exporter")?);
    command.arg(format!("--web.listen-address={address}"));
    let mut process = Process::start("node_exporter", &command, &directory.path().join("log"))?;
    let page = process.eventually("node_exporter answers", DEADLINE, |_| {
        let (status, page) = get(&format!("http://{address}/metrics"))?;
        ensure!(status == 200, "status {status}");
        Ok(page)
    })?;
    Ok(series(&Page::parse(&page)?))
}

/// Name and labels; an empty label is none.
type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

fn series(page: &Page) -> Series {
    let labels = |labels: &BTreeMap<String, String>| {
        labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    page.samples.iter().map(|sample| ((sample.name.clone(), labels(&sample.labels)), sample.value)).collect()
}
