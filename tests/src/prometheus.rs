//! A real Prometheus scrapes the page.

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Prometheus, Redis, eventually, get_as, open_metrics_samples};

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

#[test]
fn prometheus_scrapes_every_host_that_it_discovers() -> Result<()> {
    let redis = Redis::start()?;
    let quick = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"5s\"\n";
    let mut server = start_server(&redis, quick, ANY_HOST)?;
    let mut dead = start_client(&redis, "dead")?;
    let _alive = start_client(&redis, "alive")?;
    server.eventually("both are up", DEADLINE, |page| is_up(page, "dead").and_then(|()| is_up(page, "alive")))?;
    let prometheus = Prometheus::start(&format!(
        "- job_name: node\n  scrape_interval: 1s\n  http_sd_configs:\n  - url: '{}'\n    refresh_interval: 1s\n",
        server.url("/sd")
    ))?;
    let up = |expected: &[(&str, f64)]| -> Result<()> {
        let samples = prometheus.query("up{job=\"node\"}")?;
        let mut up: Vec<(&str, f64)> =
            samples.iter().map(|sample| (sample.label("instance").unwrap_or_default(), sample.value)).collect();
        up.sort_by(|a, b| a.0.cmp(b.0));
        ensure!(up == expected, "{up:?}");
        Ok(())
    };
    eventually("Prometheus scrapes both", DEADLINE, || up(&[("alive", 1.0), ("dead", 1.0)]))?;
    eventually("it has their series", DEADLINE, || {
        let loads = prometheus.query("count(node_load1{job=\"node\"}) == 2")?;
        ensure!(loads.len() == 1);
        Ok(())
    })?;
    dead.kill()?;
    eventually("the one that was killed is down", DEADLINE, || up(&[("alive", 1.0), ("dead", 0.0)]))?;
    assert_eq!(server.get("/metrics/host/dead")?.0, 503);
    assert_eq!(server.get("/metrics/host/nobody")?.0, 404);
    Ok(())
}

#[test]
fn the_open_metrics_pages_parse_with_prometheus_client() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let _client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    for path in ["/metrics", "/metrics/host/web"] {
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let (status, page) = get_as(&server.url(path), accept)?;
        ensure!(status == 200 && page.ends_with("# EOF\n"), "{path}: {status}");
        let samples = open_metrics_samples(&page).context(path)?;
        let lines = page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, lines, "{path}");
    }
    Ok(())
}
