//! The fleet through its events: messages as bytes, as they come from the network, and effects as they go out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::settings::Mistakes;
use hostwatch_wire::{
    Ack, Applied, ClaimedValue, EncodedLayout, Epoch, Facts, Family, Goodbye, Hello, HostBody, HostId, HostMessage,
    Layout, LayoutId, Layouts, Life, MetricType, Names, Refusal, Report, Revision, RingRange, Series, ServerBody,
    ServerId, ServiceReport, Status, Suffix, Values, Welcome,
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
    /// The labels that every hello claims.
    claims: BTreeMap<String, ClaimedValue>,
}

impl Rig {
    fn new(hosts: &str) -> Self {
        Self::restored(hosts, Saved::default())
    }

    fn restored(hosts: &str, saved: Saved) -> Self {
        let (now, directory) = (Now::read(), Arc::new(Directory::default()));
        let identity = Identity { server: SERVER, life: Life(1) };
        let names = Names::new("hostwatch").unwrap();
        let directory_of_fleet = Arc::clone(&directory);
        let mut fleet = Fleet::new(names, identity, timing(), inventory(hosts), saved, directory_of_fleet, now);
        fleet.on_connected(now.monotonic);
        fleet.on_keys(Vec::new(), now);
        let mut rig = Self { fleet, directory, now, claims: BTreeMap::new() };
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
            collected_at_ms: self.now.wall_ms,
            revision: None,
            layouts,
            services: vec![service],
        };
        self.say(host, epoch, HostBody::Report(report))
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
    }
}

fn inventory(hosts: &str) -> Inventory {
    let file = |name: &str, text: &str| vec![(PathBuf::from(name), text.to_owned())];
    let sources = Sources {
        hosts: file("hosts.toml", hosts),
        templates: file(
            "templates.toml",
            "[templates.linux]\nservices = [\"cpu\"]\n[templates.both]\nservices = [\"cpu\", \"cpu-again\"]\n",
        ),
        services: file(
            "services.toml",
            "[services.cpu]\nplugin = \"cpu\"\ninterval = \"10s\"\n[services.cpu-again]\nplugin = \"cpu\"\ninterval = \"10s\"\n",
        ),
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

#[test]
fn a_configured_host_is_expected_joins_and_reports() {
    let mut rig = Rig::new(WEB);
    assert_eq!(rig.host("web").state, State::Stale, "not heard of yet");
    let effects = rig.hello("web", 1);
    let wanted = rig.host("web").wanted.unwrap();
    assert_eq!(welcomes(&effects)[0].answers, Some(Epoch(1)));
    assert_eq!(welcomes(&effects)[0].revision, Some(wanted));
    assert_eq!(retained(&effects), [("web".to_owned(), wanted)], "it said that it has none");
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.host("web").state, State::Up);
    assert_eq!(rig.values("web"), [0.5]);
    let applied =
        Applied { revision: wanted, refused: vec![Refusal::new("cpu".parse().unwrap(), "there is no plugin cpu")] };
    rig.say("web", 1, HostBody::Applied(applied.clone()));
    assert_eq!(rig.host("web").applied.as_deref(), Some(&applied));
    let effects = rig.hello_with("web", 1, Some(wanted), Vec::new());
    assert_eq!(retained(&effects), [], "it has the right one");
}

#[test]
fn a_host_that_nobody_configured_is_pending_until_somebody_does() {
    let mut rig = Rig::new("");
    let effects = rig.hello("web", 1);
    assert_eq!(welcomes(&effects)[0].revision, None);
    assert_eq!(effects.len(), 1, "no key, no subscription: {effects:?}");
    assert_eq!(rig.host("web").state, State::Pending);
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.refused("unknown_host"), 1);
    rig.fleet.apply(inventory(WEB), timing(), rig.now);
    let effects = rig.effects();
    assert!(effects.contains(&Effect::Listen(id("web"))), "{effects:?}");
    assert_eq!(retained(&effects).len(), 1);
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.host("web").state, State::Up);
}

