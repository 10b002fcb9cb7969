//! Network interfaces that change, come and go while a client runs, in a network of its own.

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Network, Redis, RedisSetup};

use std::time::Duration;

use crate::fleet::start_server_with;

const TEMPLATES: &str = "[templates.linux]\nservices = [\"links\"]\n";
const SERVICES: &str = "[services.links]\nplugin = \"netclass\"\ninterval = \"200ms\"\n";

/// The kernel announces each change. If nobody listened, it would be found within a minute.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn what_changes_at_an_interface_is_reported() -> Result<()> {
    let network = Network::start()?;
    let config = vec![format!("bind 127.0.0.1 {}", network.outside()), "protected-mode no".to_owned()];
    let redis = Redis::start_with(&RedisSetup { config, ..RedisSetup::default() })?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let _client = Client::start(&ClientSetup {
        host: Some("web".to_owned()),
        redis_url: format!("redis://{}:{}", network.outside(), redis.port()),
        network: Some(network.name().to_owned()),
        ..ClientSetup::default()
    })?;
    let mut is_seen = |what: &str, expected: [Option<f64>; 4]| {
        server.eventually(what, SOON, |page| {
            let names = ["node_network_mtu_bytes", "node_network_up", "node_network_carrier", "node_network_flags"];
            let found = names.map(|name| page.value(name, &[("instance", "web"), ("device", "test0")]));
            ensure!(page.value("node_network_up", &[("instance", "web"), ("device", "lo")]).is_some(), "no lo yet");
            ensure!(found == expected, "{found:?}");
            Ok(())
        })
    };
    let (broadcast, promiscuous) = (f64::from(0x1002), f64::from(0x1102));
    is_seen("it is not there yet", [None; 4])?;
    network.ip(&["link", "add", "test0", "type", "veth", "peer", "name", "test1"])?;
    // A driver has no answer for the carrier of an interface that is down.
    is_seen("it is there", [Some(1500.0), Some(0.0), None, Some(broadcast)])?;
    network.ip(&["link", "set", "test0", "mtu", "1400"])?;
    is_seen("its MTU is another one", [Some(1400.0), Some(0.0), None, Some(broadcast)])?;
    network.ip(&["link", "set", "test0", "promisc", "on"])?;
    is_seen("it listens to everything", [Some(1400.0), Some(0.0), None, Some(promiscuous)])?;
    network.ip(&["link", "set", "test0", "up"])?;
    network.ip(&["link", "set", "test1", "up"])?;
    is_seen("it is up", [Some(1400.0), Some(1.0), Some(1.0), Some(promiscuous + 1.0)])?;
    network.ip(&["link", "set", "test1", "down"])?;
    is_seen("its link is gone", [Some(1400.0), Some(0.0), Some(0.0), Some(promiscuous + 1.0)])?;
    network.ip(&["link", "delete", "test0"])?;
    is_seen("it is gone", [None; 4])?;
    Ok(())
}
