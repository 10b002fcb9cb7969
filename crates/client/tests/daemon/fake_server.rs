//! The server's side of the wire, said by the test itself: encoded messages through the real Redis.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hostwatch_bus::{Address, Inbox, Link, LinkState, Retained, Timing};
use hostwatch_daemon::{Shutdown, Tasks};
use hostwatch_testkit::{Client, ClientSetup, Redis};
use hostwatch_wire::{
    Epoch, HostBody, HostConfig, HostId, HostMessage, Life, Names, Revision, ServerBody, ServerId, ServerMessage,
    ServiceConfig, Welcome,
};

const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const SERVER: ServerId = ServerId(7);

/// Speaks to one host.
pub(crate) struct FakeServer {
    pub(crate) life: Life,
    host: HostId,
    names: Names,
    link: Link,
    inbox: Inbox,
    tasks: Tasks,
}

impl FakeServer {
    /// Connected and subscribed to the host's channels.
    pub(crate) async fn start(redis: &Redis, host: &str) -> Self {
        let settings = hostwatch_bus::Settings {
            address: redis.url().parse::<Address>().unwrap(),
            username: None,
            password: None,
            tls: hostwatch_bus::Tls::default(),
            client_name: "fake-server".to_owned(),
            outlives_others: false,
            timing: Timing::default(),
        };
        let (sender, inbox) = hostwatch_bus::inbox(10_000, 64 << 20);
        let (link, driver) = hostwatch_bus::link(settings, sender);
        let (host, names) = (host.parse().unwrap(), Names::new("hostwatch").unwrap());
        let _ = link.subscribe(&[names.join(&host), names.reports(&host)]).await;
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new(shutdown.clone());
        tasks.spawn("driver", async move {
            driver.run(shutdown).await;
            Ok(())
        });
        let mut state = link.state();
        let connected = state.wait_for(|state| matches!(state, LinkState::Connected { .. }));
        tokio::time::timeout(DEADLINE, connected).await.unwrap().unwrap();
        Self { life: Life(1), host, names, link, inbox, tasks }
    }

    /// Goes away; from now on nobody listens.
    pub(crate) async fn leave(self) {
        self.tasks.drain(DEADLINE).await.unwrap();
    }

    /// The first message from now on of which `found` makes something.
    pub(crate) async fn expect<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(Epoch, &HostBody<'_>) -> Option<T>,
    ) -> T {
        let search = async {
            loop {
                let message = self.inbox.recv().await.unwrap();
                let decoded = HostMessage::decode(&message.payload).unwrap();
                assert_eq!(decoded.host, self.host);
                let is_hello = matches!(decoded.body, HostBody::Hello(_));
                assert_eq!(message.channel == self.names.join(&self.host), is_hello, "hello, and nothing else, joins");
                if let Some(value) = found(decoded.epoch, &decoded.body) {
                    return value;
                }
            }
        };
        match tokio::time::timeout(DEADLINE, search).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not come within {DEADLINE:?}"),
        }
    }

    /// The epoch and the ring of the next hello.
    pub(crate) async fn hello(&mut self) -> (Epoch, hostwatch_wire::Hello) {
        let hello = |epoch, body: &HostBody<'_>| match body {
            HostBody::Hello(hello) => Some((epoch, (**hello).clone())),
            _ => None,
        };
        self.expect("hello", hello).await
    }

    pub(crate) async fn say(&self, body: ServerBody) {
        let bytes = self.encode(body);
        self.link.publish(&self.names.commands(&self.host), &bytes).await.unwrap();
    }

    pub(crate) async fn welcome(&self, answers: Option<Epoch>) {
        self.welcome_with(answers, 30_000).await;
    }

    /// With a promise to acknowledge so often.
    pub(crate) async fn welcome_with(&self, answers: Option<Epoch>, ack_interval_ms: u64) {
        let (revision, known) = (None, vec![]);
        let welcome = Welcome { answers, revision, known, heartbeat_ms: 1_000, ack_interval_ms };
        self.say(ServerBody::Welcome(welcome)).await;
    }

    /// Writes the configuration key and announces it.
    pub(crate) async fn retain(&self, config: &HostConfig) {
        let payload = self.encode(ServerBody::Config(config.clone()));
        let (key, channel) = (self.names.config_key(&self.host), self.names.commands(&self.host));
        self.link.retain_all(&[Retained { key, channel, payload }]).await.unwrap();
    }

    fn encode(&self, body: ServerBody) -> Vec<u8> {
        ServerMessage { server: SERVER, life: self.life, body }.encode().unwrap()
    }
}

pub(crate) fn config(number: u64, services: Vec<ServiceConfig>) -> HostConfig {
    HostConfig { revision: Revision { number, content: HostConfig::content_hash(&services) }, services }
}

pub(crate) fn service(name: &str, plugin: &str, interval_ms: u64) -> ServiceConfig {
    let name = name.parse().unwrap();
    ServiceConfig { name, plugin: plugin.to_owned(), interval_ms, timeout_ms: None, parameters: BTreeMap::new() }
}

/// A client of `host` whose /proc is `procfs` and that lives in `directory`.
pub(crate) fn client(redis: &Redis, host: &str, procfs: &Path, directory: &Path, toml: &str) -> Client {
    let setup = ClientSetup {
        host: Some(host.to_owned()),
        redis_url: redis.url(),
        toml: Some(toml.to_owned()),
        procfs: Some(procfs.to_owned()),
        directory: Some(directory.to_owned()),
        program: Some(env!("CARGO_BIN_EXE_hostwatch-client").into()),
        ..ClientSetup::default()
    };
    Client::start(&setup).unwrap()
}
