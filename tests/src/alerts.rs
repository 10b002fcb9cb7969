//! Alerts from end to end: triggers in the files, values from a host, states in all the places where people look.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Sample, Server, ServerSetup};
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{DEADLINE, files, is_up, start_client};

const HOSTS: &str = "[hosts.web]\ntemplates = [\"linux\"]\nlabels = { env = \"prod\" }\n";

/// The load of a host, and what is made of it.
fn services(trigger: &str) -> String {
    format!(
        "[services.load]\nplugin = \"load\"\ninterval = \"1s\"\n[[services.load.triggers]]\nalert = \"Loaded\"\n{trigger}\n"
    )
}

const TEMPLATES: &str = "[templates.linux]\nservices = [\"load\"]\nvars = { warn = \"10\" }\n";

/// A server with one service, a host whose /proc the test writes, and what they run on.
struct Rig {
    server: Server,
    client: Client,
    proc: TempDir,
    redis: Redis,
}

impl Rig {
    fn start(server: &str, trigger: &str) -> Result<Self> {
        let redis = Redis::start()?;
        let proc = tempfile::tempdir()?;
        set_load(proc.path(), 0.5)?;
        let setup = ServerSetup {
            redis_url: redis.url(),
            files: with(
                files(server, HOSTS),
                &[("templates.toml", TEMPLATES), ("services/linux.toml", &services(trigger))],
            ),
            ..ServerSetup::default()
        };
        let mut server = Server::start(&setup)?;
        let setup = ClientSetup {
            host: Some("web".to_owned()),
            redis_url: redis.url(),
            procfs: Some(proc.path().to_owned()),
            ..ClientSetup::default()
        };
        let client = Client::start(&setup)?;
        server.eventually("the host has a load", DEADLINE, |page| {
            page.value("node_load1", &[("instance", "web")]).context("no load").map(drop)
        })?;
        Ok(Self { server, client, proc, redis })
    }

    fn load(&self, load: f64) -> Result<()> {
        set_load(self.proc.path(), load)
    }

    /// Waits until the alert is in `state`; `None` is for no alert at all.
    fn wait_for(&mut self, state: Option<&str>) -> Result<()> {
        let what = format!("the alert is {state:?}");
        self.server.eventually(&what, DEADLINE, |page| {
            let states: Vec<&str> = alerts(page, "Loaded").filter_map(|alert| alert.label("alertstate")).collect();
            ensure!(states == state.as_slice(), "{states:?}");
            Ok(())
        })
    }

    /// Waits until the newest report that is shown was collected after now.
    fn wait_for_a_report(&mut self) -> Result<()> {
        let received = |page: &Page| {
            page.value("hostwatch_host_reports_received_total", &[("instance", "web")]).context("no count")
        };
        let before = received(&self.server.page()?)?;
        self.server.eventually("two further reports", DEADLINE, |page| {
            ensure!(received(page)? >= before + 2.0);
            Ok(())
        })
    }

    fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = self.server.get(path)?;
        ensure!(status == 200, "{path}: {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The transitions of the alert, the oldest first: `from>to: reason`.
    fn transitions(&self) -> Result<Vec<String>> {
        let events = self.api("/api/v1/events?alertname=Loaded")?;
        let events = events["events"].as_array().context("no events")?.iter().rev();
        let said = events.map(|event| {
            let of = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            format!("{}>{}: {}", of("from"), of("to"), of("reason"))
        });
        Ok(said.collect())
    }
}

fn set_load(proc: &Path, load: f64) -> Result<()> {
    // The client reads it while it is written: replaced as a whole, as the kernel would show it.
    fs::write(proc.join("loadavg.new"), format!("{load} {load} {load} 1/100 1000\n"))?;
    Ok(fs::rename(proc.join("loadavg.new"), proc.join("loadavg"))?)
}

fn with(mut files: Vec<(String, String)>, replaced: &[(&str, &str)]) -> Vec<(String, String)> {
    for (name, text) in replaced {
        files.retain(|(file, _)| file != name);
        files.push(((*name).to_owned(), (*text).to_owned()));
    }
    files
}

fn alerts<'a>(page: &'a Page, name: &'a str) -> impl Iterator<Item = &'a Sample> {
    page.series("ALERTS").filter(move |alert| alert.label("alertname") == Some(name))
}

#[test]
fn an_alert_shows_everywhere_and_ends_with_its_trigger() -> Result<()> {
    let annotations = "annotations.summary = \"{{ labels.instance }} has {{ value }}\"";
    let mut rig = Rig::start("", &format!("expr = \"node_load1 >= 0\"\nfor = \"2s\"\n{annotations}"))?;
    rig.wait_for(Some("firing"))?;

    let page = rig.server.page()?;
    let alert = alerts(&page, "Loaded").next().context("no alert")?;
    assert!(alert.has(&[("instance", "web"), ("env", "prod"), ("severity", "warning"), ("monitor", "hostwatch")]));
    let count = [("alertname", "Loaded"), ("severity", "warning"), ("alertstate", "firing")];
    assert_eq!(page.value("hostwatch_alerts", &count), Some(1.0));

    let api = rig.api("/api/v1/alerts")?;
    let alert = &api["alerts"][0];
    assert_eq!((&alert["state"], &alert["host"]), (&"firing".into(), &"web".into()), "{api}");
    assert_eq!(alert["annotations"]["summary"], "web has 0.5");
    assert!(alert["fired_at"].as_f64() >= alert["since"].as_f64().map(|since| since + 2.0), "{api}");
    let rules = rig.api("/api/v1/rules")?;
    let rule = rules["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["name"] == "Loaded"));
    let rule = rule.context("no rule")?;
    assert_eq!((&rule["health"], &rule["firing"], &rule["expr"]), (&"ok".into(), &1.into(), &"node_load1 >= 0".into()));
    let (_, overview) = rig.server.get("/")?;
    assert!(overview.contains("Loaded") && overview.contains("web has 0.5"), "{overview}");
    assert_eq!(
        rig.transitions()?,
        ["inactive>pending: the condition holds", "pending>firing: the condition has held for long enough"]
    );

    rig.server.write("templates.toml", "[templates.linux]\n")?;
    rig.server.reload()?;
    rig.wait_for(None)?;
    assert_eq!(rig.transitions()?.last().map(String::as_str), Some("firing>resolved: the trigger was removed"));
    Ok(())
}

#[test]
fn a_firing_alert_waits_for_its_recovery() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 > 10\"\nrecover = \"node_load1 < 5\"\nfor = \"0s\"")?;
    rig.load(11.0)?;
    rig.wait_for(Some("firing"))?;
    rig.load(7.0)?;
    rig.wait_for_a_report()?;
    rig.wait_for(Some("firing"))?;
    rig.load(3.0)?;
    rig.wait_for(None)?;
    assert_eq!(rig.transitions()?.last().map(String::as_str), Some("firing>resolved: it has recovered"));
    Ok(())
}

#[test]
fn an_alert_keeps_firing_for_a_while() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 > 10\"\nkeep_firing_for = \"3s\"")?;
    rig.load(11.0)?;
    rig.wait_for(Some("firing"))?;
    rig.load(1.0)?;
    rig.wait_for(None)?;
    let events = rig.api("/api/v1/events?alertname=Loaded")?;
    let at = |index: usize| events["events"][index]["at"].as_f64().context("no time");
    ensure!(at(0)? - at(1)? >= 3.0, "{events}");
    Ok(())
}

#[test]
fn without_data_nothing_ends_and_nothing_begins() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 > 10\"")?;
    rig.load(11.0)?;
    rig.wait_for(Some("firing"))?;
    fs::remove_file(rig.proc.path().join("loadavg"))?;
    rig.server.eventually("the rule has no data", DEADLINE, |page| {
        let count = [("alertname", "Loaded"), ("alertstate", "firing")];
        ensure!(page.value("hostwatch_alerts", &count) == Some(1.0));
        ensure!(page.value("node_load1", &[("instance", "web")]).is_none(), "there is a load still");
        Ok(())
    })?;
    let alert = hostwatch_testkit::eventually("no data since", DEADLINE, || {
        let api = rig.api("/api/v1/alerts")?;
        ensure!(api["alerts"][0]["no_data_since"].is_number(), "{api}");
        Ok(api["alerts"][0].clone())
    })?;
    assert_eq!(alert["state"], "firing");
    rig.load(1.0)?;
    rig.wait_for(None)?;
    let transitions = rig.transitions()?;
    assert_eq!(
        transitions[2..],
        ["firing>firing: there is no data", "firing>firing: there is data again", "firing>resolved: it has recovered"]
    );
    Ok(())
}

