//! A real Prometheus scrapes the page.

use anyhow::{Result, ensure};
use hostwatch_testkit::{Prometheus, Redis, eventually};

use crate::fleet::{ANY_HOST, DEADLINE, is_up, start_client, start_server};

#[test]
fn prometheus_forgets_a_dead_host_by_its_staleness_marker() -> Result<()> {
    let redis = Redis::start()?;
    let quick = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"5s\"\n";
    let mut server = start_server(&redis, quick, ANY_HOST)?;
    let mut dead = start_client(&redis, "dead")?;
    let _alive = start_client(&redis, "alive")?;
    server.eventually("both are up", DEADLINE, |page| is_up(page, "dead").and_then(|()| is_up(page, "alive")))?;
    let prometheus = Prometheus::start(&format!(
        "- job_name: hostwatch\n  scrape_interval: 1s\n  honor_labels: true\n  static_configs:\n  - targets: ['{}']\n",
        server.address()
    ))?;
    let instances = |expression: &str| -> Result<Vec<String>> {
        let samples = prometheus.query(expression)?;
        let mut instances: Vec<String> =
            samples.iter().filter_map(|sample| sample.label("instance").map(str::to_owned)).collect();
        instances.sort();
        Ok(instances)
    };
    eventually("Prometheus has both", DEADLINE, || {
        let seen = instances("node_load1{job=\"node\"}")?;
        ensure!(seen == ["alive", "dead"], "{seen:?}");
        Ok(())
    })?;
    dead.kill()?;
    // Without a marker the last value would be there for five minutes.
    eventually("the series of the dead host have ended", DEADLINE, || {
        let seen = instances("node_load1{job=\"node\"}")?;
        ensure!(seen == ["alive"], "{seen:?}");
        Ok(())
    })?;
    eventually("Prometheus sees that it is down", DEADLINE, || {
        let down = instances("hostwatch_host_state{state=\"down\"} == 1")?;
        ensure!(down == ["dead"], "{down:?}");
        Ok(())
    })?;
    let samples = prometheus.query("up{job=\"hostwatch\"}")?;
    assert_eq!(samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0]);
    Ok(())
}
