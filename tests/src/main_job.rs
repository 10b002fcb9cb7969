//! The main job from end to end: push configuration, collect, report, expose.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{
    Client, ClientSetup, Process, Redis, Server, ServerSetup, eventually, promtool_remarks, require,
};

use crate::fleet::{
    ANY_HOST, DEADLINE, TEMPLATES, books, figure, files, has_applied_another, is_up, revision, start_client,
    start_server,
};

#[test]
fn a_host_that_matches_joins_reports_and_is_shown() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let _client = start_client(&redis, "web")?;
    let page = server.eventually("the host is up", DEADLINE, |page| is_up(page, "web").map(|()| page.clone()))?;

    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
    let kilobytes: f64 = total.trim().trim_end_matches(" kB").parse()?;
    assert_eq!(figure(&page, "node_memory_MemTotal_bytes", "web")?, kilobytes * 1024.0);
    assert_eq!(page.kind("node_cpu_seconds_total"), Some("counter"));
    assert!(page.series("node_load1").all(|sample| sample.has(&[("instance", "web"), ("job", "node")])));

    server.eventually("reports keep coming, none is lost", DEADLINE, |page| {
        let books = books(page, "web")?;
        ensure!(books.received >= 3.0, "{} reports", books.received);
        assert_eq!(books.lost + books.outstanding, 0.0);
        Ok(())
    })?;
    let (status, body) = server.get("/api/v1/hosts")?;
    assert_eq!(status, 200);
    let api: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(api["hosts"][0]["host"], "web");
    assert_eq!(api["hosts"][0]["state"], "up");
    assert!(api["hosts"][0]["facts"]["memory_bytes"].as_f64() == Some(kilobytes * 1024.0), "{body}");
    let (status, overview) = server.get("/")?;
    assert!(status == 200 && overview.contains("web") && overview.contains("up"), "{overview}");
    assert_eq!(server.get("/-/healthy")?.0, 200);
    assert_eq!(server.get("/-/ready")?.0, 200);
    assert_eq!(server.get("/api/v1/hosts/nobody")?.0, 404);
    Ok(())
}

