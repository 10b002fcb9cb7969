//! What a layout may not say. A server decodes layouts of hosts: what it refuses here never reaches its page.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hostwatch_wire::*;

fn family(name: &str, kind: MetricType, series: Vec<Series>) -> Family {
    Family { name: name.to_owned(), kind, help: String::new(), series }
}

fn gauge(name: &str) -> Family {
    family(name, MetricType::Gauge, Vec::new())
}

fn series(labels: &[(&str, &str)]) -> Series {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    Series { suffix: Suffix::None, labels: labels.iter().map(label).collect() }
}

fn with_labels(labels: &[(&str, &str)]) -> Vec<Family> {
    vec![family("x", MetricType::Gauge, vec![series(labels)])]
}

/// The layout is refused for this reason, before it is encoded and after.
fn refused(families: Vec<Family>, reason: &str) {
    let layout = Layout { families };
    assert_eq!(layout.check().unwrap_err().to_string(), reason);
    assert_eq!(EncodedLayout::new(&layout).decode().unwrap_err().to_string(), reason);
}

/// The layout is refused, by a decoder already while it reads.
fn too_long(families: Vec<Family>, what: &str, length: usize, max: usize) {
    let layout = Layout { families };
    assert_eq!(layout.check(), Err(InvalidLayout::TooLong { what: what.to_owned(), max }));
    let error = EncodedLayout::new(&layout).decode().unwrap_err().to_string();
    assert_eq!(error, format!("malformed layout: length {length} is above the limit of {max}"));
}

fn accepted(families: Vec<Family>) {
    let layout = Layout { families };
    assert_eq!(layout.check(), Ok(()));
    assert_eq!(EncodedLayout::new(&layout).decode(), Ok(layout));
}

#[test]
fn names_that_are_no_names() {
    for name in ["", "1x", "a-b", "a b", "a{", "a\n", "\u{e4}"] {
        refused(vec![gauge(name)], &format!("{name:?} is not a metric name"));
    }
    for name in ["", "1x", "a:b", "a-b", "a\"", "\u{e4}"] {
        refused(with_labels(&[(name, "")]), &format!("{name:?} is not a label name"));
    }
    accepted(vec![gauge("a:b")]);
    accepted(with_labels(&[("_a", "any \"text\"\n\u{e4}")]));
}

#[test]
fn names_that_are_not_a_hosts_to_take() {
    for name in ["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds", "hostwatch_host_up", "hostwatch_"] {
        refused(vec![gauge(name)], &format!("the name {name:?} is reserved"));
    }
    for name in ["instance", "job", "__name__", "__x"] {
        refused(with_labels(&[(name, "")]), &format!("the name {name:?} is reserved"));
    }
    accepted(vec![gauge("upper"), gauge("hostwatch_client_ring_bytes")]);
    accepted(with_labels(&[("instances", ""), ("severity", "")]));
}

#[test]
fn what_stands_twice() {
    refused(with_labels(&[("a", "1"), ("a", "2")]), "label a of x stands twice");
    let one = series(&[("a", "1")]);
    refused(vec![family("x", MetricType::Gauge, vec![one.clone(), one.clone()])], "a series of x stands twice");
    refused(vec![gauge("x"), gauge("y"), gauge("x")], "x stands twice");
    accepted(vec![family("x", MetricType::Gauge, vec![one.clone()]), family("y", MetricType::Gauge, vec![one])]);
}

#[test]
fn a_family_takes_the_names_of_all_its_series() {
    let histogram = || family("x", MetricType::Histogram, Vec::new());
    let summary = || family("x", MetricType::Summary, Vec::new());
    refused(vec![histogram(), gauge("x_sum")], "x_sum stands twice");
    refused(vec![gauge("x_bucket"), histogram()], "x_bucket stands twice");
    refused(vec![gauge("x_count"), summary()], "x_count stands twice");
    refused(vec![summary(), gauge("x")], "x stands twice");
    accepted(vec![summary(), gauge("x_bucket")]);
}

#[test]
fn a_family_has_the_suffixes_of_its_type() {
    let suffixed = |suffix, kind| vec![family("x", kind, vec![Series { suffix, labels: Vec::new() }])];
    refused(suffixed(Suffix::Sum, MetricType::Gauge), "a family of type gauge has no series x_sum");
    refused(suffixed(Suffix::Bucket, MetricType::Summary), "a family of type summary has no series x_bucket");
    refused(suffixed(Suffix::None, MetricType::Histogram), "a family of type histogram has no series x");
    refused(suffixed(Suffix::Count, MetricType::Unknown), "a family of type untyped has no series x_count");
    accepted(suffixed(Suffix::Bucket, MetricType::Histogram));
    accepted(suffixed(Suffix::None, MetricType::Summary));
}

#[test]
fn labels_are_sorted() {
    refused(with_labels(&[("b", "1"), ("a", "2")]), "the labels of x are not sorted by name");
    accepted(with_labels(&[("a", "2"), ("b", "1")]));
}

#[test]
fn a_layout_has_at_most_50_000_series() {
    let all = |count: usize| (0..count).map(|index| series(&[("i", &index.to_string())])).collect::<Vec<_>>();
    let halves = |more: usize| {
        vec![family("x", MetricType::Gauge, all(25_000)), family("y", MetricType::Gauge, all(25_000 + more))]
    };
    accepted(halves(0));
    refused(halves(1), "a layout holds at most 50000 series");
}

#[test]
fn whatever_is_too_long_is_refused_on_both_sides() {
    let text = |length| "x".repeat(length);
    let helped = |length| vec![Family { help: text(length), ..gauge("x") }];
    accepted(helped(1_024));
    too_long(helped(1_025), "the help of x", 1_025, 1_024);

    accepted(with_labels(&[("a", &text(1_024))]));
    too_long(with_labels(&[("a", &text(1_025))]), "the value of label a of x", 1_025, 1_024);

    let names: Vec<String> = (100..165).map(|index| format!("l{index}")).collect();
    let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    accepted(with_labels(&labels[..64]));
    too_long(with_labels(&labels), "the number of labels of x", 65, 64);

    let families = |count| (0..count).map(|index| gauge(&format!("x{index}"))).collect();
    accepted(families(10_000));
    too_long(families(10_001), "the number of families", 10_001, 10_000);

    accepted(vec![gauge(&text(200))]);
    let long = Layout { families: vec![gauge(&text(201))] };
    assert_eq!(long.check(), Err(InvalidLayout::MetricName(text(201))));
    let error = EncodedLayout::new(&long).decode().unwrap_err().to_string();
    assert_eq!(error, "malformed layout: length 201 is above the limit of 200");
}
