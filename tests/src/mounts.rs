//! A mount whose server hangs: it is named, and everything else goes on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, Page, Process, Redis, Signal, eventually, require};
use tempfile::TempDir;

use crate::fleet::{DEADLINE, figure, start_client, start_server_with};

const SERVICES: &str = r#"
[services.filesystem]
plugin = "filesystem"
interval = "1s"
parameters.mount_timeout = 0.2
[services.load]
plugin = "load"
interval = "1s"
"#;
const TEMPLATES: &str = "[templates.linux]\nservices = [\"filesystem\", \"load\"]\n";

/// A file system in user space, which shows a directory at another place.
struct Mount {
    point: PathBuf,
    server: Process,
    _directory: TempDir,
}

impl Mount {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let [source, point] = ["source", "point"].map(|name| directory.path().join(name));
        std::fs::create_dir(&source)?;
        std::fs::create_dir(&point)?;
        let mut command = Command::new(require("bindfs")?);
        command.arg("-f").arg(&source).arg(&point);
        let server = Process::start("bindfs", &command, &directory.path().join("log"))?;
        let mount = Self { point, server, _directory: directory };
        eventually("the file system is mounted", DEADLINE, || {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
            ensure!(mounts.contains(&format!(" {} ", mount.path()?)), "it is not mounted");
            Ok(())
        })?;
        Ok(mount)
    }

    fn path(&self) -> Result<&str> {
        Path::to_str(&self.point).context("a path of UTF-8")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since somebody may hang in it; whose server is killed next.
        let umount = Command::new("umount").arg("--lazy").arg(&self.point).status();
        if !umount.is_ok_and(|exit| exit.success()) {
            eprintln!("{} stays mounted", self.point.display());
        }
    }
}

/// The value of a family for a mount, whatever its other labels are.
fn of_mount(page: &Page, family: &str, point: &str) -> Option<f64> {
    page.series(family)
        .find(|series| series.has(&[("instance", "one"), ("mountpoint", point)]))
        .map(|found| found.value)
}

/// How many threads of a client are there for mounts.
fn probes(client: &Client) -> Result<usize> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", client.process.pid()))?;
    let names = tasks.map(|task| Ok(std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default()));
    let names = names.collect::<Result<Vec<_>>>()?;
    Ok(names.iter().filter(|name| name.trim_end() == "statvfs").count())
}

fn is_sound(page: &Page, point: &str) -> Result<()> {
    ensure!(of_mount(page, "node_filesystem_device_error", point) == Some(0.0), "{point} has an error, or is missing");
    ensure!(of_mount(page, "node_filesystem_size_bytes", point).is_some_and(|size| size > 0.0), "{point} has no size");
    Ok(())
}

#[test]
fn a_mount_that_hangs_is_named_and_everything_else_goes_on() -> Result<()> {
    let mount = Mount::new()?;
    let point = mount.path()?.to_owned();
    let redis = Redis::start()?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let mut client = start_client(&redis, "one")?;
    server.eventually("the mount is reported", DEADLINE, |page| is_sound(page, &point))?;

    mount.server.signal(Signal::STOP)?;
    server.eventually("the mount is named", DEADLINE, |page| {
        let labels = [("instance", "one"), ("mountpoint", point.as_str()), ("device_error", "timeout")];
        ensure!(page.value("node_filesystem_device_error", &labels) == Some(1.0), "{point} is not named");
        Ok(())
    })?;
    let page = server.page()?;
    ensure!(of_mount(&page, "node_filesystem_size_bytes", &point).is_none(), "figures of a mount that hangs");
    let before = figure(&page, "hostwatch_host_report_sequence", "one")?;
    server.eventually("reports go on", DEADLINE, |page| {
        ensure!(figure(page, "hostwatch_host_report_sequence", "one")? >= before + 10.0, "too few reports");
        Ok(())
    })?;
    let page = server.page()?;
    is_sound(&page, "/")?;
    figure(&page, "node_load1", "one")?;
    for service in ["filesystem", "load"] {
        let labels = [("instance", "one"), ("service", service)];
        ensure!(page.value("hostwatch_host_service_success", &labels) == Some(1.0), "{service} fails");
    }
    // The one that hangs, the one that asks the other mounts, and one that may just be ending.
    ensure!(probes(&client)? <= 3, "the mount costs more and more threads");

    mount.server.signal(Signal::CONT)?;
    server.eventually("the mount is sound again", DEADLINE, |page| is_sound(page, &point))?;
    client.terminate()?;
    Ok(())
}

#[test]
fn mounts_that_come_change_and_go_are_seen() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let mut client = start_client(&redis, "one")?;
    server.eventually("mounts are reported", DEADLINE, |page| is_sound(page, "/"))?;

    let mount = Mount::new()?;
    let point = mount.path()?.to_owned();
    server.eventually("the new mount is reported", DEADLINE, |page| is_sound(page, &point))?;
    for (options, expected) in [("remount,bind,ro", 1.0), ("remount,bind,rw", 0.0)] {
        let exit = Command::new("mount").args(["-o", options, &point]).status().context("run mount")?;
        ensure!(exit.success(), "mount -o {options}: {exit}");
        server.eventually(options, DEADLINE, |page| {
            let is_readonly = of_mount(page, "node_filesystem_readonly", &point);
            ensure!(is_readonly == Some(expected), "{is_readonly:?}");
            Ok(())
        })?;
    }
    drop(mount);
    server.eventually("the mount is gone", DEADLINE, |page| {
        ensure!(of_mount(page, "node_filesystem_size_bytes", &point).is_none(), "it is still reported");
        Ok(())
    })?;
    client.terminate()?;
    Ok(())
}