#[test]
fn a_restart_of_the_server_keeps_what_was_pending() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 > 10\"\nfor = \"8s\"")?;
    rig.load(11.0)?;
    rig.wait_for(Some("pending"))?;
    let since = rig.api("/api/v1/alerts")?["alerts"][0]["since"].as_f64().context("no since")?;
    assert!(rig.server.terminate()?.success());
    rig.server.start_again()?;
    rig.wait_for(Some("firing"))?;
    let alert = rig.api("/api/v1/alerts")?["alerts"][0].clone();
    assert_eq!(alert["since"].as_f64(), Some(since), "{alert}");
    assert!(alert["fired_at"].as_f64() >= Some(since + 8.0), "{alert}");
    let begun = rig.transitions()?.iter().filter(|transition| transition.starts_with("inactive>pending")).count();
    assert_eq!(begun, 1);
    Ok(())
}

#[test]
fn a_changed_template_is_judged_at_once_and_the_alert_stays_the_same() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 > ${warn}\"")?;
    rig.load(30.0)?;
    rig.wait_for(Some("firing"))?;
    let fired = rig.api("/api/v1/alerts")?["alerts"][0]["fired_at"].clone();
    rig.server.write("templates.toml", &TEMPLATES.replace("\"10\"", "\"20\""))?;
    rig.server.reload()?;
    rig.wait_for_a_report()?;
    assert_eq!(rig.api("/api/v1/alerts")?["alerts"][0]["fired_at"], fired, "it is the same alert");
    rig.server.write("templates.toml", &TEMPLATES.replace("\"10\"", "\"40\""))?;
    rig.server.reload()?;
    rig.wait_for(None)?;
    assert_eq!(rig.transitions()?.last().map(String::as_str), Some("firing>resolved: it has recovered"));
    Ok(())
}

#[test]
fn an_alert_ends_with_its_host() -> Result<()> {
    let mut rig = Rig::start("", "expr = \"node_load1 >= 0\"")?;
    rig.wait_for(Some("firing"))?;
    rig.server.write("hosts.toml", "")?;
    rig.server.reload()?;
    rig.wait_for(None)?;
    assert_eq!(rig.transitions()?.last().map(String::as_str), Some("firing>resolved: the host was removed"));
    Ok(())
}

#[test]
fn a_host_that_dies_raises_an_alert_and_its_return_ends_it() -> Result<()> {
    let quick = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"4s\"\n";
    let mut rig = Rig::start(quick, "expr = \"node_load1 > 10\"")?;
    rig.client.kill()?;
    let is_down =
        |page: &Page| alerts(page, "HostDown").any(|alert| alert.has(&[("instance", "web"), ("env", "prod")]));
    rig.server.eventually("the host is announced as down", DEADLINE, |page| {
        ensure!(is_down(page));
        Ok(())
    })?;
    let api = rig.api("/api/v1/alerts?alertname=HostDown")?;
    assert_eq!(api["alerts"][0]["annotations"]["summary"], "web is down");
    rig.server.terminate()?;
    rig.server.start_again()?;
    rig.server.eventually("a restart does not forget it", DEADLINE, |page| {
        ensure!(is_down(page));
        Ok(())
    })?;
    rig.client.start_again()?;
    rig.server.eventually("the host is back", DEADLINE, |page| {
        ensure!(!is_down(page));
        Ok(())
    })
}

/// Waits until the host is announced as down.
fn wait_until_down(rig: &mut Rig) -> Result<()> {
    rig.server.eventually("the host is announced as down", DEADLINE, |page| {
        let down = alerts(page, "HostDown").any(|alert| alert.has(&[("instance", "web"), ("alertstate", "firing")]));
        ensure!(down, "it is not");
        Ok(())
    })
}

#[test]
fn a_host_that_dies_while_the_server_is_away_is_announced() -> Result<()> {
    let quick = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"4s\"\n";
    let mut rig = Rig::start(quick, "expr = \"node_load1 > 10\"")?;
    rig.server.terminate()?;
    rig.client.kill()?;
    rig.server.start_again()?;
    wait_until_down(&mut rig)?;
    // Nor does the server need to remember that the host ever lived: it is configured.
    rig.server.kill()?;
    for file in ["fleet.state", "alerts.state"] {
        fs::remove_file(rig.server.state_directory().join(file))?;
    }
    rig.server.start_again()?;
    wait_until_down(&mut rig)
}

