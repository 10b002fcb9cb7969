//! The fleet through its events: messages as bytes, as they come from the network, and effects as they go out.

mod configuration;
mod delivery;
mod joining;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::settings::Mistakes;
use hostwatch_wire::{
    Ack, Applied, ClaimedValue, EncodedLayout, Epoch, Facts, Family, Goodbye, Hello, HostBody, HostId, HostMessage,
    Layout, LayoutId, Layouts, Life, MetricType, Names, Refusal, Report, Resend, Revision, RingRange, Series,
    ServerBody, ServerId, ServiceReport, Status, Suffix, Values, Welcome,
};

use super::*;
use crate::directory::Snapshot;
use crate::inventory::{Labels, Sources};

const SERVER: ServerId = ServerId(7);
const SECOND: Duration = Duration::from_secs(1);

/// A fleet with a clock of its own.
struct Rig {
    fleet: Fleet,
    directory: Arc<Directory>,
    now: Now,
    /// By how much the clocks of hosts are ahead.
    ahead_ms: i64,
    /// The labels that every hello claims.
    claims: BTreeMap<String, ClaimedValue>,
}

impl Rig {
    fn new(hosts: &str) -> Self {
        Self::restored(hosts, Saved::default())
    }

    fn restored(hosts: &str, saved: Saved) -> Self {
        Self::start(inventory(hosts), saved)
    }

    /// A fleet whose services have this further text in their file.
    fn with_services(hosts: &str, more: &str) -> Self {
        Self::start(inventory_with(hosts, more), Saved::default())
    }

    fn start(inventory: Inventory, saved: Saved) -> Self {
        let (now, directory) = (Now::read(), Arc::new(Directory::default()));
        let identity = Identity { server: SERVER, life: Life(1) };
        let names = Names::new("hostwatch").unwrap();
        let directory_of_fleet = Arc::clone(&directory);
        let mut fleet = Fleet::new(names, identity, timing(), inventory, saved, directory_of_fleet, now);
        fleet.on_connected(now.monotonic);
        fleet.on_keys(Vec::new(), now);
        let mut rig = Self { fleet, directory, now, ahead_ms: 0, claims: BTreeMap::new() };
        rig.effects();
        rig
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall_ms += time.as_millis() as u64;
        self.fleet.tick(self.now);
        self.fleet.publish();
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.fleet.publish();
        self.fleet.take_effects()
    }

    /// Delivers a message of `host`, on the channel where it belongs.
    fn say(&mut self, host: &str, epoch: u64, body: HostBody<'_>) -> Vec<Effect> {
        let kind = if matches!(body, HostBody::Hello(_)) { "join" } else { "reports" };
        self.say_on(&format!("hostwatch:{{{host}}}:{kind}"), host, epoch, body)
    }

    fn say_on(&mut self, channel: &str, host: &str, epoch: u64, body: HostBody<'_>) -> Vec<Effect> {
        let mut bytes = Vec::new();
        HostMessage { host: id(host), epoch: Epoch(epoch), body }.encode(&mut bytes).unwrap();
        self.raw(channel, &bytes)
    }

    fn raw(&mut self, channel: &str, bytes: &[u8]) -> Vec<Effect> {
        self.fleet.on_message(channel, bytes, self.now);
        self.effects()
    }

    fn hello(&mut self, host: &str, epoch: u64) -> Vec<Effect> {
        self.hello_with(host, epoch, None, Vec::new())
    }

    fn hello_with(&mut self, host: &str, epoch: u64, revision: Option<Revision>, ring: Vec<RingRange>) -> Vec<Effect> {
        let facts = Facts { os: "Debian".to_owned(), ..Facts::default() };
        let hello = Hello {
            sent_at_ms: self.now.wall_ms,
            client_version: "0".to_owned(),
            facts,
            labels: self.claims.clone(),
            revision,
            ring,
        };
        self.say(host, epoch, HostBody::Hello(Box::new(hello)))
    }

    /// A report of the service `cpu` with one gauge, its layout inlined with the first report of an epoch.
    fn report(&mut self, host: &str, epoch: u64, seq: u64, value: f64) -> Vec<Effect> {
        let layout = layout("node_load1", MetricType::Gauge);
        let layouts = if seq == 1 { vec![layout.clone()] } else { Vec::new() };
        self.report_with(host, epoch, seq, "cpu", layouts, layout.id(), &[value])
    }

