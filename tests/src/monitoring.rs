//! What is shipped for Prometheus, Grafana and Docker Compose: every file is read by the program that it is for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Prometheus, Redis, Server, ServerSetup, eventually, require, root};
use serde_json::Value;

use crate::fleet::{DEADLINE, is_up};

const HOST: &str = "web";

fn packaging() -> Result<PathBuf> {
    Ok(root()?.join("packaging"))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(())
}

/// A server with the shipped files and an alert that fires, and a host.
struct Rig {
    server: Server,
    _client: Client,
    redis: Redis,
}

impl Rig {
    fn start() -> Result<Self> {
        let redis = Redis::start()?;
        let mut files = Vec::new();
        for folder in ["", "services", "rules"] {
            for entry in std::fs::read_dir(packaging()?.join("config").join(folder))? {
                let path = entry?.path();
                let name = path.file_name().context("a file has a name")?.to_string_lossy().into_owned();
                if path.is_file() && !["server.toml", "client.toml", "hosts.toml"].contains(&name.as_str()) {
                    files.push((Path::new(folder).join(name).display().to_string(), read(&path)?));
                }
            }
        }
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        files.push(file("hosts.toml", &format!("[hosts.{HOST}]\ntemplates = [\"linux\", \"test\"]\n")));
        files.push(file("templates.d/test.toml", "[templates.test]\nservices = [\"alarm\"]\n"));
        let alarm = "[services.alarm]\nplugin = \"load\"\ninterval = \"1s\"\n[[services.alarm.triggers]]\n\
                     alert = \"Alarm\"\nexpr = 'node_load1 >= 0'\n";
        files.push(file("services/test.toml", alarm));
        let server_toml = "[inventory]\ntemplates = [\"templates.toml\", \"templates.d/*.toml\"]\n";
        files.push(file("server.toml", server_toml));
        let mut server = Server::start(&ServerSetup { redis_url: redis.url(), files, ..ServerSetup::default() })?;
        let host = Some(HOST.to_owned());
        let client = Client::start(&ClientSetup { host, redis_url: redis.url(), ..ClientSetup::default() })?;
        server.eventually("the host is up", DEADLINE, |page| is_up(page, HOST))?;
        Ok(Self { server, _client: client, redis })
    }

    /// A Prometheus that scrapes it as a shipped file says, from the line `begin` on.
    fn prometheus(&self, file: &str, begin: &str) -> Result<Prometheus> {
        let text = read(&packaging()?.join("prometheus").join(file))?;
        let (_, scrape_configs) = text.split_once(&format!("\n{begin}\n")).with_context(|| format!("no {begin}"))?;
        Prometheus::start(&scrape_configs.replace("127.0.0.1:10120", self.server.address()))
    }
}

#[test]
fn prometheus_takes_the_shipped_files() -> Result<()> {
    let promtool = require("promtool")?;
    let prometheus = packaging()?.join("prometheus");
    for file in ["page.yml", "sd.yml"] {
        succeeds(Command::new(&promtool).args(["check", "config"]).arg(prometheus.join(file)))?;
    }
    // The file for Compose names its rules as the container sees them.
    let directory = tempfile::tempdir()?;
    for (from, to) in [("compose/prometheus.yml", "prometheus.yml"), ("prometheus/rules.yml", "rules.yml")] {
        std::fs::copy(packaging()?.join(from), directory.path().join(to))?;
    }
    succeeds(Command::new(&promtool).args(["check", "config"]).arg(directory.path().join("prometheus.yml")))?;
    succeeds(Command::new(require("amtool")?).arg("check-config").arg(packaging()?.join("compose/alertmanager.yml")))?;
    let mut compose = Command::new(require("docker-compose")?);
    succeeds(compose.arg("--file").arg(packaging()?.join("compose.yaml")).args(["config", "--quiet"]))
}

#[test]
fn compose_brings_each_program_to_where_the_others_look_for_it() -> Result<()> {
    let compose = read(&packaging()?.join("compose.yaml"))?;
    for (file, says, reads) in [
        ("compose/prometheus.yml", "targets: [\"127.0.0.1:10120\"]", "127.0.0.1:${HOSTWATCH_PORT:-10120}"),
        ("compose/prometheus.yml", "targets: [\"127.0.0.1:9093\"]", "--web.listen-address=127.0.0.1:9093"),
        ("compose/prometheus.yml", "rule_files:\n  - rules.yml", "rules.yml:/etc/prometheus/rules.yml"),
        ("compose/datasource.yml", "url: http://127.0.0.1:9090", "--web.listen-address=127.0.0.1:9090"),
        ("compose/datasource.yml", "isDefault: true", "/etc/grafana/provisioning/datasources/hostwatch.yml"),
        (
            "compose/dashboards.yml",
            "path: /var/lib/grafana/dashboards\n",
            "fleet.json:/var/lib/grafana/dashboards/fleet.json",
        ),
        ("compose/dashboards.yml", "providers:", "/etc/grafana/provisioning/dashboards/hostwatch.yml"),
    ] {
        ensure!(read(&packaging()?.join(file))?.contains(says), "{file} does not say {says}");
        ensure!(compose.contains(reads), "compose.yaml does not say {reads}");
    }
    // Whatever is mounted from the repository is there.
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next());
    let mounts: Vec<PathBuf> = mounts.map(|path| packaging().map(|folder| folder.join(path))).collect::<Result<_>>()?;
    ensure!(mounts.len() == 7 && mounts.iter().all(|path| path.exists()), "{mounts:?}");
    Ok(())
}