#[test]
fn a_host_that_says_goodbye_and_does_not_come_back_is_down_after_its_grace() -> Result<()> {
    let quick = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"4s\"\nleft_grace = \"10s\"\n";
    let mut rig = Rig::start(quick, "expr = \"node_load1 > 10\"")?;
    assert!(rig.client.terminate()?.success());
    let left = |page: &Page| page.value("hostwatch_host_state", &[("instance", "web"), ("state", "left")]) == Some(1.0);
    assert!(left(&rig.server.page()?), "its goodbye was not heard");
    let said = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    wait_until_down(&mut rig)?;
    let events = rig.api("/api/v1/events?alertname=HostDown")?;
    let fired = events["events"][0]["at"].as_f64().context("no time")?;
    // Longer than a silent host would have had; the goodbye was said a little before we looked.
    ensure!(fired - said >= 9.0, "down {} s after its goodbye: {events}", fired - said);
    rig.client.start_again()?;
    rig.server.eventually("the host is back", DEADLINE, |page| {
        ensure!(alerts(page, "HostDown").count() == 0, "it is down");
        ensure!(page.value("hostwatch_host_up", &[("instance", "web")]) == Some(1.0), "it is not up");
        Ok(())
    })
}

#[test]
fn rules_over_the_fleet_alert_and_record() -> Result<()> {
    const RULES: &str = r#"
[rules.total]
record = "fleet:load1:sum"
expr = "sum by (job) (node_load1)"
interval = "1s"
labels = { from = "rules" }
[rules.down]
alert = "ManyDown"
expr = 'count(hostwatch_host_state{state="down"} == 1) / count(hostwatch_host_up) > 0.4'
interval = "1s"
labels.severity = "critical"
[rules.average]
alert = "Loaded"
expr = 'avg_over_time(node_load1{env="prod"}[10s]) >= 0'
interval = "1s"
"#;
    let redis = Redis::start()?;
    let server = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"4s\"\n";
    let hosts = "[hosts.a]\ntemplates = [\"linux\"]\nlabels = { env = \"prod\" }\n[hosts.b]\ntemplates = [\"linux\"]\n";
    let setup = ServerSetup {
        redis_url: redis.url(),
        files: with(files(server, hosts), &[("rules/fleet.toml", RULES)]),
        ..ServerSetup::default()
    };
    let mut server = Server::start(&setup)?;
    let _a = start_client(&redis, "a")?;
    let mut b = start_client(&redis, "b")?;
    server.eventually("both are up", DEADLINE, |page| is_up(page, "a").and_then(|()| is_up(page, "b")))?;
    server.eventually("the sum is recorded", DEADLINE, |page| {
        let loads: f64 = page.series("node_load1").map(|sample| sample.value).sum();
        let sum = page.value("fleet:load1:sum", &[("job", "node"), ("from", "rules")]).context("no sum")?;
        ensure!((sum - loads).abs() < 0.01, "{sum} of {loads}");
        Ok(())
    })?;
    server.eventually("a rule that ranges over the past", DEADLINE, |page| {
        let mut alerts = alerts(page, "Loaded");
        ensure!(alerts.any(|alert| alert.has(&[("instance", "a"), ("env", "prod")])), "no alert of a");
        Ok(())
    })?;
    let page = server.page()?;
    assert!(alerts(&page, "Loaded").count() == 1 && alerts(&page, "ManyDown").count() == 0);
    b.kill()?;
    server.eventually("half of the fleet is down", DEADLINE, |page| {
        ensure!(alerts(page, "ManyDown").any(|alert| alert.has(&[("alertstate", "firing"), ("severity", "critical")])));
        Ok(())
    })
}

