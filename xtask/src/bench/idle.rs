//! What server and client cost when nothing happens, and when they wait for a Redis that is away.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostwatch_testkit::Process;

use super::Rig;

pub(super) fn run(duration: Duration) -> Result<()> {
    let mut rig = Rig::start()?;
    println!("seconds of CPU per minute, over {} s each:", duration.as_secs());
    measure(&mut rig, duration, "Redis up")?;
    rig.redis.stop()?;
    measure(&mut rig, duration, "Redis away")
}

fn measure(rig: &mut Rig, duration: Duration, what: &str) -> Result<()> {
    let (server, client) = (&mut rig.server.process, &mut rig.client.process);
    let (start, server_before, client_before) = (Instant::now(), server.cpu_time()?, client.cpu_time()?);
    server.eventually("the end of the measurement", duration * 2, |_| {
        ensure!(start.elapsed() >= duration, "not over");
        Ok(())
    })?;
    let elapsed = start.elapsed();
    ensure!(client.exited()?.is_none(), "the client has ended\n{}", client.show_log());
    let per_minute = |process: &Process, before| -> Result<f64> {
        Ok((process.cpu_time()? - before).as_secs_f64() * 60.0 / elapsed.as_secs_f64())
    };
    let (server, client) = (per_minute(server, server_before)?, per_minute(client, client_before)?);
    println!("  {what:10}  server {server:.3}  client {client:.3}");
    Ok(())
}
