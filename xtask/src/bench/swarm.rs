//! Hosts that are none: they say over Redis what clients would say, as many of them and as quickly as a bench wants.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hostwatch_bus::{Address, Link, LinkState, Timing};
use hostwatch_wire::{
    EncodedLayout, Epoch, Facts, Hello, HostBody, HostId, HostMessage, Names, Report, ServiceReport, Status, Values,
};
use tokio_util::sync::CancellationToken;

/// Messages that go out in one piece.
const PIPELINE: usize = 128;

const DEADLINE: Duration = Duration::from_secs(20);

/// Some hosts that all report the same.
pub(super) struct Swarm {
    link: Link,
    names: Names,
    hosts: Vec<HostId>,
    epoch: Epoch,
    seq: u64,
}

/// Runs `work` with a swarm of `hosts` that is connected.
pub(super) async fn with_swarm<T>(url: &str, hosts: u32, work: impl AsyncFnOnce(&mut Swarm) -> Result<T>) -> Result<T> {
    let settings = hostwatch_bus::Settings {
        address: url.parse::<Address>().context("the address of Redis")?,
        username: None,
        password: None,
        tls: hostwatch_bus::Tls::default(),
        client_name: "hostwatch-swarm".to_owned(),
        outlives_others: false,
        timing: Timing::default(),
    };
    let (sender, _inbox) = hostwatch_bus::inbox(1, 1 << 20);
    let (link, driver) = hostwatch_bus::link(settings, sender);
    let shutdown = CancellationToken::new();
    let working = async {
        let mut state = link.state();
        let connected = state.wait_for(|state| matches!(state, LinkState::Connected { .. }));
        tokio::time::timeout(DEADLINE, connected).await.context("no connection to Redis")??;
        let hosts = (0..hosts).map(|host| format!("host-{host}").parse().context("a host id"));
        let names = Names::new("hostwatch")?;
        let mut swarm =
            Swarm { link, names, hosts: hosts.collect::<Result<_>>()?, epoch: Epoch(rand::random()), seq: 0 };
        work(&mut swarm).await
    };
    tokio::select! {
        worked = working => worked,
        () = driver.run(shutdown) => anyhow::bail!("the connection to Redis ended"),
    }
}

impl Swarm {
    /// Every host says hello.
    pub(super) async fn join(&self) -> Result<()> {
        let hello = Hello {
            sent_at_ms: now_ms(),
            client_version: "0".to_owned(),
            facts: Facts::default(),
            labels: Default::default(),
            revision: None,
            ring: Vec::new(),
        };
        let said = self.hosts.iter().map(|host| {
            self.message(host, HostBody::Hello(Box::new(hello.clone()))).map(|bytes| (self.names.join(host), bytes))
        });
        self.publish(said.collect::<Result<_>>()?).await
    }

    /// Every host reports these values of `service`; the first report of each carries the layout.
    pub(super) async fn report(&mut self, service: &str, layout: &EncodedLayout, values: &[f64]) -> Result<()> {
        self.seq += 1;
        let mut buffer = Vec::new();
        let values = Values::encode(values, &mut buffer);
        let said = self.hosts.iter().map(|host| {
            let report = Report {
                seq: self.seq,
                oldest_seq: 1,
                acked: Vec::new(),
                collected_at_ms: now_ms(),
                revision: None,
                layouts: if self.seq == 1 { vec![layout.clone()] } else { Vec::new() },
                services: vec![ServiceReport {
                    service,
                    status: Status::Ok,
                    message: None,
                    duration_us: 100,
                    layout: Some(layout.id()),
                    values,
                }],
            };
            self.message(host, HostBody::Report(report)).map(|bytes| (self.names.reports(host), bytes))
        });
        let said = said.collect::<Result<_>>()?;
        self.publish(said).await
    }

    fn message(&self, host: &HostId, body: HostBody<'_>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        HostMessage { host: host.clone(), epoch: self.epoch, body }.encode(&mut bytes)?;
        Ok(bytes)
    }

    async fn publish(&self, messages: Vec<(String, Vec<u8>)>) -> Result<()> {
        for pipeline in messages.chunks(PIPELINE) {
            let heard = self.link.publish_all(pipeline).await?;
            ensure!(heard.iter().all(|count| *count > 0), "nobody hears a message of the swarm");
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
