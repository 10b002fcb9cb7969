//! Reports are complete, in order, short enough, and come after the layouts that they need.

use std::collections::HashMap;
use std::time::Duration;

use hostwatch_wire::{Family, Label, Layout, MAX_MESSAGE_BYTES, MetricType, Series};
use proptest::prelude::*;

use super::*;
use crate::ring::Limits;

fn layout(name: &str, series: usize, bytes_each: usize) -> SharedLayout {
    let series = (0..series)
        .map(|number| {
            let label = Label { name: "n".to_owned(), value: format!("{number:0bytes_each$}") };
            Series { labels: vec![label], ..Series::default() }
        })
        .collect();
    let family = Family { name: name.to_owned(), kind: MetricType::Gauge, help: String::new(), series };
    let encoded = EncodedLayout::new(&Layout { families: vec![family] });
    SharedLayout { id: encoded.id(), encoded: Arc::new(encoded) }
}

fn measured(service: &str, layout: &SharedLayout, values: usize) -> Measured {
    let outcome = Outcome::Values { layout: Some(layout.clone()), values: vec![0.5; values], message: None };
    Measured { service: service.parse().unwrap(), took: Duration::from_micros(7), outcome }
}

fn batch(results: Vec<Measured>) -> Batch {
    Batch { stamp: Stamp { collected_at_ms: 5, revision: None }, results }
}

struct Rig {
    reporter: Reporter,
    ring: Ring,
}

impl Rig {
    fn new() -> Self {
        let ring = Ring::new(Epoch(1), Limits { max_age: Duration::from_secs(900), max_size: 64 << 20 });
        Self { reporter: Reporter::new("web01".parse().unwrap(), Epoch(1)), ring }
    }

    fn report(&mut self, results: Vec<Measured>) -> Vec<Outgoing> {
        let mut out = Vec::new();
        self.reporter.report(batch(results), &mut self.ring, Moment::default(), &mut out);
        out
    }
}

/// Reads messages as a server would, which knows `layouts`; returns the numbers and services of the reports.
fn read(out: &[Outgoing], layouts: &mut HashMap<LayoutId, Layout>) -> Vec<(u64, Vec<(String, Status)>)> {
    let mut reports = Vec::new();
    for message in out {
        let (Outgoing::Report(_, payload) | Outgoing::Layouts(payload)) = message else { panic!("{message:?}") };
        assert!(payload.len() <= MAX_MESSAGE_BYTES);
        let learn = |layouts: &mut HashMap<_, _>, new: &[EncodedLayout]| {
            layouts.extend(new.iter().map(|encoded| (encoded.id(), encoded.decode().unwrap())));
        };
        match HostMessage::decode(payload).unwrap().body {
            HostBody::Layouts(list) => learn(layouts, &list.layouts),
            HostBody::Report(report) => {
                learn(layouts, &report.layouts);
                for service in report.services.iter().filter(|service| service.layout.is_some()) {
                    assert_eq!(layouts[&service.layout.unwrap()].len(), service.values.len(), "{}", service.service);
                }
                let services = report.services.iter().map(|service| (service.service.to_owned(), service.status));
                reports.push((report.seq, services.collect()));
            }
            other => panic!("{other:?}"),
        }
    }
    reports
}

#[test]
fn a_layout_travels_once_in_a_servers_life() {
    let (mut rig, layout) = (Rig::new(), layout("x", 100, 10));
    let lengths: Vec<_> = (0..4)
        .map(|number| {
            if number == 2 {
                rig.reporter.forget_layouts();
            }
            let out = rig.report(vec![measured("a", &layout, 100), measured("b", &layout, 100)]);
            let Outgoing::Report(_, payload) = &out[0] else { panic!("{out:?}") };
            payload.len() > 100 * (8 + 8 + 10)
        })
        .collect();
    assert_eq!(lengths, [true, false, true, false]);
    assert_eq!((rig.reporter.last_seq(), rig.ring.last(Epoch(1))), (4, Some(4)));
}

#[test]
fn without_results_it_is_a_heartbeat() {
    let mut rig = Rig::new();
    assert_eq!(read(&rig.report(vec![]), &mut HashMap::new()), [(1, vec![])]);
}

#[test]
fn what_never_fits_fails_alone() {
    let mut rig = Rig::new();
    let (huge, small) = (layout("huge", 9_000, 200), layout("small", 1, 1));
    let reports =
        read(&rig.report(vec![measured("huge", &huge, 9_000), measured("small", &small, 1)]), &mut HashMap::new());
    let expected = vec![("huge".to_owned(), Status::Failed), ("small".to_owned(), Status::Ok)];
    assert_eq!(reports, [(1, expected)]);
}

#[test]
fn a_layout_that_does_not_fit_beside_its_values_goes_ahead() {
    let mut rig = Rig::new();
    let large = layout("large", 40_000, 1);
    assert!(large.encoded.byte_len() > MAX_CONTENT - 40_000 * 8);
    let out = rig.report(vec![measured("large", &large, 40_000)]);
    assert!(matches!(out[..], [Outgoing::Layouts(_), Outgoing::Report(..)]), "{}", out.len());
    assert_eq!(read(&out, &mut HashMap::new()), [(1, vec![("large".to_owned(), Status::Ok)])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn nothing_is_lost_in_splitting(
        ticks in proptest::collection::vec(proptest::collection::vec((0_usize..4, 1_usize..20_000, any::<bool>()), 0..12), 1..3),
    ) {
        let (mut rig, mut layouts) = (Rig::new(), HashMap::new());
        let mut next_seq = 1;
        for tick in ticks {
            let results: Vec<_> = tick
                .iter()
                .enumerate()
                .map(|(index, (family, values, ok))| {
                    let name = format!("service-{index}");
                    if *ok {
                        measured(&name, &layout(["a", "b", "c", "d"][*family], *values, 4), *values)
                    } else {
                        let outcome = Outcome::Trouble(Status::Failed, "x".repeat(*values));
                        Measured { service: name.parse().unwrap(), took: Duration::ZERO, outcome }
                    }
                })
                .collect();
            let reports = read(&rig.report(results), &mut layouts);
            let services: Vec<_> = reports.iter().flat_map(|(_, services)| services).collect();
            prop_assert_eq!(services.len(), tick.len());
            for (index, (name, _)) in services.iter().enumerate() {
                prop_assert_eq!(name, &format!("service-{index}"));
            }
            for (seq, _) in &reports {
                prop_assert_eq!(*seq, next_seq);
                next_seq += 1;
            }
            prop_assert!(tick.is_empty() || reports.iter().all(|(_, services)| !services.is_empty()));
        }
    }
}
