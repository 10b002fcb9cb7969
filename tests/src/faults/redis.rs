//! What happens to Redis itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Redis, RedisSetup, Server, Signal, eventually};

use super::{HOSTS, Rig, RigSetup, time_passes};
use crate::fleet::DEADLINE;

/// How often the server has connected.
fn connections(server: &Server) -> Result<f64> {
    Ok(server.page()?.value("hostwatch_redis_connections_total", &[]).unwrap_or_default())
}

#[test]
fn redis_stops_and_comes_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.stop()?;
    rig.wait_for_an_outage()?;
    rig.redis.start_again()?;
    rig.recovers()?;
    ensure!(rig.announced()?.contains(&("RedisLinkDown".to_owned(), None)), "nobody was told");
    Ok(())
}

#[test]
fn redis_is_killed() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.kill()?;
    rig.redis.start_again()?;
    rig.recovers().map(drop)
}

#[test]
fn redis_hangs_for_a_while() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.pause()?;
    // A ping every second that is not answered within 2 s: all have given their connection up long before.
    time_passes(Duration::from_secs(10))?;
    for process in rig.clients.iter().map(|client| &client.process).chain([&rig.server.process]) {
        let log = process.log();
        ensure!(log.contains("lost the connection to Redis"), "{} has not noticed: {log}", process.name());
    }
    rig.redis.resume()?;
    rig.recovers()?;
    for process in rig.clients.iter().map(|client| &client.process).chain([&rig.server.process]) {
        let log = process.log();
        ensure!(log.matches("connected to Redis").count() >= 2, "{} has no other connection: {log}", process.name());
    }
    Ok(())
}

#[test]
fn redis_cuts_every_subscriber() -> Result<()> {
    let mut rig = Rig::start()?;
    for _ in 0..5 {
        rig.redis.cli(&["client", "kill", "type", "pubsub"])?;
    }
    rig.recovers()?;
    ensure!(connections(&rig.server)? >= 2.0, "the server was not cut off");
    Ok(())
}

#[test]
fn redis_loses_its_keys() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["flushall"])?;
    rig.recovers()?.is_nothing_for(&HOSTS);
    Ok(())
}

#[test]
fn rights_are_taken_away_and_given_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["acl", "setuser", "default", "resetchannels"])?;
    rig.wait_for_an_outage()?;
    rig.redis.cli(&["acl", "setuser", "default", "allchannels"])?;
    rig.recovers().map(drop)
}

#[test]
fn a_slow_server_is_cut_off_by_the_limit_of_its_buffer() -> Result<()> {
    let limit = "client-output-buffer-limit pubsub 256kb 256kb 1".to_owned();
    let redis = Redis::start_with(&RedisSetup { config: vec![limit], ..RedisSetup::default() })?;
    // So often that a newer report always comes before those that were thrown away with the buffer.
    let mut rig = Rig::start_with(redis, RigSetup { interval: Some("100ms"), ..RigSetup::default() })?;
    rig.server.process.signal(Signal::STOP)?;
    // What the clients publish fills the kernel's buffers before it counts, so that somebody helps them.
    let noise = "x".repeat(100_000);
    for _ in 0..200 {
        rig.redis.cli(&["publish", "hostwatch:{one}:reports", &noise])?;
    }
    eventually("Redis has closed the connection", DEADLINE, || {
        let log = rig.redis.process.log();
        ensure!(log.contains("overcoming of output buffer limits"), "{log}");
        Ok(())
    })?;
    rig.server.process.signal(Signal::CONT)?;
    rig.recovers()?.has_filled_gaps();
    ensure!(connections(&rig.server)? >= 2.0, "the server was not cut off");
    Ok(())
}
