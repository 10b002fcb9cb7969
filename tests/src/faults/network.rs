//! A host whose network is cut, in a network namespace of its own.

use anyhow::{Result, ensure};
use hostwatch_testkit::{ClientSetup, Network, Redis, RedisSetup};

use super::{OUTAGE, Rig, RigSetup};

#[test]
fn the_network_is_cut_and_healed() -> Result<()> {
    let network = Network::start()?;
    let config = vec![format!("bind 127.0.0.1 {}", network.outside()), "protected-mode no".to_owned()];
    let redis = Redis::start_with(&RedisSetup { config, ..RedisSetup::default() })?;
    let first = ClientSetup {
        redis_url: format!("redis://{}:{}", network.outside(), redis.port()),
        network: Some(network.name().to_owned()),
        ..ClientSetup::default()
    };
    let mut rig = Rig::start_with(redis, RigSetup { first: Some(first), ..RigSetup::default() })?;
    network.cut()?;
    rig.wait_for_silence_of("one", OUTAGE)?;
    network.heal()?;
    // The server hears the others all the time: that one is down is true.
    rig.true_alerts = vec![("HostDown", Some("one"))];
    rig.recovers()?.is_nothing_for(&["two", "three"]);
    ensure!(!rig.announced()?.is_empty(), "nobody was told");
    Ok(())
}
