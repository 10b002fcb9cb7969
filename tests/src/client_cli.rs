//! The command lines, the client's above all: `--once`, `health`, `--help`, and what SIGHUP does to a running client.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Server, Signal, programs, promtool_remarks, require};
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{ANY_HOST, DEADLINE, start_client, start_server};

/// What a program that ended by itself has answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// None after a signal, such as that of a time that ran out.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn printed(stdout: &str) -> Self {
        Self { code: Some(0), stdout: stdout.to_owned(), stderr: String::new() }
    }

    pub(crate) fn failed(code: Option<i32>, stderr: &str) -> Self {
        Self { code, stdout: String::new(), stderr: stderr.to_owned() }
    }
}

/// Runs one of our programs in `directory`, with no other environment than the given one.
pub(crate) fn ask(
    program: &Path,
    directory: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Answer> {
    // One that runs on as a daemon instead of answering must not hold up the test.
    let mut command = Command::new(require("timeout")?);
    command.args(["--signal", "KILL"]).arg(DEADLINE.as_secs().to_string()).arg(program).args(arguments);
    let output = command.current_dir(directory).env_clear().envs(environment.iter().copied()).output()?;
    let text = |bytes| String::from_utf8(bytes).with_context(|| format!("what {} printed", program.display()));
    Ok(Answer { code: output.status.code(), stdout: text(output.stdout)?, stderr: text(output.stderr)? })
}

fn ask_client(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Answer> {
    ask(&programs()?.client, Path::new("/"), arguments, environment)
}

/// A /proc of a machine with two processors.
fn proc() -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    fs::create_dir(directory.path().join("1"))?;
    for (file, text) in [
        ("1/mountinfo", "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n"),
        ("stat", "cpu 30 0 0 60 0 0 0 0 0 0\ncpu0 10 0 0 20 0 0 0 0 0 0\ncpu1 20 0 0 40 0 0 0 0 0 0\nctxt 5\n"),
        ("vmstat", "pgfault 17\n"),
        ("loadavg", "0.50 1.00 2.00 1/100 4242\n"),
        ("meminfo", "MemTotal: 2048 kB\nMemFree: 1024 kB\nHugePages_Total: 3\n"),
    ] {
        fs::write(directory.path().join(file), text)?;
    }
    Ok(directory)
}

#[test]
fn once_prints_what_all_plugins_measure() -> Result<()> {
    let proc = proc()?;
    let procfs = proc.path().to_str().context("a path")?;
    let environment = [("HOSTWATCH_HOST", "web"), ("HOSTWATCH_PATHS_PROCFS", procfs)];
    let Answer { code, stdout, stderr } = ask_client(&["--once"], &environment)?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let page = Page::parse(&stdout)?;
    assert_eq!(page.value("node_cpu_seconds_total", &[("cpu", "1"), ("mode", "idle")]), Some(0.4));
    assert_eq!(page.kind("node_cpu_seconds_total"), Some("counter"));
    let load = ["node_load1", "node_load5", "node_load15"].map(|name| page.value(name, &[]));
    assert_eq!(load, [Some(0.5), Some(1.0), Some(2.0)]);
    assert_eq!(page.value("node_memory_MemTotal_bytes", &[]), Some(2_097_152.0));
    assert_eq!(page.value("node_memory_HugePages_Total", &[]), Some(3.0));
    Ok(())
}

#[test]
fn once_runs_only_the_plugins_that_are_named() -> Result<()> {
    let proc = proc()?;
    let procfs = proc.path().to_str().context("a path")?;
    let environment = [("HOSTWATCH_HOST", "web"), ("HOSTWATCH_PATHS_PROCFS", procfs)];
    let names = |arguments: &[&str]| -> Result<Vec<String>> {
        let Answer { code, stdout, stderr } = ask_client(arguments, &environment)?;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        Ok(Page::parse(&stdout)?.samples.into_iter().map(|sample| sample.name).collect())
    };
    let load = ["node_load1", "node_load5", "node_load15"];
    assert_eq!(names(&["--once", "--plugin", "load"])?, load);
    let both = names(&["--once", "--plugin", "memory", "--plugin", "load"])?;
    assert!(both.len() > 3 && load.iter().all(|name| both.iter().any(|other| other == name)), "{both:?}");
    assert!(both.iter().any(|name| name == "node_memory_MemTotal_bytes"), "{both:?}");
    assert!(!both.iter().any(|name| name.starts_with("node_cpu")), "{both:?}");
    Ok(())
}

#[test]
fn once_says_what_failed_and_prints_the_rest() -> Result<()> {
    let proc = proc()?;
    fs::remove_file(proc.path().join("meminfo"))?;
    let procfs = proc.path().to_str().context("a path")?;
    let environment = [("HOSTWATCH_HOST", "web"), ("HOSTWATCH_PATHS_PROCFS", procfs)];
    let Answer { code, stdout, stderr } = ask_client(&["--once"], &environment)?;
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("plugin memory: ") && stderr.contains(&format!("{procfs}/meminfo")), "{stderr}");
    let page = Page::parse(&stdout)?;
    assert_eq!(page.value("node_load1", &[]), Some(0.5));
    assert!(page.series("node_cpu_seconds_total").next().is_some());
    Ok(())
}

