//! `cargo xtask test`: every check of the repository, with one line of sums at the end for machines.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use hostwatch_testkit::root;

use crate::install::install;

/// How many checks passed and failed so far; a test counts as much as a whole tool.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// What tests have in their names that need Prometheus, Docker, packages, images, or a machine that boots: words that single
/// tests are marked with, and modules that only the system tests have.
const SLOW: [&str; 8] =
    ["prometheus", "promtool", "hangs::", "images::", "installed::", "packages::", "sandbox::", "security_steps::"];

/// So many tests run at once on each processor with `--quick`: those that it leaves in wait more than they compute.
const QUICK_THREADS: usize = 3;

/// What the tests need that `--quick` leaves in.
const QUICK_PROGRAMS: [&str; 10] = [
    "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py",
    "/usr/lib/nagios/plugins/check_disk",
    "bindfs",
    "curl",
    "faketime",
    "ip",
    "openssl",
    "prometheus-redis-exporter",
    "redis-cli",
    "redis-server",
];

/// Runs the system tests of `module` so many times, and prints how long each run took.
///
/// # Errors
/// At the first run that fails, or that has no test.
pub(crate) fn repeat(times: u32, module: &str) -> Result<()> {
    install(&QUICK_PROGRAMS)?;
    let begin = Instant::now();
    for run in 1..=times {
        let start = Instant::now();
        let mut tally = Tally::default();
        tally.tests(&["test", "--package", "hostwatch-tests", &format!("{module}::")]);
        let (passed, seconds) = (tally.passed, start.elapsed().as_secs());
        ensure!(tally.failed == 0, "run {run} of {times}: {} of {module} failed", tally.failed);
        ensure!(passed > 0, "no test's name begins with {module}::");
        println!("run {run} of {times}: {passed} passed in {seconds} s");
    }
    println!("{times} runs of {module} in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Runs all checks, also after one has failed, and prints `N passed, N failed` as the last line.
pub(crate) fn run(quick: bool) -> ExitCode {
    let mut tally = Tally::default();
    let mut programs = QUICK_PROGRAMS.to_vec();
    if !quick {
        programs.extend(["amtool", "prometheus", "prometheus-node-exporter", "promtool"]);
        programs.extend(["dh", "docker", "docker-compose", "dockerd", "dpkg-buildpackage", "lintian", "mmdebstrap"]);
    }
    if let Err(error) = install(&programs) {
        eprintln!("cargo xtask test: {error:#}");
        tally.failed += 1;
    }
    tally.check(&["fmt", "--all", "--check"]);
    tally.check(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut tests = vec!["test", "--workspace", "--no-fail-fast"];
    let threads =
        format!("--test-threads={}", QUICK_THREADS * std::thread::available_parallelism().map_or(1, usize::from));
    if quick {
        tests.extend(["--", &threads]);
        tests.extend(SLOW.iter().flat_map(|word| ["--skip", word]));
    }
    tally.tests(&tests);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Tally {
    /// Runs a tool of cargo as one check.
    fn check(&mut self, arguments: &[&str]) {
        let run = || -> Result<()> {
            let exit = cargo(arguments)?.status().context("run cargo")?;
            if !exit.success() {
                bail!("{exit}");
            }
            Ok(())
        };
        match run() {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(arguments, &error),
        }
    }

    /// Runs `cargo test`, hands on what it prints, and counts its tests.
    fn tests(&mut self, arguments: &[&str]) {
        let failed_before = self.failed;
        match self.count_tests(arguments) {
            Ok(()) => {}
            // The failed tests have been counted already; without one, the build failed or a test program broke off.
            Err(error) if self.failed > failed_before => eprintln!("cargo {}: {error:#}", arguments.join(" ")),
            Err(error) => self.fail(arguments, &error),
        }
    }

    fn count_tests(&mut self, arguments: &[&str]) -> Result<()> {
        let mut cargo = cargo(arguments)?.stdout(Stdio::piped()).spawn().context("run cargo")?;
        for line in BufReader::new(cargo.stdout.take().context("the output of cargo")?).split(b'\n') {
            let line = line.context("the output of cargo")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some((passed, failed)) = counts(&line) {
                self.passed += passed;
                self.failed += failed;
            }
        }
        let exit = cargo.wait().context("wait for cargo")?;
        if !exit.success() {
            bail!("{exit}");
        }
        Ok(())
    }

    fn fail(&mut self, arguments: &[&str], error: &anyhow::Error) {
        eprintln!("cargo {}: {error:#}", arguments.join(" "));
        self.failed += 1;
    }
}

fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root()?);
    println!("cargo {}", arguments.join(" "));
    Ok(command)
}

/// The numbers in libtest's `test result: ok. 3 passed; 1 failed; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut words = numbers.split("; ").map(|part| part.split_once(' '));
    let mut number = |what| {
        let (number, word) = words.next()??;
        if word == what { number.parse().ok() } else { None }
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_sums_are_read() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(counts(line), Some((12, 0)));
        let line = "test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(counts(line), Some((0, 2)));
        assert_eq!(counts("test ok ... ok"), None);
        assert_eq!(counts("test result: ok. nothing"), None);
    }

    #[test]
    fn this_very_run_prints_such_a_sum() {
        // libtest's wording is not a promise: a run that does not match would count nothing.
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).args(["--exact", "test::tests::libtests_sums_are_read"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().filter_map(counts).collect::<Vec<_>>(), [(1, 0)], "{text}");
    }
}