#[test]
fn prometheus_has_nothing_to_say_about_our_own_series() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let _client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    let (_, page) = server.get("/metrics")?;
    let ours: Vec<String> =
        promtool_remarks(&page)?.into_iter().filter(|remark| remark.starts_with("hostwatch_")).collect();
    assert_eq!(ours, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_template_reaches_only_the_hosts_that_it_concerns() -> Result<()> {
    const HOSTS: &str =
        "[hosts.a]\ntemplates = [\"linux\"]\n[hosts.b]\ntemplates = [\"linux\"]\n[hosts.c]\ntemplates = [\"other\"]\n";
    let templates = format!("{TEMPLATES}\n[templates.other]\nservices = [\"load\"]\nvars = {{ interval = \"1s\" }}\n");
    let redis = Redis::start()?;
    // No acknowledgement comes in between.
    let mut setup = ServerSetup {
        redis_url: redis.url(),
        files: files("[delivery]\nack_interval = \"10m\"\n", HOSTS),
        ..ServerSetup::default()
    };
    setup.files.push(("templates.toml".to_owned(), templates.clone()));
    let mut server = Server::start(&setup)?;
    let _clients = ["a", "b", "c"].map(|host| start_client(&redis, host));
    let revisions = server.eventually("all have their configuration", DEADLINE, |page| {
        ["a", "b", "c"]
            .iter()
            .map(|host| {
                ensure!(figure(page, "hostwatch_host_up", host)? == 1.0, "{host} is not up");
                let applied = revision(page, host, "applied")?;
                ensure!(applied == revision(page, host, "wanted")?, "{host} has applied another one");
                Ok(applied)
            })
            .collect::<Result<Vec<String>>>()
    })?;

    let directory = tempfile::tempdir()?;
    let monitor = watch_commands(&redis, directory.path())?;
    server.write("templates.toml", &templates.replacen("interval = \"1s\"", "interval = \"2s\"", 1))?;
    server.reload()?;
    server.eventually("a and b run it", DEADLINE, |page| {
        has_applied_another(page, "a", &revisions[0])?;
        has_applied_another(page, "b", &revisions[1])
    })?;
    redis.cli(&["SET", "the-end", "1"])?;
    eventually("Redis has told all", DEADLINE, || {
        ensure!(monitor.log().contains("the-end"), "not yet");
        Ok(())
    })?;
    let said = |host: &str| monitor.log().matches(&format!("\"PUBLISH\" \"hostwatch:{{{host}}}:commands\"")).count();
    assert_eq!([said("a"), said("b"), said("c")], [1, 1, 0], "{}", monitor.log());
    assert_eq!(revision(&server.page()?, "c", "wanted")?, revisions[2]);
    Ok(())
}

/// Every command that Redis is sent, in the log of the process.
fn watch_commands(redis: &Redis, directory: &Path) -> Result<Process> {
    let mut command = Command::new(require("redis-cli")?);
    command.args(["-p", &redis.port().to_string(), "MONITOR"]);
    let mut monitor = Process::start("redis-cli MONITOR", &command, &directory.join("monitor.log"))?;
    monitor.eventually("it listens", DEADLINE, |monitor| {
        ensure!(monitor.log().contains("OK"), "not yet");
        Ok(())
    })?;
    Ok(monitor)
}

#[test]
fn what_a_client_refuses_is_seen_everywhere() -> Result<()> {
    let redis = Redis::start()?;
    let mut setup = ServerSetup { redis_url: redis.url(), files: files("", ANY_HOST), ..ServerSetup::default() };
    setup.files.push((
        "services/more.toml".to_owned(),
        "[services.odd]\nplugin = \"nosuch\"\ninterval = \"1s\"\n[services.wrong]\nplugin = \"load\"\ninterval = \"1s\"\nparameters = { nonsense = 1 }\n".to_owned(),
    ));
    setup
        .files
        .push(("templates.toml".to_owned(), TEMPLATES.replace("\"memory\"]", "\"memory\", \"odd\", \"wrong\"]")));
    let mut server = Server::start(&setup)?;
    let _client = start_client(&redis, "web")?;
    let page = server.eventually("the rest runs", DEADLINE, |page| {
        is_up(page, "web")?;
        ensure!(figure(page, "hostwatch_host_services_refused", "web")? == 2.0, "not refused");
        Ok(page.clone())
    })?;
    let reason = |service: &str| {
        let info = page.series("hostwatch_host_service_refused_info").find(|info| info.has(&[("service", service)]));
        info.and_then(|info| info.label("reason").map(str::to_owned)).unwrap_or_default()
    };
    assert!(reason("odd").contains("nosuch"), "{}", reason("odd"));
    assert!(reason("wrong").contains("nonsense"), "{}", reason("wrong"));
    let api: serde_json::Value = serde_json::from_str(&server.get("/api/v1/hosts/web")?.1)?;
    assert_eq!(api["refused"]["odd"], reason("odd"));
    assert!(server.get("/")?.1.contains("nosuch"));
    Ok(())
}

#[test]
fn a_mistake_at_a_reload_keeps_the_old_configuration() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let _client = start_client(&redis, "web")?;
    let before = server.eventually("the host has its configuration", DEADLINE, |page| {
        is_up(page, "web")?;
        revision(page, "web", "applied")
    })?;
    server.write("templates.toml", "[templates.linux]\nservices = [\"cpu\", \"cqu\"]\nvar = 1\n")?;
    server.reload()?;
    let name = "hostwatch_config_last_reload_successful";
    server.eventually("the reload is refused", DEADLINE, |page| {
        ensure!(page.value(name, &[]) == Some(0.0), "not yet");
        Ok(())
    })?;
    let log = server.process.log();
    assert!(log.contains("templates.toml:2: templates.linux.services[1]: there is no service \"cqu\""), "{log}");
    assert!(log.contains("templates.toml:3: templates.linux.var: unknown key"), "{log}");
    assert_eq!(revision(&server.page()?, "web", "wanted")?, before);
    server.write("templates.toml", &TEMPLATES.replace("\"1s\"", "\"2s\""))?;
    server.reload()?;
    server.eventually("the next one is in force", DEADLINE, |page| {
        ensure!(page.value(name, &[]) == Some(1.0), "not yet");
        has_applied_another(page, "web", &before)
    })
}