#[test]
fn prometheus_accepts_what_once_prints_on_this_machine() -> Result<()> {
    let Answer { code, stdout, stderr } = ask_client(&["--once"], &[("HOSTWATCH_HOST", "web")])?;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let page = Page::parse(&stdout)?;
    for name in ["node_cpu_seconds_total", "node_load1", "node_memory_MemTotal_bytes"] {
        assert!(page.series(name).all(|sample| sample.value >= 0.0), "{name}");
        assert!(page.series(name).next().is_some(), "no {name}");
    }
    promtool_remarks(&stdout)?;
    Ok(())
}

#[test]
fn an_unknown_plugin_is_named_with_those_that_exist() -> Result<()> {
    let answer = ask_client(&["--once", "--plugin", "load", "--plugin", "cqu"], &[("HOSTWATCH_HOST", "web")])?;
    let expected = "hostwatch-client: there is no plugin \"cqu\"; there are arp, bonding, client, conntrack, cpu, \
                    cpufreq, diskstats, entropy, exec, filefd, filesystem, hwmon, interrupts, kernel_hung, load, mdadm, \
                    memory, netclass, netdev, netstat, os, power_supply, pressure, process, processes, schedstat, \
                    scrape, selinux, sockstat, softnet, stat, systemd, tcpstat, textfile, thermal, time, timex, \
                    udp_queues, uname, vmstat\n";
    assert_eq!(answer, Answer::failed(Some(1), expected));
    Ok(())
}

#[test]
fn both_programs_say_their_version_and_how_they_are_called() -> Result<()> {
    let programs = programs()?;
    let version = env!("CARGO_PKG_VERSION");
    for (name, program, words) in [
        ("hostwatch-server", &programs.server, &["--config <FILE>", "--check", "/etc/hostwatch/server.toml"][..]),
        (
            "hostwatch-client",
            &programs.client,
            &["--config <FILE>", "--check", "--once", "--plugin <NAME>", "health", "/etc/hostwatch/client.toml"][..],
        ),
    ] {
        let run = |arguments: &[&str]| ask(program, Path::new("/"), arguments, &[]);
        assert_eq!(run(&["--version"])?, Answer::printed(&format!("{name} {version}\n")));
        let Answer { code, stdout, stderr } = run(&["--help"])?;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        for word in words.iter().chain([&format!("Usage: {name} ").as_str()]) {
            assert!(stdout.contains(word), "{word} is not in:\n{stdout}");
        }
        let Answer { code, stdout, stderr } = run(&["--no-such-flag"])?;
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("--no-such-flag"), "{stderr}");
    }
    let answer = ask_client(&["--plugin", "load"], &[])?;
    assert!(answer.code == Some(2) && answer.stderr.contains("--once"), "{answer:?}");
    Ok(())
}

fn health(file: &Path) -> Result<Answer> {
    let environment = [("HOSTWATCH_HOST", "web"), ("HOSTWATCH_STATUS_FILE", file.to_str().context("a path")?)];
    ask_client(&["health"], &environment)
}

/// Waits until the client is well and says so in a sentence that `is_right`.
fn is_well(client: &mut Client, what: &str, is_right: impl Fn(&str) -> bool) -> Result<()> {
    let file = client.status_file();
    client.process.eventually(what, DEADLINE, |_| {
        let Answer { code, stdout, stderr } = health(&file)?;
        ensure!(code == Some(0) && stderr.is_empty(), "{code:?} {stderr}");
        ensure!(stdout.lines().count() == 1 && is_right(&stdout), "{stdout}");
        Ok(())
    })
}

