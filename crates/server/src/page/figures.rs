//! What the server knows about every host, and about the fleet: the `hostwatch_*` families.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hostwatch_wire::{MetricType, Status, text};

use super::{Row, Sink};
use crate::directory::{Faults, Snapshot, Summary};
use crate::fleet::{State, Totals};

/// A family with at most one sample a host.
pub(crate) struct Figure {
    /// The name of the family.
    pub name: &'static str,
    kind: MetricType,
    help: &'static str,
    /// The sample of a host.
    pub value: fn(&Snapshot) -> Option<f64>,
}

/// The families with at most one sample a host. Rules over the fleet can read them too.
pub(crate) const FIGURES: &[Figure] = &[
    Figure {
        name: "hostwatch_host_up",
        kind: MetricType::Gauge,
        help: "Whether the host reports: 1 in state up, 0 in every other.",
        value: |host| Some(f64::from(host.state == State::Up)),
    },
    Figure {
        name: "hostwatch_host_last_report_timestamp_seconds",
        kind: MetricType::Gauge,
        help: "When the newest report of the host was received.",
        value: |host| host.last_report_ms.map(|ms| ms as f64 / 1_000.0),
    },
    Figure {
        name: "hostwatch_host_clock_skew_seconds",
        kind: MetricType::Gauge,
        help: "The clock of the host less the clock of the server, transit included.",
        value: |host| host.clock_skew_seconds,
    },
    Figure {
        name: "hostwatch_host_report_sequence",
        kind: MetricType::Gauge,
        help: "The highest sequence number of a report in the current epoch of the host.",
        value: |host| Some(host.books.sequence as f64),
    },
    Figure {
        name: "hostwatch_host_reports_baseline",
        kind: MetricType::Gauge,
        help: "The sequence number in the current epoch behind which this server began to count.",
        value: |host| Some(host.books.baseline as f64),
    },
    Figure {
        name: "hostwatch_host_reports_received",
        kind: MetricType::Gauge,
        help: "Reports of the current epoch that were received.",
        value: |host| Some(host.books.received as f64),
    },
    Figure {
        name: "hostwatch_host_reports_lost",
        kind: MetricType::Gauge,
        help: "Reports of the current epoch that can no longer come.",
        value: |host| Some(host.books.lost as f64),
    },
    Figure {
        name: "hostwatch_host_reports_outstanding",
        kind: MetricType::Gauge,
        help: "Reports of the current epoch that are missing and may still come.",
        value: |host| Some(host.books.outstanding as f64),
    },
    Figure {
        name: "hostwatch_host_reports_received_total",
        kind: MetricType::Counter,
        help: "Reports that were received from the host, each counted once.",
        value: |host| Some(host.totals.received as f64),
    },
    Figure {
        name: "hostwatch_host_reports_lost_total",
        kind: MetricType::Counter,
        help: "Reports of the host that can no longer come.",
        value: |host| Some(host.totals.lost as f64),
    },
    Figure {
        name: "hostwatch_host_reports_duplicate_total",
        kind: MetricType::Counter,
        help: "Reports of the host that came again.",
        value: |host| Some(host.totals.duplicate as f64),
    },
    Figure {
        name: "hostwatch_host_reports_resent_total",
        kind: MetricType::Counter,
        help: "Reports of the host that filled a gap.",
        value: |host| Some(host.totals.resent as f64),
    },
    Figure {
        name: "hostwatch_host_messages_flooded_total",
        kind: MetricType::Counter,
        help: "Messages of the host that were dropped because it said more than any host may.",
        value: |host| Some(host.faults.flooded as f64),
    },
    Figure {
        name: "hostwatch_host_messages_refused_total",
        kind: MetricType::Counter,
        help: "Messages of the host that were counted and dropped, whatever was wrong with them.",
        value: |host| Some(host.faults.refused as f64),
    },
    Figure {
        name: "hostwatch_host_layouts_total",
        kind: MetricType::Counter,
        help: "Layouts that the host brought and that no host used before.",
        value: |host| Some(host.new_layouts as f64),
    },
    Figure {
        name: "hostwatch_host_services_refused",
        kind: MetricType::Gauge,
        help: "Services that the host does not run; hostwatch_host_service_refused_info says why.",
        value: |host| host.applied.as_ref().map(|applied| applied.refused.len() as f64),
    },
];

