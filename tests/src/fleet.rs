//! A whole hostwatch for a test: one Redis, one server, some clients.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Server, ServerSetup};

/// Generous: what is waited for takes seconds at most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Every host that joins runs everything.
pub(crate) const ANY_HOST: &str = "[[match]]\nhost = \"*\"\ntemplates = [\"linux\"]\n";

/// The three plugins, quick enough for a test.
pub(crate) const SERVICES: &str = r#"
[services.cpu]
plugin = "cpu"
interval = "${interval}"
[services.load]
plugin = "load"
interval = "${interval}"
[services.memory]
plugin = "memory"
interval = "${interval}"
"#;

pub(crate) const TEMPLATES: &str = r#"
[templates.linux]
services = ["cpu", "load", "memory"]
vars = { interval = "1s" }
"#;

/// The configuration of a server, `hosts.toml` and `server.toml` given.
pub(crate) fn files(server: &str, hosts: &str) -> Vec<(String, String)> {
    [("server.toml", server), ("hosts.toml", hosts), ("templates.toml", TEMPLATES), ("services/linux.toml", SERVICES)]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into()
}

pub(crate) fn start_server(redis: &Redis, server: &str, hosts: &str) -> Result<Server> {
    let setup = ServerSetup { redis_url: redis.url(), files: files(server, hosts), ..ServerSetup::default() };
    Server::start(&setup)
}

/// A server that gives every host the template `linux` of `templates`.
pub(crate) fn start_server_with(redis: &Redis, templates: &str, services: &str) -> Result<Server> {
    let files = [("hosts.toml", ANY_HOST), ("templates.toml", templates), ("services/linux.toml", services)]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into();
    Server::start(&ServerSetup { redis_url: redis.url(), files, ..ServerSetup::default() })
}

pub(crate) fn start_client(redis: &Redis, host: &str) -> Result<Client> {
    start_client_with(redis, host, String::new())
}

/// A client with these settings.
pub(crate) fn start_client_with(redis: &Redis, host: &str, toml: String) -> Result<Client> {
    let setup =
        ClientSetup { host: Some(host.to_owned()), redis_url: redis.url(), toml: Some(toml), ..ClientSetup::default() };
    Client::start(&setup)
}

/// The figure `name` of `host`.
pub(crate) fn figure(page: &Page, name: &str, host: &str) -> Result<f64> {
    page.value(name, &[("instance", host)]).with_context(|| format!("no {name} of {host}"))
}

/// Fails unless `host` is up and the newest series of all three plugins are there.
pub(crate) fn is_up(page: &Page, host: &str) -> Result<()> {
    ensure!(figure(page, "hostwatch_host_up", host)? == 1.0, "{host} is not up");
    for name in ["node_load1", "node_memory_MemTotal_bytes"] {
        figure(page, name, host)?;
    }
    let cpu = [("instance", host), ("cpu", "0"), ("mode", "idle")];
    page.value("node_cpu_seconds_total", &cpu).with_context(|| format!("no processor of {host}"))?;
    Ok(())
}

/// The label `revision` of what `host` has applied, or should have.
pub(crate) fn revision(page: &Page, host: &str, state: &str) -> Result<String> {
    let mut infos = page.series("hostwatch_host_config_revision_info");
    let info = infos.find(|info| info.has(&[("instance", host), ("state", state)]));
    let info = info.with_context(|| format!("no {state} revision of {host}"))?;
    Ok(info.label("revision").context("no label revision")?.to_owned())
}

/// Fails unless `host` has applied what it should, and that is not `before`.
pub(crate) fn has_applied_another(page: &Page, host: &str, before: &str) -> Result<()> {
    let applied = revision(page, host, "applied")?;
    ensure!(applied != before, "{host} still runs {before}");
    ensure!(applied == revision(page, host, "wanted")?, "{host} runs {applied}, which is not what it should");
    Ok(())
}

/// The books of a host's current epoch, which have to balance.
pub(crate) struct Books {
    pub(crate) sequence: f64,
    pub(crate) received: f64,
    pub(crate) lost: f64,
    pub(crate) outstanding: f64,
}

pub(crate) fn books(page: &Page, host: &str) -> Result<Books> {
    let of = |name: &str| figure(page, &format!("hostwatch_host_{name}"), host);
    let (sequence, baseline) = (of("report_sequence")?, of("reports_baseline")?);
    let (received, lost, outstanding) = (of("reports_received")?, of("reports_lost")?, of("reports_outstanding")?);
    assert_eq!(sequence - baseline, received + lost + outstanding, "the books of {host} do not balance");
    Ok(Books { sequence, received, lost, outstanding })
}