    #[expect(clippy::too_many_arguments, reason = "it spells out a report")]
    fn report_with(
        &mut self,
        host: &str,
        epoch: u64,
        seq: u64,
        service: &str,
        layouts: Vec<EncodedLayout>,
        layout: LayoutId,
        values: &[f64],
    ) -> Vec<Effect> {
        let mut buffer = Vec::new();
        let service = ServiceReport {
            service,
            status: Status::Ok,
            message: None,
            duration_us: 10,
            layout: Some(layout),
            values: Values::encode(values, &mut buffer),
        };
        let report = Report {
            seq,
            oldest_seq: 1,
            acked: Vec::new(),
            collected_at_ms: self.now.wall_ms.saturating_add_signed(self.ahead_ms),
            revision: None,
            layouts,
            services: vec![service],
        };
        self.say(host, epoch, HostBody::Report(report))
    }

    /// How old the reports were that the judge was told of since the last call, and whether they were the newest.
    fn ages(&mut self) -> Vec<(u64, bool)> {
        let observed = self.fleet.take_observations().into_iter();
        let reports = observed.filter_map(|observation| match observation {
            Observation::Report(report) => Some((report.age_ms, report.fresh)),
            _ => None,
        });
        reports.collect()
    }

    fn host(&self, host: &str) -> Arc<Snapshot> {
        self.directory.host(host).unwrap().snapshot()
    }

    fn values(&self, host: &str) -> Vec<f64> {
        let snapshot = self.host(host);
        snapshot
            .services
            .iter()
            .filter_map(|service| service.series.as_ref())
            .flat_map(|block| block.values.to_vec())
            .collect()
    }

    fn refused(&self, reason: &str) -> u64 {
        self.directory.summary().refused[reason]
    }
}

fn id(host: &str) -> HostId {
    host.parse().unwrap()
}

fn timing() -> Timing {
    Timing {
        heartbeat: 10 * SECOND,
        down_after: 60 * SECOND,
        left_grace: 600 * SECOND,
        forget_after: 3_600 * SECOND,
        ack_interval: 30 * SECOND,
        silent_percent: 50,
    }
}

fn inventory(hosts: &str) -> Inventory {
    inventory_with(hosts, "")
}

fn inventory_with(hosts: &str, services: &str) -> Inventory {
    let file = |name: &str, text: &str| vec![(PathBuf::from(name), text.to_owned())];
    let sources = Sources {
        hosts: file("hosts.toml", hosts),
        templates: file(
            "templates.toml",
            "[templates.linux]\nservices = [\"cpu\"]\n[templates.both]\nservices = [\"cpu\", \"cpu-again\"]\n",
        ),
        services: file(
            "services.toml",
            &format!(
                "[services.cpu]\nplugin = \"cpu\"\ninterval = \"10s\"\n[services.cpu-again]\nplugin = \"cpu\"\ninterval = \"10s\"\n{services}"
            ),
        ),
        rules: Vec::new(),
    };
    let mistakes = Mistakes::default();
    let inventory = Inventory::read(&sources, &mistakes);
    mistakes.into_result().unwrap();
    inventory
}

fn layout(name: &str, kind: MetricType) -> EncodedLayout {
    let series = vec![Series { suffix: Suffix::None, labels: Vec::new() }];
    EncodedLayout::new(&Layout {
        families: vec![Family { name: name.to_owned(), kind, help: "Help.".to_owned(), series }],
    })
}

const WEB: &str = "[hosts.web]\ntemplates = [\"linux\"]\n";
const ANY: &str = "[[match]]\nhost = \"*\"\ntemplates = [\"linux\"]\n";

fn welcomes(effects: &[Effect]) -> Vec<&Welcome> {
    let welcome = |effect| match effect {
        &Effect::Say(_, ServerBody::Welcome(ref welcome)) => Some(welcome),
        _ => None,
    };
    effects.iter().filter_map(welcome).collect()
}

fn retained(effects: &[Effect]) -> Vec<(String, Revision)> {
    let config = |effect: &Effect| match effect {
        Effect::Retain(host, config) => Some((host.to_string(), config.revision)),
        _ => None,
    };
    effects.iter().filter_map(config).collect()
}
