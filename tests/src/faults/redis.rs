//! What happens to Redis itself.

use anyhow::{Result, ensure};
use hostwatch_testkit::{Redis, RedisSetup, Signal};

use super::Rig;
use crate::fleet::DEADLINE;

#[test]
fn redis_stops_and_comes_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.stop()?;
    rig.wait_for_silence()?;
    rig.redis.start_again()?;
    rig.recovers()
}

#[test]
fn redis_is_killed() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.kill()?;
    rig.redis.start_again()?;
    rig.recovers()
}

#[test]
fn redis_hangs_for_a_while() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.pause()?;
    rig.wait_for_silence()?;
    rig.redis.resume()?;
    rig.recovers()
}

#[test]
fn redis_cuts_every_subscriber() -> Result<()> {
    let mut rig = Rig::start()?;
    for _ in 0..5 {
        rig.redis.cli(&["client", "kill", "type", "pubsub"])?;
    }
    rig.recovers()
}

#[test]
fn redis_loses_its_keys() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["flushall"])?;
    rig.recovers()
}

#[test]
fn rights_are_taken_away_and_given_back() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.cli(&["acl", "setuser", "default", "resetchannels"])?;
    rig.wait_for_silence()?;
    rig.redis.cli(&["acl", "setuser", "default", "allchannels"])?;
    rig.recovers()
}

#[test]
fn a_slow_server_is_cut_off_by_the_limit_of_its_buffer() -> Result<()> {
    let limit = "client-output-buffer-limit pubsub 256kb 256kb 1".to_owned();
    let mut rig = Rig::start_on(Redis::start_with(&RedisSetup { config: vec![limit], ..RedisSetup::default() })?)?;
    rig.server.process.signal(Signal::STOP)?;
    // What the clients publish fills the kernel's buffers before it counts, so that somebody helps them.
    let noise = "x".repeat(100_000);
    for _ in 0..200 {
        rig.redis.cli(&["publish", "hostwatch:{one}:reports", &noise])?;
    }
    hostwatch_testkit::eventually("Redis has closed the connection", DEADLINE, || {
        let log = rig.redis.process.log();
        ensure!(log.contains("overcoming of output buffer limits"), "{log}");
        Ok(())
    })?;
    rig.server.process.signal(Signal::CONT)?;
    rig.recovers()
}
