//! What people see: exit codes, mistakes line by line, `--once` and `health`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::ensure;
use hostwatch_testkit::{Redis, eventually};

use crate::fake_server::client;

fn run(arguments: &[&str], file: Option<&Path>, environment: &[(&str, &Path)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostwatch-client"));
    command.args(arguments).env("HOSTWATCH_HOST", "web01");
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    let Output { status, stdout, stderr } = command.envs(environment.iter().copied()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn check_prints_every_mistake_on_a_line_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.toml");
    fs::write(&file, "colour = 1\n[redis]\nurl = \"x\"\n").unwrap();
    let (code, _, errors) = run(&["--check"], Some(&file), &[]);
    assert_eq!((code, errors.lines().count()), (Some(78), 2), "{errors}");
    assert_eq!(run(&[], Some(&file), &[]).0, Some(78), "and it does not start with them either");
    fs::write(&file, "").unwrap();
    assert_eq!(run(&["--check"], Some(&file), &[]), (Some(0), String::new(), String::new()));
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let missing = Path::new("/nowhere/client.toml");
    let (code, _, errors) = run(&["--check"], Some(missing), &[]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("/nowhere/client.toml"), "{errors}");
    assert_eq!(run(&["--check"], None, &[("HOSTWATCH_CONFIG", missing)]).0, Some(78));
}

#[test]
fn once_prints_a_page() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("loadavg"), "0.50 1.00 2.00 1/100 4242\n").unwrap();
    let procfs = [("HOSTWATCH_PATHS_PROCFS", directory.path())];
    let (code, page, errors) = run(&["--once", "--plugin", "load"], None, &procfs);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(page.contains("# TYPE node_load1 gauge\nnode_load1 0.5\n"), "{page}");
    let (code, page, errors) = run(&["--once"], None, &procfs);
    assert!(code == Some(1) && page.contains("node_load1 0.5") && errors.contains("plugin memory"), "{errors}");
}

#[test]
fn health_does_not_need_redis() {
    let (mut redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    redis.stop().unwrap();
    let mut client = client(&redis, "web01", directory.path(), directory.path(), "");
    let status_file = client.status_file();
    let health = || run(&["health"], None, &[("HOSTWATCH_STATUS_FILE", &status_file)]);
    let well = eventually("healthy", Duration::from_secs(20), || {
        let (code, sentence, errors) = health();
        ensure!(code == Some(0) && sentence.starts_with("waiting for Redis"), "{sentence}{errors}");
        Ok(())
    });
    well.unwrap();
    assert!(client.terminate().unwrap().success());
    let (code, _, errors) = health();
    assert_eq!(code, Some(1));
    assert!(errors.contains("does not run"), "{errors}");
}
