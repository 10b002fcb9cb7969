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

/// One series of the answer to a range query: its labels, `__name__` among them; its times in milliseconds with values.
pub type RangeSeries = (BTreeMap<String, String>, Vec<(i64, f64)>);

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
        Self::run(home, address)
    }

    /// Starts one that scrapes nothing and holds the samples of a text in the OpenMetrics format, with timestamps.
    ///
    /// # Errors
    /// As [`Prometheus::start`]; also when promtool refuses the text.
    pub fn start_with_samples(text: &str) -> Result<Self> {
        let home = Home::new("prometheus", None)?;
        home.write("prometheus.yml", "")?;
        home.write("samples.txt", text)?;
        let mut promtool = Command::new(require("promtool")?);
        promtool.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]);
        let output = promtool.arg(home.path().join("samples.txt")).arg(home.path().join("data")).output();
        let output = output.context("run promtool")?;
        if !output.status.success() {
            bail!("promtool: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Self::run(home, format!("127.0.0.1:{}", free_port()?))
    }

    fn run(home: Home, address: String) -> Result<Self> {
        let mut command = Command::new(require("prometheus")?);
        command.arg(format!("--config.file={}", home.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", home.path().join("data").display()));
        // Samples that a test made up may be old.
        command.arg("--storage.tsdb.retention.time=100y");
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

    /// Asks a range query, `count` times from `start_s` on (seconds since the Unix epoch), `step_s` apart. For each series
    /// its values with their times in milliseconds; or Prometheus's message, when it cannot evaluate the expression.
    ///
    /// # Errors
    /// When the answer is neither.
    pub fn query_range(
        &self,
        expression: &str,
        start_s: i64,
        step_s: i64,
        count: usize,
    ) -> Result<Result<Vec<RangeSeries>, String>> {
        let end_s = start_s + step_s * (count as i64 - 1);
        let expression = percent_encoded(expression);
        let query = format!("/api/v1/query_range?query={expression}&start={start_s}&end={end_s}&step={step_s}");
        let (status, body) = get(&self.url(&query))?;
        let answer: Value = serde_json::from_str(&body).with_context(|| format!("{query}: {status}: {body}"))?;
        match status {
            200 => Ok(Ok(ranges(&answer["data"]["result"]).with_context(|| format!("{query}: {body}"))?)),
            422 => Ok(Err(answer["error"].as_str().unwrap_or_default().to_owned())),
            _ => bail!("{query}: {status}: {body}"),
        }
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

/// How many samples prometheus_client, the strictest reader of OpenMetrics, finds on a page in that format.
///
/// # Errors
/// When the page does not parse, or Debian's prometheus_client is not installed.
pub fn open_metrics_samples(page: &str) -> Result<usize> {
    const PARSER: &str = "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py";
    // Another Python on the path may not have it.
    const PYTHON: &str = "/usr/bin/python3";
    const READ: &str = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families\n\
        families = list(text_string_to_metric_families(sys.stdin.buffer.read().decode()))\n\
        print(sum(len(family.samples) for family in families))\n";
    require(PARSER)?;
    let mut child = Command::new(PYTHON)
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run python3")?;
    child.stdin.take().context("the parser's input")?.write_all(page.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("prometheus_client: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
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

fn ranges(result: &Value) -> Option<Vec<RangeSeries>> {
    let series = result.as_array()?.iter().map(|series| {
        let labels = series["metric"].as_object()?.iter();
        let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let points = series["values"].as_array()?.iter();
        let points =
            points.map(|point| Some(((point[0].as_f64()? * 1000.0).round() as i64, point[1].as_str()?.parse().ok()?)));
        Some((labels.collect::<Option<_>>()?, points.collect::<Option<_>>()?))
    });
    series.collect()
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
