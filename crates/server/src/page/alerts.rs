//! `ALERTS`, the counts of alerts, how the rules fare, and what rules recorded.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use hostwatch_rules::Labels;
use hostwatch_wire::{MetricType, text};

use super::Sink;
use super::figures::write_sample;
use crate::judge::{RuleStatus, View};

/// Tells our alerts from those of a Prometheus that scrapes the page.
const MONITOR: &str = "hostwatch";

/// Writes all of it.
pub(super) fn write<W: Write>(view: &View, sink: &mut Sink<W>) -> io::Result<()> {
    write_alerts(view, sink)?;
    write_counts(view, sink)?;
    write_rules(&view.rules, sink)?;
    for record in &view.records {
        sink.header(&record.name, MetricType::Gauge, &record.expr);
        for (labels, value) in &record.series {
            write_labels(&mut sink.buffer, &record.name, labels, &[], *value);
            sink.flush_if_full()?;
        }
    }
    Ok(())
}

fn write_alerts<W: Write>(view: &View, sink: &mut Sink<W>) -> io::Result<()> {
    if view.alerts.is_empty() {
        return Ok(());
    }
    sink.header("ALERTS", MetricType::Gauge, "Alerts that are pending or firing; always 1.");
    // Labels of a rule may make two of its alerts the same; a page that repeats a series is none.
    let mut written = HashSet::with_capacity(view.alerts.len());
    for active in &view.alerts {
        let begin = sink.buffer.len();
        let ours = [("alertstate", active.state()), ("monitor", MONITOR)];
        write_labels(&mut sink.buffer, "ALERTS", &active.alert.labels, &ours, 1.0);
        if !written.insert(sink.buffer[begin..].to_vec()) {
            sink.buffer.truncate(begin);
        }
        sink.flush_if_full()?;
    }
    Ok(())
}

/// Every rule has a count from the start, so that a graph begins at zero.
fn write_counts<W: Write>(view: &View, sink: &mut Sink<W>) -> io::Result<()> {
    let mut counts: BTreeMap<(&str, &str), [usize; 3]> = BTreeMap::new();
    const STATES: [&str; 3] = ["firing", "no_data", "pending"];
    for rule in view.rules.iter().filter(|rule| rule.kind != "record") {
        let count = counts.entry((&rule.subject, &rule.severity)).or_default();
        count[1] += rule.places.no_data;
    }
    for active in &view.alerts {
        let severity = active.alert.labels.get("severity").unwrap_or_default();
        let state = STATES.iter().position(|state| *state == active.state());
        // An alert without data is one of a place without data, which was counted, or one of its series is gone.
        if let Some(state) = state.filter(|state| *state != 1) {
            counts.entry((&active.rule.alert, severity)).or_default()[state] += 1;
        }
    }
    let name = "hostwatch_alerts";
    let help = "Alerts by state; no_data counts the hosts on which a rule has nothing to judge by.";
    sink.header(name, MetricType::Gauge, help);
    for ((alert, severity), count) in counts {
        for (state, count) in STATES.iter().zip(count) {
            let labels = [("alertname", alert), ("severity", severity), ("alertstate", state)];
            write_sample(&mut sink.buffer, name, &labels, b"} ", count as f64);
        }
        sink.flush_if_full()?;
    }
    Ok(())
}

fn write_rules<W: Write>(rules: &[RuleStatus], sink: &mut Sink<W>) -> io::Result<()> {
    type Figure = (&'static str, &'static str, fn(&RuleStatus) -> u64);
    const FIGURES: [Figure; 2] = [
        ("hostwatch_rule_evaluations_total", "Evaluations of rules.", |rule| rule.health.evaluations),
        ("hostwatch_rule_evaluation_failures_total", "Evaluations of rules that failed.", |rule| rule.health.failures),
    ];
    for (name, help, value) in FIGURES {
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for rule in rules {
            *sums.entry((&rule.name, &rule.subject)).or_default() += value(rule);
        }
        sink.header(name, MetricType::Counter, help);
        for ((group, rule), sum) in sums {
            write_sample(&mut sink.buffer, name, &[("rule_group", group), ("rule", rule)], b"} ", sum as f64);
            sink.flush_if_full()?;
        }
    }
    Ok(())
}

/// A sample with labels of any names; `ours` win over those of the same name.
fn write_labels(page: &mut Vec<u8>, name: &str, labels: &Labels, ours: &[(&str, &str)], value: f64) {
    let theirs = labels.iter().filter(|(name, _)| *name != "__name__" && ours.iter().all(|(our, _)| our != name));
    let mut all: Vec<(&str, &str)> = theirs.chain(ours.iter().copied()).collect();
    all.sort_unstable();
    page.extend_from_slice(name.as_bytes());
    page.push(b'{');
    for (index, (name, value)) in all.into_iter().enumerate() {
        if index > 0 {
            page.push(b',');
        }
        text::write_label(page, name, value);
    }
    page.extend_from_slice(b"} ");
    text::write_value(page, value);
    page.push(b'\n');
}