#[test]
fn a_rule_that_fails_says_so_and_the_others_go_on() -> Result<()> {
    // Two sides of one to many: which of a host's processors belongs to its load, nobody said.
    let other =
        "[[services.load.triggers]]\nalert = \"Broken\"\nexpr = \"node_load1 + on () {__name__=~'node_load.+'} > 0\"";
    let mut rig = Rig::start("", &format!("expr = \"node_load1 >= 0\"\n{other}"))?;
    rig.wait_for(Some("firing"))?;
    let rule = hostwatch_testkit::eventually("the rule has failed", DEADLINE, || {
        let rules = rig.api("/api/v1/rules")?;
        let broken = rules["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["name"] == "Broken"));
        let broken = broken.context("no rule")?.clone();
        ensure!(broken["failures"].as_u64() >= Some(2), "{broken}");
        Ok(broken)
    })?;
    assert_eq!((&rule["health"], &rule["last_error"]["host"]), (&"err".into(), &"web".into()), "{rule}");
    let log = rig.server.process.log();
    assert_eq!(log.matches("rule Broken of load failed").count(), 1, "{log}");
    let failures = rig.server.page()?.value("hostwatch_rule_evaluation_failures_total", &[("rule", "Broken")]);
    assert!(failures >= Some(2.0));
    Ok(())
}

#[test]
fn a_fleet_that_falls_silent_is_one_alert() -> Result<()> {
    let redis = Redis::start()?;
    let settings = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"4s\"\n";
    let hosts = "[[match]]\nhost = \"*\"\ntemplates = [\"linux\"]\n";
    let mut server = Server::start(&ServerSetup {
        redis_url: redis.url(),
        files: files(settings, hosts),
        ..ServerSetup::default()
    })?;
    let names = ["a", "b", "c", "d"];
    let mut clients = names.iter().map(|host| start_client(&redis, host)).collect::<Result<Vec<_>>>()?;
    server.eventually("all are up", DEADLINE, |page| names.iter().try_for_each(|host| is_up(page, host)))?;
    let connected = "hostwatch_host_reports_received_total";
    server.eventually("every host has had its time to report", DEADLINE, |page| {
        ensure!(page.value(connected, &[("instance", "a")]) >= Some(6.0));
        Ok(())
    })?;
    for client in &mut clients[..3] {
        client.kill()?;
    }
    server.eventually("one alert names the fleet", DEADLINE, |page| {
        ensure!(
            alerts(page, "FleetSilent").any(|alert| alert.has(&[("alertstate", "firing"), ("severity", "critical")]))
        );
        Ok(())
    })?;
    server.eventually("all three are down", DEADLINE, |page| {
        ensure!(page.value("hostwatch_hosts", &[("state", "down")]) == Some(3.0));
        Ok(())
    })?;
    let page = server.page()?;
    assert_eq!((alerts(&page, "FleetSilent").count(), alerts(&page, "HostDown").count()), (1, 0));
    for client in &mut clients[..2] {
        client.start_again()?;
    }
    server.eventually("what is down still is announced", DEADLINE, |page| {
        ensure!(alerts(page, "FleetSilent").count() == 0, "the fleet is silent");
        let down: Vec<&str> = alerts(page, "HostDown").filter_map(|alert| alert.label("instance")).collect();
        ensure!(down == ["c"], "{down:?}");
        Ok(())
    })?;
    let (_, events) = server.get("/api/v1/events?alertname=HostDown")?;
    let events: Value = serde_json::from_str(&events)?;
    let all = events["events"].as_array().context("no events")?;
    assert!(all.iter().all(|event| event["host"] == "c"), "{events}");
    Ok(())
}

#[test]
fn a_server_that_is_cut_off_blames_its_link_and_no_host() -> Result<()> {
    // A client that cannot reach Redis tries again every 5 s at least, which is what it needs to report after the outage.
    let settings = "[liveness]\nheartbeat = \"1s\"\ndown_after = \"10s\"\n";
    let mut rig = Rig::start(settings, "expr = \"node_load1 > 10\"")?;
    rig.redis.stop()?;
    rig.server.eventually("the link is named, and the host silent for longer than any may be", DEADLINE, |page| {
        ensure!(alerts(page, "RedisLinkDown").any(|alert| alert.has(&[("alertstate", "firing")])), "it is not named");
        let heard = page.value("hostwatch_host_last_report_timestamp_seconds", &[("instance", "web")]);
        let silent = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() - heard.context("never heard")?;
        ensure!(silent >= 12.0, "silent for {silent} s");
        ensure!(
            page.value("hostwatch_host_state", &[("instance", "web"), ("state", "stale")]) == Some(1.0),
            "not stale"
        );
        Ok(())
    })?;
    rig.redis.start_again()?;
    rig.server.eventually("the link is back and the host is up", DEADLINE, |page| {
        ensure!(alerts(page, "RedisLinkDown").count() == 0, "the link is away");
        ensure!(page.value("hostwatch_host_up", &[("instance", "web")]) == Some(1.0), "the host is not up");
        Ok(())
    })?;
    let events = rig.api("/api/v1/events?alertname=HostDown")?;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(0), "{events}");
    Ok(())
}
