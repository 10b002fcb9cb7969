//! The page as a reader sees it, parsed by the strict reader of the test kit.

use std::sync::Arc;

use hostwatch_testkit::Page as Parsed;
use hostwatch_wire::{EncodedLayout, Family, Label, Layout, MetricType, Series, Status, Suffix};

use super::*;
use crate::directory::{Books, Entry, SeriesBlock, Service, Summary};
use crate::fleet::{State, Totals};
use crate::layouts::Layouts;

/// Hosts to be put on a page.
#[derive(Default)]
struct Rig {
    layouts: Layouts,
    hosts: Vec<Arc<Entry>>,
    summary: Summary,
}

impl Rig {
    /// A host in `state` with one service for each layout; value 1 for every series.
    fn host(&mut self, id: &str, state: State, layouts: &[Layout]) {
        let services = layouts.iter().enumerate().map(|(index, layout)| {
            let layout = self.layouts.intern(&EncodedLayout::new(layout)).unwrap();
            let values = vec![1.0; layout.series()].into();
            Arc::new(Service {
                name: format!("service-{index}").into(),
                status: Status::Ok,
                message: None,
                duration_us: 1_500,
                series: Some(SeriesBlock { layout, values, hidden: Arc::default() }),
            })
        });
        let snapshot = Snapshot {
            state,
            state_since_ms: 0,
            labels: Arc::default(),
            facts: None,
            client_version: None,
            rivals: None,
            wanted: None,
            applied: None,
            last_report_ms: Some(1_500),
            clock_skew_seconds: None,
            books: Books::default(),
            totals: Totals { received: 3, ..Totals::default() },
            faults: Faults::default(),
            parked: 0,
            new_layouts: 0,
            services: services.collect(),
        };
        self.hosts.push(Arc::new(Entry::new(id.parse::<HostId>().unwrap(), snapshot)));
    }

