//! What happens on the way between a daemon and Redis, through a proxy.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostwatch_testkit::{ClientSetup, Proxy, Redis, Traffic, eventually};

use super::{HOSTS, Rig, RigSetup};
use crate::fleet::{DEADLINE, figure};

/// A rig whose server and whose host `one` reach Redis through a proxy each.
struct Proxied {
    rig: Rig,
    server: Proxy,
    client: Proxy,
}

impl Proxied {
    fn start() -> Result<Self> {
        let redis = Redis::start()?;
        let (server, client) = (Proxy::start(redis.port())?, Proxy::start(redis.port())?);
        let setup = RigSetup {
            server_url: Some(server.url()),
            first: Some(ClientSetup { redis_url: client.url(), ..ClientSetup::default() }),
            ..RigSetup::default()
        };
        Ok(Self { rig: Rig::start_with(redis, setup)?, server, client })
    }

    /// The server's way is bad for longer than a host may be silent, then that of one client for a while.
    fn survives(&mut self, traffic: Traffic) -> Result<()> {
        self.server.set(traffic);
        self.rig.wait_for_an_outage()?;
        self.server.set(Traffic::Passes);
        self.rig.recovers()?;
        self.client.set(traffic);
        self.rig.wait_for_silence_of("one", Duration::from_secs(5))?;
        self.client.set(Traffic::Passes);
        // Its attempt to connect may take 5 s more, and the server hears the others all the time.
        self.rig.true_alerts.push(("HostDown", Some("one")));
        self.rig.recovers().map(drop)
    }
}

#[test]
fn a_slow_way_is_no_fault() -> Result<()> {
    let mut proxied = Proxied::start()?;
    let before = proxied.rig.server.page()?;
    for proxy in [&proxied.server, &proxied.client] {
        proxy.set(Traffic::Delayed(Duration::from_millis(500)));
    }
    proxied.rig.server.eventually("all hosts have gone on reporting", DEADLINE, |page| {
        for host in HOSTS {
            let sequence = |page| figure(page, "hostwatch_host_report_sequence", host);
            ensure!(sequence(page)? >= sequence(&before)? + 5.0, "{host} has reported {} times", sequence(page)?);
            ensure!(figure(page, "hostwatch_host_up", host)? == 1.0, "{host} is not up");
        }
        Ok(())
    })?;
    let page = proxied.rig.server.page()?;
    assert_eq!(page.value("hostwatch_redis_connections_total", &[]), Some(1.0), "slow is not dead");
    for proxy in [&proxied.server, &proxied.client] {
        proxy.set(Traffic::Passes);
    }
    proxied.rig.recovers()?.is_nothing_for(&HOSTS);
    Ok(())
}

#[test]
fn a_way_on_which_nothing_moves() -> Result<()> {
    Proxied::start()?.survives(Traffic::Stalled)
}

#[test]
fn a_way_that_swallows_everything_and_says_nothing() -> Result<()> {
    let mut proxied = Proxied::start()?;
    proxied.survives(Traffic::Swallowed)?;
    ensure!(proxied.server.spoilt() > 0 && proxied.client.spoilt() > 0, "nobody was cut off");
    Ok(())
}

#[test]
fn a_fleet_that_is_cut_off_is_one_alert_until_all_are_back() -> Result<()> {
    let redis = Redis::start()?;
    let way = Proxy::start(redis.port())?;
    let mut rig = Rig::start_with(redis, RigSetup { clients_url: Some(way.url()), ..RigSetup::default() })?;
    way.set(Traffic::Swallowed);
    rig.wait_for_an_outage()?;
    way.set(Traffic::Passes);
    // The server's own way was good. Whoever comes back later than the others was given the time for it.
    rig.true_alerts = vec![("FleetSilent", None)];
    rig.recovers()?;
    ensure!(!rig.announced()?.is_empty(), "nobody was told");
    Ok(())
}

#[test]
fn messages_that_end_in_the_middle() -> Result<()> {
    let mut proxied = Proxied::start()?;
    // Within the length of a frame, within its first words, and within what was published.
    for bytes in [2, 30, 300] {
        for proxy in [&proxied.server, &proxied.client] {
            let before = proxy.spoilt();
            proxy.set(Traffic::Cut(bytes));
            eventually("a connection is cut", DEADLINE, || {
                ensure!(proxy.spoilt() > before, "none is");
                Ok(())
            })?;
            proxy.set(Traffic::Passes);
        }
        proxied.rig.recovers()?;
    }
    Ok(())
}
