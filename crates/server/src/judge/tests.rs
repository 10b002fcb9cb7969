//! The judge through its events, with a clock of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hostwatch_daemon::settings::Mistakes;
use hostwatch_wire::{EncodedLayout, Family, Label, Layout, MetricType, Series, Status, Suffix};

use super::*;
use crate::directory::{SeriesBlock, Service};
use crate::fleet::State;
use crate::inventory::{Inventory, Labels, Sources};
use crate::layouts::Layouts;

const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    judge: Judge,
    board: Arc<Board>,
    inventory: Inventory,
    layouts: Layouts,
    now: Now,
}

impl Rig {
    /// One host, `web`, with the service `disk` every 10 s and these triggers in TOML.
    fn new(triggers: &str) -> Self {
        Self::restored(triggers, SavedAlerts::default(), Now::read())
    }

    fn restored(triggers: &str, saved: SavedAlerts, now: Now) -> Self {
        let board = Arc::<Board>::default();
        let judge = Judge::new(Arc::clone(&board), Arc::default(), "node".into(), saved, now);
        let mut rig = Self { judge, board, inventory: inventory(triggers, ""), layouts: Layouts::default(), now };
        rig.judge.on_link(true, now);
        rig.host(State::Up);
        rig.judge.begin(now);
        rig
    }

    fn host(&mut self, state: State) {
        self.tell(state);
        self.judge.tick(self.now);
    }

