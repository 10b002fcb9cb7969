//! A private Prometheus, the judge of our pages: it scrapes, and is asked over its HTTP API what it understood.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::home::Home;
use crate::{Process, Sample, free_port, get, require};

const DEADLINE: Duration = Duration::from_secs(60);

/// A running Prometheus. It is killed when this is dropped.
pub struct Prometheus {
    /// The server process.
    pub process: Process,
    address: String,
    /// Held for its end: the temporary directory goes after the process.
    _home: Home,
}

impl Prometheus {
    /// Starts one that scrapes every second, and waits until it is ready. `scrape_configs` is the list below the key
    /// of this name, in YAML, indented by nothing: `- job_name: hostwatch\n  honor_labels: true\n  …`.
    ///
    /// # Errors
    /// When prometheus is not installed, refuses the configuration or does not come up.
    pub fn start(scrape_configs: &str) -> Result<Self> {
        Self::start_with_rules(scrape_configs, "groups: []\n")
    }

    /// Starts one that also evaluates the rules of a rules file.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub fn start_with_rules(scrape_configs: &str, rules: &str) -> Result<Self> {
        let home = Home::new("prometheus", None)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nrule_files: [rules.yml]\n\
             scrape_configs:\n{scrape_configs}\n"
        );
        home.write("prometheus.yml", &config)?;
        home.write("rules.yml", rules)?;
        let mut command = Command::new(require("prometheus")?);
        command.arg(format!("--config.file={}", home.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", home.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", &command, &home.path().join("prometheus.log"))?;
        let mut prometheus = Self { process, address, _home: home };
        prometheus.wait_until_ready()?;
        Ok(prometheus)
    }

    /// The address of a path on it: `http://127.0.0.1:PORT/PATH`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks an instant query, now. A vector is handed out sample by sample, a scalar as one without name and labels.
    ///
    /// # Errors
    /// When it refuses the expression or its answer is neither.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let (status, body) = get(&self.url(&format!("/api/v1/query?query={}", percent_encoded(expression))))?;
        if status != 200 {
            bail!("query {expression}: {status}: {body}");
        }
        let answer: Value = serde_json::from_str(&body)?;
        samples(&answer["data"]).with_context(|| format!("query {expression}: {body}"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let url = self.url("/-/ready");
        self.process.eventually("prometheus is ready", DEADLINE, |_| match get(&url)? {
            (200, _) => Ok(()),
            (status, body) => bail!("{status} {body}"),
        })
    }
}

/// What `promtool check metrics` remarks on a page, line by line; nothing on a page that is as it should be.
///
/// # Errors
/// When the page does not parse (exit code 1), or promtool is not installed.
pub fn promtool_remarks(page: &str) -> Result<Vec<String>> {
    let promtool = require("promtool")?;
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run promtool")?;
    // It reads the whole page before it says anything, so that writing and then reading cannot block each other.
    child.stdin.take().context("promtool's input")?.write_all(page.as_bytes())?;
    let output = child.wait_with_output()?;
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        // Exit code 3 is for remarks on style.
        Some(0 | 3) => Ok(remarks.lines().map(str::to_owned).collect()),
        _ => bail!("promtool check metrics: {}: {remarks}", output.status),
    }
}

fn samples(data: &Value) -> Option<Vec<Sample>> {
    let number = |point: &Value| point.get(1)?.as_str()?.parse().ok();
    match data["resultType"].as_str()? {
        "scalar" => {
            Some(vec![Sample { name: String::new(), labels: BTreeMap::new(), value: number(&data["result"])? }])
        }
        "vector" => data["result"]
            .as_array()?
            .iter()
            .map(|series| {
                let mut labels = BTreeMap::new();
                for (name, value) in series["metric"].as_object()? {
                    labels.insert(name.clone(), value.as_str()?.to_owned());
                }
                let name = labels.remove("__name__").unwrap_or_default();
                Some(Sample { name, labels, value: number(&series["value"])? })
            })
            .collect(),
        _ => None,
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
