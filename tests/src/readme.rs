//! The README's `cargo xtask run`, typed for real: what it prints is true, and nothing of it is left behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Process, Signal, eventually, get, require, root};

/// Generous, because it may have to build the programs first.
const START_DEADLINE: Duration = Duration::from_secs(900);

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn run_shows_this_machine_up_applies_an_edit_and_leaves_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").context("cargo runs tests")?);
    cargo.args(["xtask", "run", "--directory"]).arg(directory.path().join("run")).current_dir(root()?);
    let mut run = Process::start("cargo xtask run", &cargo, &directory.path().join("run.log"))?;
    let metrics = run.eventually("it prints its addresses", START_DEADLINE, |run| {
        let log = run.log();
        // The last line, so that all the others are there.
        ensure!(log.contains("Ctrl-C"), "it has not finished talking");
        printed(&log, "metrics")
    })?;

    let page = page(&metrics)?;
    let up: Vec<f64> = page.series("hostwatch_host_up").map(|sample| sample.value).collect();
    assert_eq!(up, [1.0], "this machine and no other");
    let (status, overview) = get(&printed(&run.log(), "overview")?)?;
    assert_eq!(status, 200, "{overview}");

    let before = applied(&page)?;
    let templates = directory.path().join("run/config/templates.toml");
    let text = std::fs::read_to_string(&templates)?;
    let edited = text.replacen("cpu_interval = \"10s\"", "cpu_interval = \"11s\"", 1);
    assert_ne!(text, edited, "the shipped templates set an interval of 10s");
    std::fs::write(&templates, edited)?;
    shell(&printed(&run.log(), "apply")?)?;
    let look = printed(&run.log(), "look")?.replace("curl", &require("curl")?.to_string_lossy());
    eventually("the edit is applied", DEADLINE, || {
        let now = applied(&self::page(&metrics)?)?;
        ensure!(now != before, "still {now}");
        let shown = shell(&look)?;
        ensure!(shown.contains(&now), "{look}: {shown}");
        Ok(())
    })?;

    let children = children(run.pid())?;
    assert_eq!(children.len(), 3, "client, server and Redis");
    run.signal(Signal::INT)?;
    let exit = run.wait_exit(DEADLINE)?;
    assert!(exit.success(), "{exit}\n{}", run.show_log());
    for pid in children {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is left");
    }
    Ok(())
}

/// What the output has behind a word at the beginning of a line.
fn printed(log: &str, word: &str) -> Result<String> {
    let line = log.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no line begins with {word}: {log}"))?.trim().to_owned())
}

fn page(url: &str) -> Result<Page> {
    Ok(Page::parse(&get(url)?.1)?)
}

/// The revision that the one host says it runs.
fn applied(page: &Page) -> Result<String> {
    let mut revisions = page.series("hostwatch_host_config_revision_info");
    let sample = revisions.find(|sample| sample.has(&[("state", "applied")])).context("nothing is applied")?;
    Ok(sample.label("revision").context("no label revision")?.to_owned())
}

fn shell(command: &str) -> Result<String> {
    let output = Command::new("sh").args(["-c", command]).output()?;
    ensure!(output.status.success(), "{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The processes whose parent this one is.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        // A process may end while we look.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let (_, fields) = stat.rsplit_once(") ").context("a line without a name")?;
        // proc(5): behind the name stand the state and the parent.
        if fields.split(' ').nth(1) == Some(parent.to_string().as_str()) {
            children.push(pid);
        }
    }
    Ok(children)
}