type Fault = fn(&Faults) -> u64;

/// Of these families whoever has a sample did something wrong, host or not.
const FAULTS: [(&str, Fault); 2] = [
    ("hostwatch_host_messages_flooded_total", |faults| faults.flooded),
    ("hostwatch_host_messages_refused_total", |faults| faults.refused),
];

/// Who is no host, with the labels that a host of that id would have.
pub(super) struct Stranger {
    pub(super) labels: Vec<u8>,
    pub(super) faults: Faults,
}

/// Writes all families about hosts and fleet. Hosts that nobody configured are counted, but have no series, unless they do
/// something wrong; nor have strangers.
pub(super) fn write<W: Write>(
    rows: &[Row],
    strangers: &[Stranger],
    left_out: &BTreeMap<&[u8], usize>,
    summary: &Summary,
    sink: &mut Sink<W>,
) -> io::Result<()> {
    write_fleet(rows, summary, sink);
    let (pending, known): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.snapshot.state == State::Pending);
    let pending = pending.iter().map(|row| (&row.labels, &row.snapshot.faults));
    let others: Vec<_> = pending.chain(strangers.iter().map(|stranger| (&stranger.labels, &stranger.faults))).collect();
    for figure in FIGURES {
        sink.header(figure.name, figure.kind, figure.help);
        for row in &known {
            if let Some(value) = (figure.value)(&row.snapshot) {
                write_sample(&mut sink.buffer, figure.name, &[], &row.labels, value);
            }
            sink.flush_if_full()?;
        }
        for (_, fault) in FAULTS.iter().filter(|(name, _)| *name == figure.name) {
            for (labels, faults) in others.iter().filter(|(_, faults)| fault(faults) > 0) {
                write_sample(&mut sink.buffer, figure.name, &[], labels, fault(faults) as f64);
                sink.flush_if_full()?;
            }
        }
    }
    let name = "hostwatch_host_families_left_out";
    let help = "Families of the host that are not on this page, since more hosts give their names another type.";
    sink.header(name, MetricType::Gauge, help);
    for (labels, count) in left_out {
        write_sample(&mut sink.buffer, name, &[], labels, *count as f64);
        sink.flush_if_full()?;
    }
    labelled(
        &known,
        sink,
        "hostwatch_host_state",
        "The state of the host: 1 for the one it is in.",
        |host, sample| {
            for state in State::ALL {
                sample(&[("state", state.as_str())], f64::from(host.state == state));
            }
        },
    )?;
    labelled(&known, sink, "hostwatch_host_info", "What the host is; always 1.", |host, sample| {
        if let (Some(facts), Some(version)) = (&host.facts, &host.client_version) {
            let (os, kernel, architecture) = (&*facts.os, &*facts.kernel, &*facts.architecture);
            sample(&[("os", os), ("kernel", kernel), ("architecture", architecture), ("client_version", version)], 1.0);
        }
    })?;
    let help =
        "The configuration revision that should be in force (state wanted) and the one that is (applied); always 1.";
    labelled(&known, sink, "hostwatch_host_config_revision_info", help, |host, sample| {
        let applied = host.applied.as_ref().map(|applied| applied.revision);
        for (state, revision) in [("wanted", host.wanted), ("applied", applied)] {
            if let Some(revision) = revision {
                sample(&[("revision", &revision.to_string()), ("state", state)], 1.0);
            }
        }
    })?;
    let help = "Why the host does not run a service; always 1.";
    labelled(&known, sink, "hostwatch_host_service_refused_info", help, |host, sample| {
        for refusal in host.applied.iter().flat_map(|applied| &applied.refused) {
            sample(&[("service", refusal.service.as_str()), ("reason", &refusal.reason)], 1.0);
        }
    })?;
    let help = "Whether the last run of the service succeeded.";
    labelled(&known, sink, "hostwatch_host_service_success", help, |host, sample| {
        for service in &host.services {
            sample(&[("service", &service.name)], f64::from(service.status == Status::Ok));
        }
    })?;
    let help = "How long the last run of the service took.";
    labelled(&known, sink, "hostwatch_host_service_duration_seconds", help, |host, sample| {
        for service in &host.services {
            sample(&[("service", &service.name)], service.duration_us as f64 / 1e6);
        }
    })
}