#[test]
fn only_hosts_that_a_reload_concerns_hear_of_it() {
    let hosts =
        "[hosts.a]\ntemplates = [\"linux\"]\n[hosts.b]\ntemplates = [\"linux\"]\n[hosts.c]\ntemplates = [\"linux\"]\n";
    let mut rig = Rig::new(hosts);
    let before = rig.host("a").wanted;
    rig.fleet.apply(inventory(hosts), timing(), rig.now);
    assert_eq!(rig.effects(), [], "nothing changed");
    let changed = format!(
        "{}\n[hosts.b]\ntemplates = [\"linux\"]\nservices.cpu.interval = \"1s\"\n[hosts.d]\ntemplates = []\n",
        "[hosts.a]\ntemplates = [\"linux\"]\nlabels = { env = \"prod\" }"
    );
    rig.fleet.apply(inventory(&changed), timing(), rig.now);
    let effects = rig.effects();
    let mut written: Vec<String> = retained(&effects).into_iter().map(|(host, _)| host).collect();
    written.sort();
    assert_eq!(written, ["b", "d"]);
    assert!(effects.contains(&Effect::Forget(id("c"))) && effects.contains(&Effect::Ignore(id("c"))));
    assert!(rig.directory.host("c").is_none());
    assert_eq!(rig.host("a").wanted, before, "labels are not the host's business");
    assert_eq!(rig.host("a").labels["env"], "prod");
}

#[test]
fn revisions_follow_what_redis_holds() {
    let hosts = "[hosts.same]\ntemplates = [\"linux\"]\n[hosts.ours]\ntemplates = [\"linux\"]\n[hosts.theirs]\ntemplates = [\"linux\"]\n";
    let rig = Rig::new(hosts);
    let content = rig.host("same").wanted.unwrap().content;
    let other = hostwatch_wire::ContentHash::of(b"other");
    let future = rig.now.wall_ms + 1_000_000;
    let key = |host: &str, server, number, content| FoundKey {
        host: id(host),
        config: Some((server, Revision { number, content })),
    };
    // As at a start: nothing is settled yet.
    let mut rig = Rig::restored(hosts, Saved::default());
    for host in rig.fleet.hosts.values_mut() {
        host.revision_settled = false;
    }
    rig.fleet.on_keys(
        vec![
            key("same", SERVER, 5, content),
            key("ours", SERVER, future, other),
            key("theirs", ServerId(8), future, other),
            key("nobody", SERVER, 1, other),
        ],
        rig.now,
    );
    let effects = rig.effects();
    let mut written = retained(&effects);
    written.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        written,
        [
            ("ours".to_owned(), Revision { number: future + 1, content }),
            ("same".to_owned(), Revision { number: 5, content }),
        ]
    );
    assert!(effects.contains(&Effect::Forget(id("nobody"))));
    assert!(rig.directory.summary().config_conflict, "another server is at work");
    assert_eq!(welcomes(&effects).len(), 3, "everybody hears of this life");

    rig.fleet.on_keys(Vec::new(), rig.now);
    let effects = rig.effects();
    assert_eq!(retained(&effects).len(), 3, "after FLUSHALL every key is written again");
    assert!(!rig.directory.summary().config_conflict);
}

#[test]
fn a_hosts_newer_number_is_overtaken() {
    let mut rig = Rig::new(WEB);
    let ahead =
        Revision { number: rig.now.wall_ms + 5_000, content: hostwatch_wire::ContentHash::of(b"another server's") };
    let effects = rig.hello_with("web", 1, Some(ahead), Vec::new());
    assert_eq!(retained(&effects)[0].1.number, ahead.number + 1);
    let endless = Revision { number: 1 << 53, ..ahead };
    let effects = rig.hello_with("web", 1, Some(endless), Vec::new());
    assert_eq!(retained(&effects)[0].1.number, 1 << 53, "what the wire carries");
}