#[test]
fn the_readme_scrapes_as_the_shipped_file_does() -> Result<()> {
    let readme = read(&root()?.join("README.md"))?;
    let (_, rest) = readme.split_once("\n```yaml\n").context("no snippet")?;
    let snippet = rest.split("```").next().context("a snippet")?;
    let page = read(&packaging()?.join("prometheus/page.yml"))?;
    let page: String = page.split_inclusive('\n').filter(|line| !line.trim().starts_with('#')).collect();
    ensure!(page.ends_with(snippet), "{snippet}");
    Ok(())
}

#[test]
fn prometheus_sees_a_host_once_in_both_ways_of_scraping() -> Result<()> {
    let rig = Rig::start()?;
    for file in ["page.yml", "sd.yml"] {
        let prometheus = rig.prometheus(file, "scrape_configs:")?;
        eventually(file, DEADLINE, || {
            for series in ["node_load1", "hostwatch_client_cpu_seconds_total", "hostwatch_host_up"] {
                let seen = prometheus.query(&format!("{series}{{instance=\"{HOST}\"}}"))?;
                ensure!(seen.len() == 1, "{series}: {seen:?}");
            }
            let seen = prometheus.query("node_load1")?;
            ensure!(seen.len() == 1 && seen[0].label("job") == Some("node"), "{seen:?}");
            let failed = prometheus.query("up == 0")?;
            ensure!(failed.is_empty(), "{failed:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn prometheus_takes_no_series_of_a_host_from_the_page_besides_the_hosts_own() -> Result<()> {
    let rig = Rig::start()?;
    // Without the job before it, so that whatever is there came from the page of the fleet.
    let prometheus = rig.prometheus("sd.yml", "  # What the server knows of the fleet and of itself.")?;
    for series in ["hostwatch_build_info", "hostwatch_host_up", "ALERTS", "fleet:memory_available_bytes:sum"] {
        eventually(series, DEADLINE, || {
            ensure!(!prometheus.query(series)?.is_empty(), "no {series}");
            Ok(())
        })?;
    }
    let (status, page) = rig.server.get(&format!("/metrics/host/{HOST}"))?;
    ensure!(status == 200, "{status}: {page}");
    let of_host: BTreeSet<String> = Page::parse(&page)?.samples.into_iter().map(|sample| sample.name).collect();
    ensure!(of_host.iter().any(|name| name.starts_with("hostwatch_")), "{of_host:?}");
    for sample in prometheus.query(&format!("count by (__name__) ({{instance=\"{HOST}\"}})"))? {
        let name = sample.label("__name__").unwrap_or(&sample.name);
        ensure!(!of_host.contains(name), "{name} comes twice");
    }
    Ok(())
}

#[test]
fn prometheus_answers_every_panel_of_the_dashboard() -> Result<()> {
    let rig = Rig::start()?;
    let prometheus = rig.prometheus("page.yml", "scrape_configs:")?;
    // Something has to be refused before there is a series of what was.
    rig.redis.cli(&["PUBLISH", "hostwatch:{web}:reports", "garbage"])?;
    let dashboard: Value = serde_json::from_str(&read(&packaging()?.join("grafana/fleet.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut asked = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().context("no title")?;
        let targets = panel["targets"].as_array().context("no targets")?;
        ensure!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            let expression = target["expr"].as_str().context("no expr")?.replace("$instance", ".*");
            ensure!(!expression.contains('$'), "{title}: a variable in {expression}");
            eventually(title, DEADLINE, || match prometheus.query(&expression)?.is_empty() {
                true => bail!("no data for {expression}"),
                false => Ok(()),
            })?;
            asked += 1;
        }
    }
    ensure!(asked >= 20, "only {asked} expressions");
    let variable = dashboard["templating"]["list"][1]["query"].as_str().context("no variable")?;
    ensure!(variable == "label_values(hostwatch_host_up, instance)", "{variable}");
    Ok(())
}