#[test]
fn what_is_no_message_is_counted_and_dropped() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    for (channel, message) in [
        ("hostwatch:{web}:reports", "garbage"),
        ("hostwatch:{web}:reports", ""),
        ("hostwatch:{web}:join", "\u{1}garbage"),
        ("hostwatch:{a b}:join", "\u{1}garbage"),
    ] {
        redis.cli(&["PUBLISH", channel, message])?;
    }
    redis.cli(&["PUBLISH", "hostwatch:{web}:reports", &"\u{1}".repeat((1 << 16) + 1)])?;
    let name = "hostwatch_messages_refused_total";
    server.eventually("all are counted", DEADLINE, |page| {
        ensure!(page.value(name, &[("reason", "unknown_version")]) == Some(2.0), "versions");
        ensure!(page.value(name, &[("reason", "malformed")]) == Some(3.0), "malformed");
        Ok(())
    })?;
    let sequence = books(&server.page()?, "web")?.sequence;
    server.eventually("the host goes on reporting", DEADLINE, |page| {
        ensure!(books(page, "web")?.sequence > sequence, "not yet");
        is_up(page, "web")
    })?;
    // The same on the way to the host.
    redis.cli(&["PUBLISH", "hostwatch:{web}:commands", "garbage"])?;
    redis.cli(&["PUBLISH", "hostwatch:{web}:commands", "\u{1}garbage"])?;
    let sequence = books(&server.page()?, "web")?.sequence;
    server.eventually("the host does not mind", DEADLINE, |page| {
        ensure!(books(page, "web")?.sequence > sequence + 1.0, "not yet");
        Ok(())
    })?;
    ensure!(client.process.exited()?.is_none(), "the client has ended");
    Ok(())
}

#[test]
fn a_wrong_password_is_said_and_recovered_from_and_is_shown_nowhere() -> Result<()> {
    const PASSWORD: &str = "not-yet-the-password";
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n"))?;
    let in_a_file = format!("[redis]\npassword_file = \"{}\"\n", file.display());
    let in_the_environment = ("HOSTWATCH_REDIS_PASSWORD".to_owned(), PASSWORD.to_owned());
    for (settings, environment) in [(in_a_file, None), (String::new(), Some(in_the_environment))] {
        let redis = Redis::start()?;
        redis.cli(&["CONFIG", "SET", "requirepass", "first"])?;
        let talkative = ("HOSTWATCH_LOG".to_owned(), "debug".to_owned());
        let environment: Vec<(String, String)> = environment.into_iter().chain([talkative]).collect();
        let mut server = Server::start(&ServerSetup {
            redis_url: redis.url(),
            files: files(&settings, ANY_HOST),
            environment: environment.clone(),
            ..ServerSetup::default()
        })?;
        let mut client = Client::start(&ClientSetup {
            host: Some("web".to_owned()),
            redis_url: redis.url(),
            toml: Some(settings),
            environment,
            ..ClientSetup::default()
        })?;
        for process in [&mut server.process, &mut client.process] {
            process.eventually("it says what is wrong", DEADLINE, |process| {
                ensure!(process.log().contains("WRONGPASS"), "not yet");
                Ok(())
            })?;
        }
        let (status, body) = server.get("/-/ready")?;
        assert!(status == 503 && body.contains("WRONGPASS") && !body.contains(PASSWORD), "{status} {body}");
        assert_eq!(server.get("/-/healthy")?.0, 200);
        redis.cli(&["-a", "first", "CONFIG", "SET", "requirepass", PASSWORD])?;
        server.eventually("both have recovered", DEADLINE, |page| is_up(page, "web"))?;

        for path in ["/", "/metrics", "/metrics/host/web", "/sd", "/-/ready", "/api/v1/hosts", "/api/v1/hosts/web"] {
            let (status, page) = server.get(path)?;
            assert!(status == 200 && !page.contains(PASSWORD), "{path}: {status}: {page}");
        }
        let mut shown = vec![client.status_file()];
        shown.extend(
            [&server.process, &client.process].map(|process| format!("/proc/{}/cmdline", process.pid()).into()),
        );
        // What they keep is complete when they have ended.
        let told: Vec<Vec<u8>> = shown.iter().map(std::fs::read).collect::<Result<_, _>>()?;
        assert!(client.terminate()?.success() && server.terminate()?.success());
        let kept = [server.state_directory(), client.state_directory()].map(std::fs::read_dir);
        let kept: Vec<_> = kept.into_iter().flatten().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(
            kept.iter().any(|file| file.ends_with("ring")) && kept.iter().any(|file| file.ends_with("fleet.state"))
        );
        let kept: Vec<Vec<u8>> = kept.iter().map(std::fs::read).collect::<Result<_, _>>()?;
        let logs = [&server.process, &client.process].map(|process| process.log());
        assert!(logs[0].contains(" DEBUG "), "{}", logs[0]);
        for text in told.iter().chain(&kept).map(Vec::as_slice).chain(logs.iter().map(|log| log.as_bytes())) {
            assert!(!text.is_empty());
            let at = text.windows(PASSWORD.len()).position(|bytes| bytes == PASSWORD.as_bytes());
            assert!(at.is_none(), "the password is in {}", String::from_utf8_lossy(text));
        }
    }
    Ok(())
}