#[test]
fn a_report_waits_for_its_layout() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    let effects = rig.report("web", 1, 2, 0.5);
    let layout = layout("node_load1", MetricType::Gauge);
    let asked = |effect: &Effect| matches!(effect, Effect::Say(_, ServerBody::WantLayout(want)) if want.layouts == [layout.id()]);
    assert!(effects.iter().any(asked), "{effects:?}");
    assert_eq!(rig.values("web"), [0.0; 0]);
    assert_eq!(rig.host("web").books.received, 0);
    assert_eq!(rig.host("web").state, State::Up, "it lives all the same");
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout] }));
    assert_eq!(rig.values("web"), [0.5]);
    assert_eq!(rig.host("web").books.received, 1);
    assert_eq!(rig.host("web").books.outstanding, 1);
}

#[test]
fn what_waits_is_bounded() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    for seq in 2..500 {
        rig.report("web", 1, seq, 0.5);
    }
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout("node_load1", MetricType::Gauge)] }));
    let books = rig.host("web").books;
    assert_eq!((books.received, books.sequence), (64, 499));
    assert_eq!(books.sequence - books.baseline, books.received + books.lost + books.outstanding);
}

#[test]
fn a_new_epoch_has_books_of_its_own() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 4, 4.0);
    assert_eq!(rig.host("web").books.outstanding, 2);
    let held = RingRange { epoch: Epoch(1), first: 3, last: 4, acked: Vec::new() };
    rig.hello_with("web", 2, None, vec![held]);
    assert_eq!(rig.host("web").totals.lost, 1, "report 2 is in no ring");
    assert_eq!(rig.host("web").books, crate::directory::Books::default());
    rig.report("web", 2, 1, 10.0);
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.values("web"), [10.0], "an older epoch is history");
    let (host, totals) = (rig.host("web"), rig.host("web").totals);
    assert_eq!((host.books.received, host.books.sequence), (1, 1));
    assert_eq!((totals.received, totals.lost, totals.resent), (4, 1, 1));
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.host("web").totals.duplicate, 1);
}

#[test]
fn two_clients_with_one_id_are_a_conflict() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.hello("web", 2);
    assert_eq!(rig.host("web").state, State::Up, "a restart is none");
    rig.hello("web", 1);
    assert_eq!(rig.host("web").state, State::Conflict);
    for second in 0..100 {
        rig.pass(SECOND);
        rig.report("web", 1, second + 1, 0.0);
    }
    assert_eq!(rig.host("web").state, State::Up, "one of them has stopped");
}

#[test]
fn a_goodbye_is_acknowledged_and_undone_by_a_hello() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let effects = rig.say("web", 1, HostBody::Goodbye(Goodbye { last_seq: 2 }));
    let ack = Ack { epoch: Epoch(1), up_to: 1, goodbye: true };
    assert_eq!(effects, [Effect::Say(id("web"), ServerBody::Ack(ack))]);
    assert_eq!(rig.host("web").state, State::Left);
    rig.report("web", 1, 2, 1.0);
    assert_eq!(rig.host("web").state, State::Left, "it was under way");
    assert_eq!(rig.host("web").books.outstanding, 0);
    rig.hello("web", 2);
    assert_eq!(rig.host("web").state, State::Up);
}

#[test]
fn what_survives_a_restart() {
    let mut rig = Rig::new(ANY);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 3, 1.0);
    let wanted = rig.host("web").wanted;
    let saved = rig.fleet.save();
    let bytes = rmp_serde::to_vec_named(&saved).unwrap();
    let saved: Saved = rmp_serde::from_slice(&bytes).unwrap();

    let mut rig = Rig::restored(ANY, saved.clone());
    assert_eq!(rig.host("web").state, State::Stale);
    assert_eq!(rig.host("web").wanted, wanted, "unchanged content keeps its revision");
    let effects = rig.report("web", 1, 4, 2.0);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Say(_, ServerBody::WantLayout(_)))));
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout("node_load1", MetricType::Gauge)] }));
    let books = rig.host("web").books;
    assert_eq!((rig.host("web").state, books.received, books.outstanding), (State::Up, 3, 1));

    let rig = Rig::restored("", saved);
    assert!(rig.directory.host("web").is_none(), "nobody wants it any more");
}