    /// The host is in `state`, which is judged at the next tick.
    fn tell(&mut self, state: State) {
        let id: HostId = "web".parse().unwrap();
        let (_, plan) = self.inventory.plan(&id, &Labels::new()).unwrap();
        let labels = Arc::new(plan.labels.clone());
        self.judge.on_host(id, HostFacts { state, is_settled: true, labels, plan }, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall_ms += time.as_millis() as u64;
        self.judge.tick(self.now);
    }

    /// A report of the used share of each device.
    fn report(&mut self, devices: &[(&str, f64)]) {
        self.report_aged(0, true, devices);
    }

    fn report_aged(&mut self, age_ms: u64, fresh: bool, devices: &[(&str, f64)]) {
        let series = devices.iter().map(|(device, _)| Series {
            suffix: Suffix::None,
            labels: vec![Label { name: "device".to_owned(), value: (*device).to_owned() }],
        });
        let family =
            Family { name: "used".to_owned(), kind: MetricType::Gauge, help: String::new(), series: series.collect() };
        let layout = self.layouts.intern(&EncodedLayout::new(&Layout { families: vec![family] })).unwrap();
        let values = devices.iter().map(|(_, value)| *value).collect();
        let series = Some(SeriesBlock { layout, values, hidden: Arc::default() });
        self.deliver(age_ms, fresh, Status::Ok, series);
    }

    fn failure(&mut self) {
        self.deliver(0, true, Status::Failed, None);
    }

    fn deliver(&mut self, age_ms: u64, fresh: bool, status: Status, series: Option<SeriesBlock>) {
        let service = Service { name: "disk".into(), status, message: None, duration_us: 0, series };
        let host = "web".parse().unwrap();
        let report = Report { host, age_ms, fresh, services: vec![Arc::new(service)] };
        self.judge.on_report(&report, self.now);
    }

    /// `alertname device state` of every alert.
    fn alerts(&mut self) -> Vec<String> {
        self.judge.publish();
        let view = self.board.view();
        let shown = view.alerts.iter().map(|active| {
            let device = active.alert.labels.get("device").unwrap_or("-");
            format!("{} {device} {}", active.rule.alert, active.state())
        });
        shown.collect()
    }

    fn places(&mut self, subject: &str) -> Places {
        self.judge.publish();
        let view = self.board.view();
        view.rules.iter().find(|rule| rule.subject == subject).unwrap().places
    }

    fn last_event(&mut self) -> String {
        self.judge.publish();
        let view = self.board.view();
        let event = view.events.first().unwrap();
        format!("{}>{}: {}", event.from, event.to, event.reason)
    }
}

fn inventory(triggers: &str, rules: &str) -> Inventory {
    let file = |name: &str, text: String| vec![(PathBuf::from(name), text)];
    let services = format!("[services.disk]\nplugin = \"disk\"\ninterval = \"10s\"\n{triggers}\n");
    let hosts = "[hosts.web]\ntemplates = [\"linux\"]\nlabels = { env = \"prod\" }\n";
    let sources = Sources {
        hosts: file("hosts.toml", hosts.to_owned()),
        templates: file("templates.toml", "[templates.linux]\nservices = [\"disk\"]\n".to_owned()),
        services: file("services.toml", services),
        rules: file("rules.toml", rules.to_owned()),
    };
    let mistakes = Mistakes::default();
    let inventory = Inventory::read(&sources, &mistakes);
    mistakes.into_result().unwrap();
    inventory
}

fn trigger(expr: &str, more: &str) -> String {
    format!("[[services.disk.triggers]]\nalert = \"Full\"\nexpr = '{expr}'\n{more}\n")
}

#[test]
fn each_result_is_an_alert_of_its_own() {
    let mut rig = Rig::new(&trigger("used > 0.9", "for = \"20s\""));
    rig.report(&[("sda", 0.95), ("sdb", 0.5)]);
    assert_eq!(rig.alerts(), ["Full sda pending"]);
    rig.pass(10 * SECOND);
    rig.report(&[("sda", 0.95), ("sdb", 0.99)]);
    rig.pass(10 * SECOND);
    rig.report(&[("sda", 0.95), ("sdb", 0.99)]);
    assert_eq!(rig.alerts(), ["Full sda firing", "Full sdb pending"]);
    let view = rig.board.view();
    let labels: BTreeMap<&str, &str> = view.alerts[0].alert.labels.iter().collect();
    let expected =
        [("alertname", "Full"), ("device", "sda"), ("env", "prod"), ("instance", "web"), ("severity", "warning")];
    assert_eq!(labels, expected.into());
}

#[test]
fn time_alone_makes_a_pending_alert_fire_while_its_data_is_fresh() {
    let mut rig = Rig::new(&trigger("used > 0.9", "for = \"15s\""));
    rig.report(&[("sda", 0.95)]);
    rig.pass(15 * SECOND);
    assert_eq!(rig.alerts(), ["Full sda firing"]);
    let mut rig = Rig::new(&trigger("used > 0.9", "for = \"40s\""));
    rig.report(&[("sda", 0.95)]);
    rig.pass(31 * SECOND);
    assert_eq!(rig.alerts(), ["Full sda no_data"], "three intervals were missed");
    rig.pass(60 * SECOND);
    assert_eq!(rig.alerts(), ["Full sda no_data"], "old samples fire nothing");
    assert_eq!(rig.places("Full"), Places { no_data: 1, ..Places::default() });
}

#[test]
fn what_is_gone_does_not_resolve_an_alert() {
    let mut rig = Rig::new(&trigger("used > 0.9", ""));
    rig.report(&[("sda", 0.95), ("sdb", 0.95)]);
    assert_eq!(rig.alerts(), ["Full sda firing", "Full sdb firing"]);
    rig.pass(SECOND);
    rig.report(&[("sdb", 0.5)]);
    assert_eq!(rig.alerts(), ["Full sda firing"], "sdb has recovered, of sda nothing is known");
    rig.failure();
    rig.pass(SECOND);
    rig.host(State::Down);
    assert_eq!(rig.alerts(), ["HostDown - firing", "Full sda firing"]);
    rig.host(State::Up);
    rig.report(&[("sda", 0.1)]);
    assert_eq!(rig.alerts(), Vec::<String>::new());
    for second in 0..2 * 24 * 360 {
        if second == 0 {
            rig.report(&[("sda", 0.95)]);
        }
        rig.pass(10 * SECOND);
        rig.report(&[("sdb", 0.5)]);
    }
    assert_eq!(rig.last_event(), "firing>resolved: its series have been gone for a day");
}

#[test]
fn a_recovery_may_aggregate_more_away() {
    let mut rig = Rig::new(&trigger("used > 0.9", "recover = 'max(used) < 0.5'"));
    rig.report(&[("sda", 0.95), ("sdb", 0.6)]);
    rig.report(&[("sda", 0.1), ("sdb", 0.6)]);
    assert_eq!(rig.alerts(), ["Full sda firing"]);
    rig.pass(SECOND);
    rig.report(&[("sda", 0.1), ("sdb", 0.2)]);
    assert_eq!(rig.alerts(), Vec::<String>::new());
}

#[test]
fn late_reports_fill_the_past_and_are_not_judged() {
    let mut rig = Rig::new(&trigger("avg_over_time(used[1m]) > 0.5", ""));
    rig.report(&[("sda", 0.0)]);
    rig.report_aged(20_000, false, &[("sda", 1.0)]);
    rig.report_aged(10_000, false, &[("sdb", 1.0), ("sda", 1.0)]);
    assert_eq!(rig.alerts(), Vec::<String>::new(), "nothing is judged yet");
    rig.pass(SECOND);
    rig.report(&[("sda", 0.4)]);
    assert_eq!(rig.alerts(), ["Full sda firing"], "1, 1, 0 and 0.4");
}

#[test]
fn the_past_may_come_before_the_present() {
    let mut rig = Rig::new(&trigger("avg_over_time(used[1m]) > 0.5", ""));
    rig.report_aged(30_000, false, &[("sda", 1.0)]);
    rig.report_aged(20_000, false, &[("sdb", 1.0), ("sda", 1.0)]);
    rig.pass(SECOND);
    assert_eq!(rig.alerts(), Vec::<String>::new(), "the past alone is not judged");
    rig.report(&[("sda", 0.4), ("sdb", 0.1)]);
    assert_eq!(rig.alerts(), ["Full sda firing", "Full sdb firing"], "1, 1 and 0.4; 1 and 0.1");
}

#[test]
fn a_changed_layout_keeps_the_past_of_what_stays() {
    let mut rig = Rig::new(&trigger("avg_over_time(used[1m]) > 0.5", ""));
    for _ in 0..3 {
        rig.report(&[("sda", 0.9)]);
        rig.pass(5 * SECOND);
    }
    rig.report(&[("new", 0.1), ("sda", 0.2)]);
    assert_eq!(rig.alerts(), ["Full sda firing"]);
    assert_eq!(rig.places("Full"), Places { firing: 1, ..Places::default() });
}

#[test]
fn a_restart_keeps_alerts_and_does_not_count_the_time_between() {
    let triggers = trigger("used > 0.9", "for = \"30s\"");
    let mut rig = Rig::new(&triggers);
    rig.report(&[("sda", 0.95)]);
    rig.pass(20 * SECOND);
    let (saved, mut now) = (rig.judge.save(rig.now), rig.now);
    now.monotonic += 100 * SECOND;
    now.wall_ms += 100_000;
    let mut rig = Rig::restored(&triggers, saved.clone(), now);
    assert_eq!(rig.alerts(), ["Full sda no_data"]);
    rig.report(&[("sda", 0.95)]);
    assert_eq!(rig.alerts(), ["Full sda pending"]);
    rig.pass(10 * SECOND);
    rig.report(&[("sda", 0.95)]);
    assert_eq!(rig.alerts(), ["Full sda firing"]);

    let mut rig = Rig::restored("", saved, now);
    assert_eq!(rig.alerts(), Vec::<String>::new());
    assert_eq!(rig.last_event(), "pending>inactive: the trigger was removed");
}

#[test]
fn a_trigger_that_is_taken_away_ends_its_alerts_and_no_others() {
    let other = "[[services.disk.triggers]]\nalert = \"Used\"\nexpr = \"used > 0\"\n";
    let mut rig = Rig::new(&format!("{}{other}", trigger("used > 0.9", "")));
    rig.report(&[("sda", 0.95)]);
    assert_eq!(rig.alerts(), ["Full sda firing", "Used sda firing"]);
    rig.inventory = inventory(other, "");
    rig.host(State::Up);
    assert_eq!(rig.alerts(), ["Used sda firing"]);
    assert_eq!(rig.last_event(), "firing>resolved: the trigger was removed");
    rig.judge.on_removed(&"web".parse().unwrap(), rig.now);
    assert_eq!(rig.last_event(), "firing>resolved: the host was removed");
}

#[test]
fn rules_over_the_fleet_see_labels_of_hosts_and_the_past() {
    let mut rig = Rig::new("");
    let rules = "[rules.a]\nrecord = \"fleet:used:max\"\nexpr = 'max by (env, instance, job) (max_over_time(used{env=\"prod\"}[1m]))'\n\
                 interval = \"10s\"\n[rules.b]\nalert = \"AnyFull\"\nexpr = 'max(used) > 0.9'\n";
    let rules = inventory("", rules).fleet_rules().to_vec();
    rig.judge.apply(&rules, rig.now);
    rig.report(&[("sda", 0.95)]);
    rig.pass(SECOND);
    rig.report(&[("sda", 0.5)]);
    assert_eq!(rig.alerts(), ["AnyFull - firing"]);
    rig.pass(10 * SECOND);
    rig.judge.publish();
    let records = &rig.board.view().records;
    let labels = hostwatch_rules::Labels::new([("env", "prod"), ("instance", "web"), ("job", "node")]);
    assert_eq!((&*records[0].name, &records[0].series[..]), ("fleet:used:max", &[(labels, 0.95)][..]));
    rig.judge.apply(&rules[..1], rig.now);
    assert_eq!(rig.last_event(), "firing>resolved: the rule was removed");
}

#[test]
fn what_is_due_at_the_next_tick_stays_due_when_a_report_comes() {
    let mut rig = Rig::new("");
    rig.host(State::Down);
    assert_eq!(rig.alerts(), ["HostDown - firing"]);
    for _ in 0..3 {
        rig.tell(State::Up);
        rig.report(&[("sda", 0.5)]);
    }
    rig.pass(SECOND);
    assert_eq!(rig.alerts(), Vec::<String>::new());
}

#[test]
fn a_service_that_fails_has_no_newest_value_from_its_past() {
    let mut rig = Rig::new("");
    // The first rule has the past remembered, the second one looks at the newest value.
    let rules = "[rules.a]\nrecord = \"fleet:used:max\"\nexpr = 'max_over_time(used[1m])'\n\
                 [rules.b]\nalert = \"AnyFull\"\nexpr = 'max(used) > 0.9'\n";
    rig.judge.apply(inventory("", rules).fleet_rules(), rig.now);
    rig.report_aged(20_000, false, &[("sda", 0.95)]);
    rig.failure();
    rig.pass(60 * SECOND);
    assert_eq!(rig.alerts(), Vec::<String>::new());
}

#[test]
fn a_rule_that_fails_is_counted_and_moves_nothing() {
    let mut rig = Rig::new(&trigger("used + on () used > 0", ""));
    rig.report(&[("sda", 0.95)]);
    assert_eq!(rig.alerts(), ["Full - firing"]);
    rig.pass(SECOND);
    rig.report(&[("sda", 0.95), ("sdb", 0.95)]);
    assert_eq!(rig.alerts(), ["Full - firing"], "which belongs to which?");
    let view = rig.board.view();
    let health = &view.rules.iter().find(|rule| rule.subject == "Full").unwrap().health;
    assert_eq!((health.evaluations, health.failures), (3, 1));
    assert!(health.last_error.as_ref().unwrap().error.contains("duplicate series"), "{health:?}");
}
