//! The guards against real processes: redis-server, prometheus, and small shell commands.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Process, Prometheus, Redis, RedisSetup, Signal, eventually, get, promtool_remarks};

const DEADLINE: Duration = Duration::from_secs(30);

fn shell(directory: &Path, script: &str) -> Result<Process> {
    Process::start("shell", Command::new("sh").args(["-c", script]), &directory.join("shell.log"))
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_process_is_gone_with_its_guard_and_so_are_its_children() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = shell(directory.path(), "sleep 1000 & echo child $!; wait")?;
    let child: u32 = process.eventually("the child's pid", DEADLINE, |process| {
        Ok(process.log().strip_prefix("child ").context("nothing said")?.trim().parse()?)
    })?;
    let pid = process.pid();
    assert!(is_running(pid) && is_running(child));
    drop(process);
    assert!(!is_running(pid));
    // The grandchild's new parent has to reap it first.
    eventually("the end of the grandchild", DEADLINE, || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        Ok(())
    })
}

#[test]
fn a_process_that_ends_early_is_told_at_once_with_its_log() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = shell(directory.path(), "echo the reason >&2; exit 3")?;
    let hour = Duration::from_secs(3600);
    let error = process.eventually("never", hour, |_| -> Result<()> { anyhow::bail!("not yet") }).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("exit status: 3") && error.contains("the reason"), "{error}");
    assert!(process.signal(Signal::TERM).is_err());
    Ok(())
}

#[test]
fn a_second_run_has_a_log_of_its_own_in_the_same_file() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = shell(directory.path(), "echo run; exec sleep 1000")?;
    let said = |process: &Process| (process.log() == "run\n").then_some(()).context("nothing said");
    process.eventually("the first run", DEADLINE, said)?;
    assert!(process.start_again().is_err(), "it still runs");
    process.terminate(DEADLINE)?;
    process.start_again()?;
    process.eventually("the second run", DEADLINE, said)?;
    assert_eq!(std::fs::read_to_string(directory.path().join("shell.log"))?, "run\nrun\n");
    Ok(())
}

#[test]
fn cpu_time_and_memory_are_those_of_the_process() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = shell(directory.path(), "while :; do :; done")?;
    process.eventually("CPU time", DEADLINE, |process| {
        let time = process.cpu_time()?;
        ensure!(time >= Duration::from_millis(100), "{time:?}");
        Ok(())
    })?;
    let memory = process.resident_bytes()?;
    assert!((100_000..100_000_000).contains(&memory), "{memory}");
    Ok(())
}

#[test]
fn redis_on_both_addresses_stopped_paused_and_started_again() -> Result<()> {
    let mut redis = Redis::start()?;
    assert_eq!(redis.cli(&["set", "key", "value"])?, "OK");
    assert_eq!(redis.cli(&["get", "key"])?, "value");
    assert!(redis.cli(&["get"]).is_err());
    assert_eq!(redis.unix_url(), format!("redis+unix://{}", redis.socket().display()));
    let over_tcp = Command::new("redis-cli").args(["-p", &redis.port().to_string(), "get", "key"]).output()?;
    assert_eq!(over_tcp.stdout, b"value\n");

    redis.pause()?;
    redis.resume()?;
    let url = redis.url();
    redis.stop()?;
    assert!(redis.cli(&["ping"]).is_err());
    redis.start_again()?;
    assert_eq!((redis.url(), redis.cli(&["get", "key"])?), (url, String::new()));
    redis.kill()?;
    redis.start_again()?;
    assert_eq!(redis.cli(&["ping"])?, "PONG");
    Ok(())
}

#[test]
fn redis_with_a_password_and_a_limit() -> Result<()> {
    let config = vec!["requirepass secret".to_owned(), "proto-max-bulk-len 1mb".to_owned()];
    let redis = Redis::start_with(&RedisSetup { config, ..RedisSetup::default() })?;
    assert!(redis.cli(&["ping"]).is_err());
    assert_eq!(redis.cli(&["--no-auth-warning", "-a", "secret", "ping"])?, "PONG");
    Ok(())
}

#[test]
fn prometheus_scrapes_and_answers() -> Result<()> {
    let address = format!("127.0.0.1:{}", hostwatch_testkit::free_port()?);
    let mut prometheus = Prometheus::start(&format!(
        "- job_name: itself\n  static_configs:\n  - targets: ['{address}']\n    labels: {{ role: none }}"
    ))?;
    assert_eq!(prometheus.query("1 + 1")?[0].value, 2.0);
    assert!(prometheus.query("nonsense(").is_err());
    let up = eventually("a scrape", DEADLINE, || prometheus.query("up{job=\"itself\"}")?.pop().context("no sample"))?;
    assert_eq!((up.name.as_str(), up.value, up.label("role")), ("up", 0.0, Some("none")));

    // Its own page is the largest real one at hand, and has every type of family.
    let (status, body) = get(&prometheus.url("/metrics"))?;
    assert_eq!(status, 200);
    let page = hostwatch_testkit::Page::parse(&body)?;
    assert_eq!(page.kind("prometheus_http_request_duration_seconds"), Some("histogram"));
    assert!(page.value("prometheus_build_info", &[]).is_some());
    assert!(promtool_remarks(&body)?.is_empty());
    prometheus.process.terminate(DEADLINE)?;
    Ok(())
}

#[test]
fn promtool_remarks_on_style_and_refuses_a_broken_page() -> Result<()> {
    let remarks = promtool_remarks("# TYPE a counter\na 1\n")?;
    assert!(remarks.iter().any(|line| line.starts_with("a ")), "{remarks:?}");
    assert!(promtool_remarks("a{ 1\n").is_err());
    Ok(())
}