#[test]
fn without_saved_state_the_books_begin_at_the_hello() {
    let mut rig = Rig::new(ANY);
    let acked = vec![hostwatch_wire::Acked { server: SERVER, up_to: 40 }];
    let ring = RingRange { epoch: Epoch(1), first: 44, last: 50, acked };
    rig.hello_with("web", 1, None, vec![ring]);
    let books = rig.host("web").books;
    assert_eq!((books.baseline, books.lost, books.outstanding, books.sequence), (40, 3, 7, 50));
}

#[test]
fn a_server_that_nobody_knows_does_not_count_the_past_as_lost() {
    let mut rig = Rig::new(ANY);
    let acked = vec![hostwatch_wire::Acked { server: ServerId(99), up_to: 86_390 }];
    let ring = RingRange { epoch: Epoch(1), first: 86_310, last: 86_400, acked };
    rig.hello_with("web", 1, None, vec![ring]);
    let books = rig.host("web").books;
    assert_eq!((books.baseline, books.lost, books.outstanding), (86_390, 0, 10));
}

#[test]
fn a_layout_is_known_as_long_as_its_service_is() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let failed = ServiceReport::without_values("cpu", Status::Failed, "no", 1);
    let report = Report {
        seq: 2,
        oldest_seq: 1,
        acked: Vec::new(),
        collected_at_ms: rig.now.wall_ms,
        revision: None,
        layouts: Vec::new(),
        services: vec![failed],
    };
    rig.say("web", 1, HostBody::Report(report));
    assert_eq!(rig.values("web"), [0.0; 0], "a failed service has no series");
    rig.pass(40 * SECOND);
    rig.effects();
    assert_eq!(rig.report("web", 1, 3, 3.0), [], "nothing is asked for");
    assert_eq!(rig.values("web"), [3.0]);
}

#[test]
fn a_host_that_does_not_run_what_it_should_is_reminded() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    assert_eq!(rig.report("web", 1, 1, 1.0), [], "it may be about to");
    rig.pass(61 * SECOND);
    rig.effects();
    let effects = rig.report("web", 1, 2, 1.0);
    assert_eq!(welcomes(&effects).len(), 1);
    assert_eq!(rig.report("web", 1, 3, 1.0), [], "not all the time");
}

#[test]
fn series_leave_the_page_when_they_are_old_or_dropped() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.pass(29 * SECOND);
    assert_eq!(rig.values("web"), [1.0]);
    rig.pass(2 * SECOND);
    assert_eq!(rig.values("web"), [0.0; 0], "three intervals of 10 s were missed");
    assert_eq!(rig.host("web").state, State::Stale);
    rig.report("web", 1, 2, 2.0);
    assert_eq!(rig.values("web"), [2.0]);
    rig.fleet.apply(inventory("[hosts.web]\n"), timing(), rig.now);
    rig.effects();
    assert_eq!(rig.values("web"), [0.0; 0], "the revision dropped the service");
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.values("web"), [0.0; 0]);
}

#[test]
fn two_services_never_show_the_same_series() {
    let mut rig = Rig::new("[hosts.web]\ntemplates = [\"both\"]\n");
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let layout = layout("node_load1", MetricType::Gauge);
    rig.report_with("web", 1, 2, "cpu-again", Vec::new(), layout.id(), &[2.0]);
    let host = rig.host("web");
    let hidden: Vec<&[usize]> = host.services.iter().filter_map(|s| s.series.as_ref()).map(|b| &*b.hidden).collect();
    assert_eq!(hidden, [&[][..], &[0][..]]);
}