    fn text(self) -> String {
        let directory = Arc::new(Directory::default());
        directory.set(Some(self.hosts), Some(self.summary));
        let page = Page { directory, board: Arc::default(), metrics: Metrics::new().unwrap(), job: "node".into() };
        let mut text = Vec::new();
        page.write(&mut text, Format::Text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn page(self) -> Parsed {
        let text = self.text();
        Parsed::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

fn family(name: &str, kind: MetricType, help: &str, series: &[(Suffix, &[(&str, &str)])]) -> Family {
    let series = series.iter().map(|(suffix, labels)| Series {
        suffix: *suffix,
        labels: labels
            .iter()
            .map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect(),
    });
    Family { name: name.to_owned(), kind, help: help.to_owned(), series: series.collect() }
}

fn plain(name: &str, kind: MetricType) -> Layout {
    Layout { families: vec![family(name, kind, "Help.", &[(Suffix::None, &[])])] }
}

#[test]
fn a_family_stands_once_with_all_its_hosts_across_layouts() {
    let mut rig = Rig::default();
    let cpu = |cpus: &[&str]| {
        let series: Vec<Vec<(&str, &str)>> = cpus.iter().map(|cpu| vec![("cpu", *cpu)]).collect();
        let series: Vec<(Suffix, &[(&str, &str)])> = series.iter().map(|labels| (Suffix::None, &labels[..])).collect();
        Layout { families: vec![family("node_cpu_seconds_total", MetricType::Counter, "Help.", &series)] }
    };
    rig.host("a", State::Up, &[cpu(&["0", "1"])]);
    rig.host("b", State::Up, &[cpu(&["0"])]);
    let text = rig.text();
    assert_eq!(text.matches("# TYPE node_cpu_seconds_total counter\n").count(), 1);
    let page = Parsed::parse(&text).unwrap();
    assert_eq!(page.series("node_cpu_seconds_total").count(), 3);
    assert_eq!(page.value("node_cpu_seconds_total", &[("instance", "a"), ("job", "node"), ("cpu", "1")]), Some(1.0));
}

#[test]
fn hosts_that_are_not_there_have_no_series_of_their_own() {
    let mut rig = Rig::default();
    for state in State::ALL {
        rig.host(state.as_str(), state, &[plain("node_load1", MetricType::Gauge)]);
    }
    let page = rig.page();
    let mut shown: Vec<&str> = page.series("node_load1").filter_map(|sample| sample.label("instance")).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["stale", "up"]);
    assert_eq!(page.series("hostwatch_host_up").count(), 5, "pending hosts are only counted");
    assert_eq!(page.value("hostwatch_hosts", &[("state", "pending")]), Some(1.0));
    assert_eq!(page.value("hostwatch_host_up", &[("instance", "up")]), Some(1.0));
    assert_eq!(page.value("hostwatch_host_state", &[("instance", "down"), ("state", "down")]), Some(1.0));
    assert_eq!(page.value("hostwatch_reports_received_total", &[]), Some(18.0));
}

#[test]
fn where_as_many_hosts_disagree_the_first_stands() {
    let mut rig = Rig::default();
    rig.host("a", State::Up, &[plain("x", MetricType::Gauge)]);
    rig.host("b", State::Up, &[plain("x", MetricType::Counter), plain("y", MetricType::Gauge)]);
    let page = rig.page();
    assert_eq!(page.series("x").filter_map(|sample| sample.label("instance")).collect::<Vec<_>>(), ["a"]);
    assert_eq!(page.series("y").count(), 1);
}

#[test]
fn one_host_cannot_hide_what_most_say() {
    let mut rig = Rig::default();
    // It comes first, and says it in several services.
    let lies: Vec<Layout> = (0..5).map(|_| plain("node_load1", MetricType::Counter)).collect();
    rig.host("evil", State::Up, &lies);
    for host in ["one", "two"] {
        rig.host(host, State::Up, &[plain("node_load1", MetricType::Gauge)]);
    }
    let page = rig.page();
    assert_eq!(page.kind("node_load1"), Some("gauge"));
    assert_eq!(page.series("node_load1").count(), 2);
    let left_out = |host| page.value("hostwatch_host_families_left_out", &[("instance", host)]);
    assert_eq!(["evil", "one", "two"].map(left_out), [Some(5.0), None, None]);
}

#[test]
fn a_sample_name_belongs_to_one_family() {
    let histogram = family(
        "x",
        MetricType::Histogram,
        "Help.",
        &[(Suffix::Bucket, &[("le", "+Inf")]), (Suffix::Sum, &[]), (Suffix::Count, &[])],
    );
    let mut rig = Rig::default();
    rig.host("a", State::Up, &[plain("x_count", MetricType::Gauge)]);
    rig.host("b", State::Up, &[Layout { families: vec![histogram.clone()] }]);
    let page = rig.page();
    assert_eq!(page.series("x_count").filter_map(|sample| sample.label("instance")).collect::<Vec<_>>(), ["a"]);
    assert_eq!(page.series("x_bucket").count(), 0);

    let mut rig = Rig::default();
    rig.host("b", State::Up, &[Layout { families: vec![histogram] }]);
    rig.host("a", State::Up, &[plain("x_count", MetricType::Gauge)]);
    let page = rig.page();
    assert_eq!(page.series("x_bucket").count(), 1);
    assert_eq!(page.series("x_count").filter_map(|sample| sample.label("instance")).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn the_servers_own_families_are_shared_or_stand() {
    let mut rig = Rig::default();
    rig.host("a", State::Up, &[plain("process_cpu_seconds_total", MetricType::Counter)]);
    rig.host("b", State::Up, &[plain("process_open_fds", MetricType::Counter)]);
    let text = rig.text();
    assert_eq!(text.matches("# TYPE process_cpu_seconds_total ").count(), 1);
    let page = Parsed::parse(&text).unwrap();
    assert_eq!(page.series("process_cpu_seconds_total").count(), 2);
    assert_eq!(page.series("process_open_fds").count(), 1, "ours is a gauge");
}

#[test]
fn whoever_does_wrong_is_shown_host_or_not() {
    let mut rig = Rig::default();
    rig.host("good", State::Up, &[]);
    rig.host("quiet", State::Pending, &[]);
    rig.host("new", State::Pending, &[]);
    let snapshot = rig.hosts[2].snapshot();
    let faults = Faults { flooded: 3, refused: 0 };
    rig.hosts[2].set(Snapshot { faults, ..(*snapshot).clone() });
    let stranger = ("evil".parse::<HostId>().unwrap(), Faults { flooded: 0, refused: 2 });
    rig.summary.strangers.insert(stranger.0, stranger.1);
    let page = rig.page();
    let figure = |name: &str, instance: &str| page.value(name, &[("instance", instance), ("job", "node")]);
    let flooded = ["good", "quiet", "new", "evil"].map(|host| figure("hostwatch_host_messages_flooded_total", host));
    assert_eq!(flooded, [Some(0.0), None, Some(3.0), None]);
    let refused = ["good", "quiet", "new", "evil"].map(|host| figure("hostwatch_host_messages_refused_total", host));
    assert_eq!(refused, [Some(0.0), None, None, Some(2.0)]);
}

#[test]
fn nothing_from_a_host_spoils_the_page() {
    let mut rig = Rig::default();
    let nasty = "a\"} 1\nup 1\\\n# TYPE up gauge";
    let layout = Layout { families: vec![family("x", MetricType::Gauge, nasty, &[(Suffix::None, &[("l", nasty)])])] };
    rig.host("a", State::Up, &[layout]);
    let page = rig.page();
    assert_eq!(page.series("x").next().and_then(|sample| sample.label("l")), Some(nasty));
    assert_eq!(page.series("up").count(), 0);
}
