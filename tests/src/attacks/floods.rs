//! Too much of everything.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Redis, Speaker, eventually, require};

use super::evil::{Evil, gauge};
use super::{Rig, stands};
use crate::fleet::{DEADLINE, figure, is_up, start_client, start_server};

/// Publishes garbage as `evil`, as quickly as Redis takes it.
fn flood(rig: &Rig, channel: &str, messages: usize) -> Result<()> {
    let output = Command::new(require("redis-benchmark")?)
        .arg("-s")
        .arg(rig.redis.socket())
        .args(["--user", "host-evil", "-a", &rig.passwords["host-evil"]])
        .args(["-n", &messages.to_string(), "-P", "64", "-q"])
        .args(["publish", channel, "garbage-garbage-garbage"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_host_that_floods_is_named_and_costs_the_others_nothing() -> Result<()> {
    const MESSAGES: usize = 20_000;
    let mut rig = Rig::start()?;
    let _evil = rig.client("evil")?;
    rig.server.eventually("the evil host is up", DEADLINE, |page| is_up(page, "evil"))?;
    flood(&rig, "hostwatch:{evil}:join", MESSAGES)?;
    rig.server.eventually("the flood is counted and named", DEADLINE, |page| {
        let refused: f64 = page.series("hostwatch_messages_refused_total").map(|sample| sample.value).sum();
        let of_host = page.value("hostwatch_host_messages_flooded_total", &[("instance", "evil")]);
        ensure!(refused >= MESSAGES as f64 && of_host > Some(1_000.0), "{refused} in all, {of_host:?} of the host");
        ensure!(page.value("hostwatch_host_messages_flooded_total", &[("instance", "good")]) == Some(0.0));
        Ok(())
    })?;
    flood(&rig, "hostwatch:{evil}:reports", MESSAGES)?;
    eventually("nobody listens to it", DEADLINE, || {
        let heard = rig.answer("host-evil", &["publish", "hostwatch:{evil}:reports", "x"])?;
        ensure!(heard.trim() == "0", "{heard}");
        Ok(())
    })?;
    rig.stands()?;
    let log = rig.server.process.log();
    ensure!(log.contains("evil floods") && log.lines().count() < 100, "{log}");
    Ok(())
}

#[test]
fn a_flood_of_the_largest_messages() -> Result<()> {
    let mut rig = Rig::start()?;
    let mut speaker = rig.evil_speaker()?;
    let mut evil = Evil::new("evil");
    speaker.publish([(&*evil.join(), &*evil.hello()?)])?;
    rig.server.eventually("the evil host is listened to", DEADLINE, |page| {
        figure(page, "hostwatch_host_up", "evil").map(drop)
    })?;
    // Redis takes no more than a mebibyte.
    let garbage = vec![0xc1; (1 << 20) - 1];
    let (join, reports) = (evil.join(), evil.reports());
    for channel in [&join, &reports] {
        speaker.publish((0..200).map(|_| (channel.as_str(), garbage.as_slice())))?;
    }
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        let flooded = figure(page, "hostwatch_host_messages_flooded_total", "evil")?;
        let refused = figure(page, "hostwatch_host_messages_refused_total", "evil")?;
        ensure!(flooded >= 100.0 && refused >= 10.0, "{flooded} dropped, {refused} refused");
        Ok(())
    })?;
    rig.stands()
}

#[test]
fn a_flood_of_ever_new_layouts() -> Result<()> {
    const LAYOUTS: u32 = 1_000;
    let mut rig = Rig::start()?;
    let mut speaker = rig.evil_speaker()?;
    let mut evil = Evil::new("evil");
    speaker.publish([(&*evil.join(), &*evil.hello()?)])?;
    let is_up = |page: &Page| ensure_up(page, "evil");
    rig.server.eventually("the evil host is listened to", DEADLINE, is_up)?;
    for number in 0..LAYOUTS {
        let families = (0..50).map(|family| gauge(&format!("evil_{number}_{family}"), &[("a", "b")]));
        let report = evil.report("load", families.collect(), 1.0)?;
        speaker.publish([(&*evil.reports(), &*report)])?;
    }
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        let layouts = figure(page, "hostwatch_host_layouts_total", "evil")?;
        let flooded = figure(page, "hostwatch_host_messages_flooded_total", "evil")?;
        ensure!(layouts + flooded >= f64::from(LAYOUTS), "{layouts} layouts, {flooded} messages dropped");
        Ok(())
    })?;
    let page = rig.server.page()?;
    let shown = page.samples.iter().filter(|sample| sample.name.starts_with("evil_")).count();
    ensure!(shown <= 50, "{shown} series are on the page");
    rig.stands()
}

#[test]
fn a_flood_of_hosts_that_do_not_exist() -> Result<()> {
    const HELLOS: usize = 12_000;
    // Only a Redis without rights lets anybody speak in any name.
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", "[hosts.good]\ntemplates = [\"linux\"]\n")?;
    let _good = start_client(&redis, "good")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "good"))?;
    let resident = server.process.resident_bytes()?;
    let mut speaker = Speaker::connect(&redis)?;
    let hellos: Vec<(String, Vec<u8>)> = (0..HELLOS)
        .map(|number| {
            let mut nobody = Evil::new(&format!("nobody-{number}"));
            Ok((nobody.join(), nobody.hello()?))
        })
        .collect::<Result<_>>()?;
    let heard = speaker.publish(hellos.iter().map(|(channel, hello)| (channel.as_str(), hello.as_slice())))? as f64;
    server.eventually("every hello that came through is accounted for", DEADLINE, |page| {
        let value =
            |name: &str, labels: &[(&str, &str)]| page.value(name, labels).with_context(|| format!("no {name}"));
        let refused: f64 = page.series("hostwatch_messages_refused_total").map(|sample| sample.value).sum();
        let pending = value("hostwatch_hosts", &[("state", "pending")])?;
        let dropped = value("hostwatch_inbox_dropped_total", &[])?;
        let connections = value("hostwatch_redis_connections_total", &[])?;
        let accounted = refused + pending + dropped;
        let told = format!(
            "{refused} refused, {pending} pending, {dropped} dropped of {heard} over {connections} connections"
        );
        // A server that gets no time to read loses its connection, and with it what Redis has not handed on and counts nowhere.
        ensure!(accounted == heard || (connections > 1.0 && accounted < heard), "{told}");
        // There is no room for all of them, so that some were refused where nothing was lost.
        ensure!(pending <= 10_000.0, "{told}");
        Ok(())
    })?;
    stands(&mut server, resident)
}

fn ensure_up(page: &Page, host: &str) -> Result<()> {
    ensure!(figure(page, "hostwatch_host_up", host)? == 1.0, "{host} is not up");
    Ok(())
}