#[test]
fn a_host_that_only_matched_is_forgotten() {
    let mut rig = Rig::new(ANY);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.pass(61 * SECOND);
    assert_eq!(rig.host("web").state, State::Down);
    rig.pass(3_600 * SECOND);
    assert!(rig.directory.host("web").is_none());
    let effects = rig.effects();
    assert!(effects.contains(&Effect::Forget(id("web"))) && effects.contains(&Effect::Ignore(id("web"))));
    assert_eq!(rig.directory.summary().departed.received, 1, "the fleet's counters do not go back");
}

#[test]
fn a_host_may_not_claim_what_the_server_sets() {
    let mut rig = Rig::new(ANY);
    let claim = |name: &str| (name.to_owned(), ClaimedValue("x".to_owned()));
    rig.claims = ["role", "instance", "job", "__x", "a b"].map(claim).into();
    rig.hello("web", 1);
    assert_eq!(*rig.host("web").labels, Labels::from([("role".to_owned(), "x".to_owned())]));
    assert_eq!(rig.refused("label"), 4);

    let mut rig = Rig::new("[hosts.web]\nlabels = { role = \"db\", env = \"prod\" }\n");
    rig.claims = ["role", "rack"].map(claim).into();
    rig.hello("web", 1);
    let labels = rig.host("web").labels.clone();
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!([label("role"), label("env"), label("rack")], [Some("db"), Some("prod"), Some("x")]);
}

#[test]
fn acknowledgements_are_cumulative() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 2, 1.0);
    rig.report("web", 1, 4, 1.0);
    let mut acks = Vec::new();
    for _ in 0..30 {
        rig.pass(SECOND);
        acks.extend(rig.effects());
    }
    let ack = Ack { epoch: Epoch(1), up_to: 2, goodbye: false };
    assert_eq!(acks, [Effect::Say(id("web"), ServerBody::Ack(ack))]);
}

#[test]
fn whatever_is_wrong_with_a_message_it_is_counted_by_reason() {
    let mut rig = Rig::new("[hosts.web]\ntemplates = [\"linux\"]\n[hosts.db]\ntemplates = [\"linux\"]\n");
    rig.hello("web", 1);
    let goodbye = || HostBody::Goodbye(Goodbye { last_seq: 1 });
    rig.raw("hostwatch:{web}:commands", b"");
    rig.say_on("hostwatch:{web}:join", "web", 1, goodbye());
    assert_eq!(rig.refused("wrong_channel"), 2);
    rig.say_on("hostwatch:{db}:reports", "web", 1, goodbye());
    assert_eq!(rig.refused("wrong_host"), 1);
    assert_eq!(rig.host("web").state, State::Up);
    rig.raw("hostwatch:{web}:reports", &[0xFF, 1, 2]);
    rig.raw("hostwatch:{web}:reports", b"");
    assert_eq!(rig.refused("unknown_version"), 2);
    rig.raw("hostwatch:{web}:reports", &[1, 0xC1]);
    assert_eq!(rig.refused("malformed"), 1);
    rig.raw("hostwatch:{web}:reports", &vec![1; (1 << 20) + 1]);
    assert_eq!(rig.refused("too_long"), 1);
    rig.say("nobody", 1, goodbye());
    assert_eq!(rig.refused("unknown_host"), 1);
    let good = layout("node_load1", MetricType::Gauge);
    rig.report_with("web", 1, 1, "cpu", vec![good.clone()], good.id(), &[1.0, 2.0]);
    assert_eq!(rig.refused("values"), 1);
    for name in ["up", "ALERTS", "hostwatch_host_up", "a b"] {
        let bad = layout(name, MetricType::Gauge);
        rig.report_with("web", 1, 1, "cpu", vec![bad.clone()], bad.id(), &[1.0]);
    }
    assert_eq!(rig.refused("layout"), 4);
    assert_eq!(rig.host("web").books.received, 0);
    rig.report("web", 1, 1, 1.0);
    rig.hello("db", 2);
    let other = layout("node_load1", MetricType::Counter);
    rig.report_with("db", 2, 1, "cpu", vec![other.clone()], other.id(), &[1.0]);
    assert_eq!(rig.refused("family_type"), 1);
}