#[test]
fn health_depends_on_the_client_and_not_on_redis() -> Result<()> {
    let mut redis = Redis::start()?;
    let _server = start_server(&redis, "", ANY_HOST)?;
    redis.kill()?;
    let mut client = start_client(&redis, "web")?;
    is_well(&mut client, "well before Redis is there", |sentence| sentence.starts_with("waiting for Redis"))?;
    redis.start_again()?;
    is_well(&mut client, "well with a server", |sentence| sentence.starts_with("joined server"))?;
    redis.kill()?;
    is_well(&mut client, "well without Redis", |sentence| sentence.starts_with("waiting for Redis"))?;
    assert!(client.terminate()?.success());
    ill(&client.status_file(), "does not run")
}

#[test]
fn health_judges_the_status_file_by_its_age() -> Result<()> {
    let redis = Redis::start()?;
    let mut client = start_client(&redis, "web")?;
    is_well(&mut client, "well", |_| true)?;
    client.kill()?;
    let file = client.status_file();
    let mut status: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    status["time_ms"] = Value::from(now - 90_000);
    fs::write(&file, status.to_string())?;
    ill(&file, " s old")?;
    fs::write(&file, &status.to_string()[..20])?;
    ill(&file, "is no status file")?;
    fs::remove_file(&file)?;
    ill(&file, "does not run")
}

/// Fails unless the client is found ill, with one line that names its status file and says `what`.
fn ill(file: &Path, what: &str) -> Result<()> {
    let Answer { code, stdout, stderr } = health(file)?;
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.contains(what) && stderr.contains(file.to_str().context("a path")?), "{stderr}");
    Ok(())
}

/// A client whose settings file can be written, in a directory that it may have to itself.
fn start_in(directory: &TempDir, redis: &Redis, toml: &str) -> Result<Client> {
    Client::start(&ClientSetup {
        host: Some("web".to_owned()),
        redis_url: redis.url(),
        toml: Some(toml.to_owned()),
        directory: Some(directory.path().to_owned()),
        ..ClientSetup::default()
    })
}

/// Waits until the server's API shows these labels of the only host.
fn has_labels(server: &mut Server, expected: &Value) -> Result<()> {
    let url = server.url("/api/v1/hosts");
    server.process.eventually("the host has its labels", DEADLINE, |_| {
        let (_, body) = hostwatch_testkit::get(&url)?;
        let api: Value = serde_json::from_str(&body)?;
        ensure!(api["hosts"][0]["labels"] == *expected, "{body}");
        Ok(())
    })
}

#[test]
fn labels_are_changed_by_a_reload() -> Result<()> {
    let (redis, directory) = (Redis::start()?, tempfile::tempdir()?);
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let client = start_in(&directory, &redis, "labels = { role = \"web\", env = \"test\" }\n")?;
    has_labels(&mut server, &serde_json::json!({ "role": "web", "env": "test" }))?;
    fs::write(directory.path().join("config/client.toml"), "labels = { role = \"db\" }\n")?;
    client.process.signal(Signal::HUP)?;
    has_labels(&mut server, &serde_json::json!({ "role": "db" }))?;
    fs::write(directory.path().join("config/client.toml"), "")?;
    client.process.signal(Signal::HUP)?;
    has_labels(&mut server, &serde_json::json!({}))
}

#[test]
fn a_mistake_at_a_reload_is_said_and_changes_nothing() -> Result<()> {
    let (redis, directory) = (Redis::start()?, tempfile::tempdir()?);
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_in(&directory, &redis, "labels = { role = \"web\" }\n")?;
    has_labels(&mut server, &serde_json::json!({ "role": "web" }))?;
    let file = directory.path().join("config/client.toml");
    fs::write(&file, "labels = { role = \"db\" }\ncolour = 1\n[buffer]\nmax_age = 900\n")?;
    client.process.signal(Signal::HUP)?;
    let file = file.display();
    let mistakes =
        [format!("{file}:2: colour: unknown key; "), format!("{file}:4: buffer.max_age: 900 is not a duration; ")];
    client.process.eventually("both mistakes are said", DEADLINE, |client| {
        let log = client.log();
        ensure!(mistakes.iter().all(|mistake| log.contains(mistake)), "not yet");
        ensure!(log.contains("old ones stay in force"), "not that nothing changes");
        Ok(())
    })?;
    // It goes on reporting, with its old labels.
    let before = server.page()?.value("hostwatch_host_report_sequence", &[("instance", "web")]);
    server.eventually("reports keep coming", DEADLINE, |page| {
        ensure!(page.value("hostwatch_host_report_sequence", &[("instance", "web")]) > before, "not yet");
        Ok(())
    })?;
    has_labels(&mut server, &serde_json::json!({ "role": "web" }))?;
    ensure!(client.process.exited()?.is_none(), "the client has ended");
    Ok(())
}
