//! A host whose clock is set while it runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use hostwatch_testkit::{ClientSetup, Redis, require};

use super::{HOSTS, Rig, RigSetup, time_passes};
use crate::fleet::{DEADLINE, figure};

/// The environment of a process whose wall clock goes by what `file` says; its monotonic clock is the machine's.
fn clock_of(file: &Path) -> Result<Vec<(String, String)>> {
    // The program knows where the library is that does it.
    let output = Command::new(require("faketime")?).args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = String::from_utf8(output.stdout)?.trim().to_owned();
    let set = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        set("LD_PRELOAD", library),
        set("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        set("FAKETIME_NO_CACHE", "1".to_owned()),
        set("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

#[test]
fn the_clock_of_a_host_jumps_by_hours() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let clock = directory.path().join("clock");
    fs::write(&clock, "+0")?;
    let redis = Redis::start()?;
    let environment = clock_of(&clock)?;
    let first = ClientSetup { redis_url: redis.url(), environment, ..ClientSetup::default() };
    let mut rig = Rig::start_with(redis, RigSetup { first: Some(first), ..RigSetup::default() })?;
    let set = |hours: i32| -> Result<()> {
        let new = directory.path().join("clock.new");
        fs::write(&new, format!("{hours:+}h"))?;
        Ok(fs::rename(&new, &clock)?)
    };
    for hours in [6, -9, 0] {
        set(hours)?;
        wait_for_skew(&mut rig, hours)?;
        rig.recovers()?.is_nothing_for(&HOSTS);
    }
    // What waits in the ring was measured by both clocks.
    rig.redis.stop()?;
    for hours in [3, -3] {
        time_passes(Duration::from_secs(2))?;
        set(hours)?;
    }
    time_passes(Duration::from_secs(2))?;
    rig.redis.start_again()?;
    wait_for_skew(&mut rig, -3)?;
    rig.recovers().map(drop)
}

fn wait_for_skew(rig: &mut Rig, hours: i32) -> Result<()> {
    rig.server.eventually("the skew is shown", DEADLINE, |page| {
        let skew = figure(page, "hostwatch_host_clock_skew_seconds", "one")?;
        ensure!((skew - f64::from(hours) * 3_600.0).abs() < 5.0, "{skew} s, and not {hours} h");
        Ok(())
    })
}
