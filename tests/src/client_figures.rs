//! What the client says of itself, and what becomes of series that are too many.

use std::fs;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Redis};
use tempfile::TempDir;

use crate::fleet::{DEADLINE, figure, start_server_with};

const SERVICES: &str = r#"
[services.client]
plugin = "client"
interval = "1s"
[services.cpu]
plugin = "cpu"
interval = "1s"
[services.load]
plugin = "load"
interval = "1s"
"#;
const TEMPLATES: &str = "[templates.linux]\nservices = [\"client\", \"cpu\", \"load\"]\n";

/// A machine of 300 processors, without a load.
fn large_machine() -> Result<TempDir> {
    let proc = tempfile::tempdir()?;
    let stat: String = (0..300).map(|cpu| format!("cpu{cpu} 1 2 3 4 5 6 7 8 9 10\n")).collect();
    fs::write(proc.path().join("stat"), stat)?;
    Ok(proc)
}

/// A client of the host `large` with this line under `[series]`.
fn start_client_on(proc: &TempDir, redis: &Redis, series: &str) -> Result<Client> {
    Client::start(&ClientSetup {
        host: Some("large".to_owned()),
        redis_url: redis.url(),
        toml: Some(format!("[series]\n{series}\n")),
        procfs: Some(proc.path().to_owned()),
        ..ClientSetup::default()
    })
}

#[test]
fn series_beyond_the_budget_are_counted_and_named_and_the_rest_arrives() -> Result<()> {
    let proc = large_machine()?;
    let redis = Redis::start()?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let client = start_client_on(&proc, &redis, "per_service = 100")?;
    let dropped = server.eventually("the budget is held", DEADLINE, |page| {
        let cpu = page.samples.iter().filter(|sample| sample.name.starts_with("node_cpu_")).count();
        ensure!(cpu == 100, "{cpu} series of processors");
        let labels = [("instance", "large"), ("plugin", "cpu")];
        let dropped = page.value("hostwatch_series_dropped", &labels).unwrap_or_default();
        ensure!(dropped > 0.0, "nothing is counted");
        for (collector, success) in [("cpu", 1.0), ("loadavg", 0.0)] {
            let labels = [("instance", "large"), ("collector", collector)];
            let found = page.value("node_scrape_collector_success", &labels);
            ensure!(found == Some(success), "{collector}: {found:?}");
        }
        for name in ["ring_reports", "ring_bytes", "cpu_seconds_total", "resident_memory_bytes"] {
            ensure!(figure(page, &format!("hostwatch_client_{name}"), "large")? > 0.0, "{name} is 0");
        }
        ensure!(figure(page, "hostwatch_client_ring_dropped_total", "large")? == 0.0);
        Ok(dropped)
    })?;
    let log = client.process.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("[series]")).collect();
    ensure!(said.len() == 1 && said[0].contains(&format!("has {dropped} series beyond the 100")), "{log}");
    Ok(())
}

#[test]
fn a_host_has_a_budget_for_all_its_services_together() -> Result<()> {
    let proc = large_machine()?;
    let redis = Redis::start()?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let _client = start_client_on(&proc, &redis, "per_host = 200")?;
    server.eventually("the budget is held", DEADLINE, |page| {
        let own = ["node_", "hostwatch_client_", "hostwatch_series_dropped"];
        let reported = page.samples.iter().filter(|sample| own.iter().any(|begin| sample.name.starts_with(begin)));
        let (processors, others): (Vec<_>, Vec<_>) = reported.partition(|sample| sample.name.starts_with("node_cpu_"));
        ensure!(processors.len() + others.len() == 200, "{} and {} series", processors.len(), others.len());
        // Those of the service whose name comes first are all there.
        ensure!(others.iter().any(|sample| sample.name == "node_scrape_collector_success"), "{others:?}");
        let dropped = page.value("hostwatch_series_dropped", &[("instance", "large"), ("plugin", "cpu")]);
        ensure!(dropped.is_some_and(|dropped| dropped > 0.0), "nothing is counted");
        Ok(())
    })?;
    Ok(())
}