/// Labels and value of one sample, to be completed with the host's labels.
type Sample<'a> = dyn FnMut(&[(&str, &str)], f64) + 'a;

/// A gauge with labels of its own beside the host's.
fn labelled<W: Write>(
    rows: &[&Row],
    sink: &mut Sink<W>,
    name: &str,
    help: &str,
    samples: impl Fn(&Snapshot, &mut Sample<'_>),
) -> io::Result<()> {
    sink.header(name, MetricType::Gauge, help);
    for row in rows {
        let buffer = &mut sink.buffer;
        samples(&row.snapshot, &mut |labels, value| write_sample(buffer, name, labels, &row.labels, value));
        sink.flush_if_full()?;
    }
    Ok(())
}

fn write_fleet<W: Write>(rows: &[Row], summary: &Summary, sink: &mut Sink<W>) {
    sink.header("hostwatch_hosts", MetricType::Gauge, "Hosts by state.");
    for state in State::ALL {
        let count = rows.iter().filter(|row| row.snapshot.state == state).count();
        write_sample(&mut sink.buffer, "hostwatch_hosts", &[("state", state.as_str())], b"} ", count as f64);
    }
    let mut totals = summary.departed;
    rows.iter().for_each(|row| totals += row.snapshot.totals);
    let Totals { received, lost, duplicate, resent } = totals;
    for (name, help, value) in [
        ("hostwatch_reports_received_total", "Reports that were received, each counted once.", received),
        ("hostwatch_reports_lost_total", "Reports that can no longer come.", lost),
        ("hostwatch_reports_duplicate_total", "Reports that came again.", duplicate),
        ("hostwatch_reports_resent_total", "Reports that filled a gap.", resent),
    ] {
        sink.header(name, MetricType::Counter, help);
        write_sample(&mut sink.buffer, name, &[], b"} ", value as f64);
    }
    let name = "hostwatch_messages_refused_total";
    sink.header(name, MetricType::Counter, "Messages that were counted and dropped, by reason.");
    for (reason, count) in &summary.refused {
        write_sample(&mut sink.buffer, name, &[("reason", reason)], b"} ", *count as f64);
    }
    let parked: usize = rows.iter().map(|row| row.snapshot.parked).sum();
    sink.header("hostwatch_reports_parked", MetricType::Gauge, "Reports that wait until their host sends the layout.");
    write_sample(&mut sink.buffer, "hostwatch_reports_parked", &[], b"} ", parked as f64);
    let name = "hostwatch_reports_parked_dropped_total";
    sink.header(
        name,
        MetricType::Counter,
        "Reports that found no room while they waited for a layout; they are asked for again.",
    );
    write_sample(&mut sink.buffer, name, &[], b"} ", summary.parked_dropped as f64);
    let name = "hostwatch_config_conflict";
    let help = "Whether another server with other files writes the configuration of our hosts.";
    sink.header(name, MetricType::Gauge, help);
    write_sample(&mut sink.buffer, name, &[], b"} ", f64::from(summary.config_conflict));
}

/// The names of all families here that others could collide with.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FIGURES.iter().map(|figure| figure.name)
}

/// `rest` closes the braces: more labels, or none.
pub(super) fn write_sample(page: &mut Vec<u8>, name: &str, labels: &[(&str, &str)], rest: &[u8], value: f64) {
    page.extend_from_slice(name.as_bytes());
    page.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            page.push(b',');
        }
        text::write_label(page, name, value);
    }
    if !labels.is_empty() && rest != b"} " {
        page.push(b',');
    }
    page.extend_from_slice(rest);
    text::write_value(page, value);
    page.push(b'\n');
}
