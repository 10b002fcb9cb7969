//! A host whose network is cut, in a network namespace of its own.

use std::time::Duration;

use anyhow::Result;
use hostwatch_testkit::{ClientSetup, Network, Redis, RedisSetup};

use super::Rig;

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
    let url = redis.url();
    let mut rig = Rig::start_through(redis, &url, first)?;
    network.cut()?;
    // Longer than a ping may take, so that the client has noticed and tries in vain.
    rig.wait_for_silence_of("one", Duration::from_secs(8))?;
    network.heal()?;
    rig.recovers()
}
