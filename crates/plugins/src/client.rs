//! What the client says of itself: what it costs, what waits in its ring and queues, and how its plugins run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::MetricType;
use rustix::time::{ClockId, clock_gettime};

use crate::ledger::{Delivery, Ledger};
#[cfg(target_os = "linux")]
use crate::linux::resident::Resident;
#[cfg(not(target_os = "linux"))]
use crate::portable::resident::Resident;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "client",
    collector: "client",
    about: "what the client says of itself: its cost, its ring and queues, and the duration and success of each plugin",
    on_by_default: true,
    build: |_, options| {
        let (left_out, collectors) = (BTreeMap::new(), BTreeMap::new());
        Ok(Box::new(Client { ledger: options.ledger(), memory: Resident::new(), left_out, collectors }))
    },
};

struct Client {
    ledger: Arc<Ledger>,
    memory: Resident,
    /// How many series of each plugin found no room.
    left_out: BTreeMap<&'static str, u64>,
    collectors: BTreeMap<&'static str, Runs>,
}

/// The newest runs of all services of one collector together.
#[derive(Default)]
struct Runs {
    count: u64,
    failed: u64,
    took: Duration,
}

impl Plugin for Client {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        samples.counter("hostwatch_client_cpu_seconds_total", "Processor time that the client has taken.", cpu);
        let resident = self.memory.bytes()?;
        samples.gauge("hostwatch_client_resident_memory_bytes", "Memory of the client.", resident as f64);
        let (delivery, panics) = self.take();
        samples.counter("hostwatch_client_plugin_panics_total", "Runs that ended in a panic.", panics as f64);
        if let Some(delivery) = delivery {
            report_delivery(&delivery, samples);
        }
        let help = "Series of the newest run that were left out, because they are more than the client's limits allow.";
        let mut dropped = samples.sparse("hostwatch_series_dropped", MetricType::Gauge, help);
        for (plugin, left_out) in self.left_out.iter().filter(|(_, left_out)| **left_out > 0) {
            dropped.push(&[("plugin", plugin)], *left_out as f64);
        }
        let help = "How long the newest run of a plugin took.";
        let mut duration = samples.sparse("node_scrape_collector_duration_seconds", MetricType::Gauge, help);
        for (collector, runs) in &self.collectors {
            duration.push(&[("collector", collector)], runs.took.as_secs_f64());
        }
        let help = "Whether the newest run of a plugin succeeded.";
        let mut success = samples.sparse("node_scrape_collector_success", MetricType::Gauge, help);
        for (collector, runs) in &self.collectors {
            success.push(&[("collector", collector)], f64::from(u8::from(runs.failed == 0)));
        }
        Ok(())
    }
}

impl Client {
    /// Takes the sums of all services from the ledger.
    fn take(&mut self) -> (Option<Delivery>, u64) {
        self.left_out.values_mut().for_each(|left_out| *left_out = 0);
        self.collectors.values_mut().for_each(|runs| *runs = Runs::default());
        let entries = self.ledger.entries();
        for run in entries.runs.values() {
            *self.left_out.entry(run.plugin).or_default() += run.left_out;
            let runs = self.collectors.entry(run.collector).or_default();
            runs.count += 1;
            runs.failed += u64::from(!run.succeeded);
            runs.took += run.took;
        }
        self.collectors.retain(|_, runs| runs.count > 0);
        (entries.delivery, entries.panics)
    }
}

fn report_delivery(delivery: &Delivery, samples: &mut Samples) {
    let gauges = [
        ("hostwatch_client_ring_reports", "Reports that the ring holds.", delivery.ring_reports),
        ("hostwatch_client_ring_bytes", "What the ring holds.", delivery.ring_bytes),
        ("hostwatch_client_ring_limit_bytes", "What the ring may hold.", delivery.ring_limit_bytes),
        ("hostwatch_client_outbox_messages", "Messages that wait to be published.", delivery.outbox_messages),
        ("hostwatch_client_inbox_messages", "Commands that wait to be read.", delivery.inbox_messages),
        ("hostwatch_client_runs_waiting", "Runs of services that wait for a thread.", delivery.runs_waiting),
    ];
    for (name, help, value) in gauges {
        samples.gauge(name, help, value as f64);
    }
    let counters = [
        ("hostwatch_client_ring_dropped_total", "Reports that left the ring at its limits.", delivery.ring_dropped),
        (
            "hostwatch_client_outbox_dropped_total",
            "Messages that found no room or no connection, or were in a batch that Redis refused.",
            delivery.outbox_dropped,
        ),
        ("hostwatch_client_inbox_dropped_total", "Commands that found no room.", delivery.inbox_dropped),
    ];
    for (name, help, value) in counters {
        samples.counter(name, help, value as f64);
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::Parameters;

    use super::*;
    use crate::Access;
    use crate::ledger::Run;

    fn page(ledger: Arc<Ledger>) -> Vec<String> {
        let access = Access { ledger, ..Access::default() };
        let mut plugin = DESCRIPTOR.build(&access, &Parameters::new(), Duration::MAX).unwrap();
        let mut samples = Samples::new();
        samples.collect(&mut *plugin).unwrap();
        samples.text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn cost_alone_without_a_client_around_it() {
        let page = page(Arc::default());
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        assert!(page[0].starts_with("hostwatch_client_cpu_seconds_total ") && value(&page[0]) > 0.0, "{page:?}");
        assert!(page[1].starts_with("hostwatch_client_resident_memory_bytes ") && value(&page[1]) > 1e5, "{page:?}");
        assert_eq!(page[2..], ["hostwatch_client_plugin_panics_total 0"]);
    }

    #[test]
    fn services_of_one_plugin_count_together() {
        let ledger = Arc::<Ledger>::default();
        let run = |plugin, millis, succeeded, left_out| Run {
            plugin,
            collector: plugin,
            took: Duration::from_millis(millis),
            succeeded,
            left_out,
        };
        ledger.ran("gone", run("load", 7, false, 7));
        ledger.ran("web", run("exec", 2_000, true, 0));
        ledger.ran("disk", run("exec", 500, false, 3));
        ledger.ran("cpu", run("cpu", 1, true, 0));
        ledger.ran("disk", run("exec", 250, false, 4));
        ledger.retain(|service| service != "gone");
        ledger.panicked();
        ledger.deliver(Delivery {
            ring_reports: 1,
            ring_bytes: 2,
            ring_limit_bytes: 3,
            ring_dropped: 4,
            ..Delivery::default()
        });
        let expected = "hostwatch_client_plugin_panics_total 1\n\
                        hostwatch_client_ring_reports 1\n\
                        hostwatch_client_ring_bytes 2\n\
                        hostwatch_client_ring_limit_bytes 3\n\
                        hostwatch_client_outbox_messages 0\n\
                        hostwatch_client_inbox_messages 0\n\
                        hostwatch_client_runs_waiting 0\n\
                        hostwatch_client_ring_dropped_total 4\n\
                        hostwatch_client_outbox_dropped_total 0\n\
                        hostwatch_client_inbox_dropped_total 0\n\
                        hostwatch_series_dropped{plugin=\"exec\"} 4\n\
                        node_scrape_collector_duration_seconds{collector=\"cpu\"} 0.001\n\
                        node_scrape_collector_duration_seconds{collector=\"exec\"} 2.25\n\
                        node_scrape_collector_success{collector=\"cpu\"} 1\n\
                        node_scrape_collector_success{collector=\"exec\"} 0";
        assert_eq!(page(ledger)[2..].join("\n"), expected);
    }
}
