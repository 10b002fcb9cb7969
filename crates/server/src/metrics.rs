//! The server's figures about itself, through the `prometheus` crate.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Kept by whoever does the work, read by the page.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// How long one batch of messages took.
    pub ingest_seconds: Histogram,
    /// How long it took to read, check and apply the configuration at a reload.
    pub apply_seconds: Histogram,
    /// How long it took to write a page.
    pub scrape_seconds: Histogram,
    /// Scrapes that were turned away because too many ran already.
    pub scrapes_rejected: IntCounter,
    /// Whether Redis is connected.
    pub redis_connected: IntGauge,
    /// Connections to Redis since the start.
    pub redis_connections: IntCounter,
    /// Messages that wait to be read.
    pub inbox_messages: IntGauge,
    /// Messages that found the inbox full.
    pub inbox_dropped: IntCounter,
    /// How long it took to judge one report.
    pub judge_seconds: Histogram,
    /// Reports that wait to be judged.
    pub judge_waiting: IntGauge,
    /// Reports that the judge had no room for.
    pub judge_dropped: IntCounter,
    /// Configuration keys that are not yet written or deleted as they should be.
    pub outbox_keys: IntGauge,
    /// Messages to hosts that wait to be sent, subscriptions among them.
    pub outbox_messages: IntGauge,
    /// Messages to hosts that found the outbox full, or Redis away.
    pub outbox_dropped: IntCounter,
    /// Whether the last reload put a configuration in force.
    pub reload_successful: IntGauge,
    /// When a configuration was last put in force, in seconds since 1970.
    pub reload_success_timestamp: IntGauge,
    /// Whether `web.yml` was put in force when it was last read.
    pub web_reload_successful: IntGauge,
    /// Requests with a wrong user or password.
    pub logins_refused: IntCounter,
    /// Requests that were turned away because too many passwords were being checked.
    pub logins_rejected: IntCounter,
    /// Connections that ended before they were encrypted.
    pub handshakes_failed: IntCounter,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: only a name that is used twice.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let version = prometheus::opts!("hostwatch_build_info", "The version of this server; always 1.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        register(&registry, IntGauge::with_opts(version)?)?.set(1);
        Ok(Self {
            ingest_seconds: histogram(
                &registry,
                "hostwatch_ingest_duration_seconds",
                "Time to take in one batch of messages.",
            )?,
            apply_seconds: histogram(
                &registry,
                "hostwatch_config_apply_duration_seconds",
                "Time to read, check and apply the configuration at a reload.",
            )?,
            scrape_seconds: histogram(
                &registry,
                "hostwatch_scrape_duration_seconds",
                "Time to write one page of metrics.",
            )?,
            scrapes_rejected: counter(
                &registry,
                "hostwatch_scrapes_rejected_total",
                "Scrapes turned away because too many ran already.",
            )?,
            redis_connected: gauge(
                &registry,
                "hostwatch_redis_connected",
                "Whether Redis is connected and every subscription confirmed.",
            )?,
            redis_connections: counter(
                &registry,
                "hostwatch_redis_connections_total",
                "Connections to Redis that this process has made.",
            )?,
            inbox_messages: gauge(&registry, "hostwatch_inbox_messages", "Messages from hosts that wait to be read.")?,
            inbox_dropped: counter(
                &registry,
                "hostwatch_inbox_dropped_total",
                "Messages from hosts that found the inbox full.",
            )?,
            judge_seconds: fine_histogram(
                &registry,
                "hostwatch_judge_report_duration_seconds",
                "Time to take in the results of one report and to judge every trigger that reads them.",
            )?,
            judge_waiting: gauge(&registry, "hostwatch_judge_reports", "Reports that wait to be judged.")?,
            judge_dropped: counter(
                &registry,
                "hostwatch_judge_reports_dropped_total",
                "Reports that were not judged because too many waited.",
            )?,
            outbox_keys: gauge(
                &registry,
                "hostwatch_outbox_keys",
                "Configuration keys that are not yet in Redis as they should be.",
            )?,
            outbox_messages: gauge(
                &registry,
                "hostwatch_outbox_messages",
                "Messages to hosts, and subscriptions, that wait to be sent.",
            )?,
            outbox_dropped: counter(
                &registry,
                "hostwatch_outbox_dropped_total",
                "Messages to hosts that could not be sent.",
            )?,
            reload_successful: gauge(
                &registry,
                "hostwatch_config_last_reload_successful",
                "Whether the last reload put a configuration in force.",
            )?,
            reload_success_timestamp: gauge(
                &registry,
                "hostwatch_config_last_reload_success_timestamp_seconds",
                "When a configuration was last put in force.",
            )?,
            web_reload_successful: gauge(
                &registry,
                "hostwatch_web_config_last_reload_successful",
                "Whether the file that web.config_file names was put in force when it was last read.",
            )?,
            logins_refused: counter(
                &registry,
                "hostwatch_http_logins_refused_total",
                "Requests with a wrong user or password.",
            )?,
            logins_rejected: counter(
                &registry,
                "hostwatch_http_logins_rejected_total",
                "Requests turned away because too many passwords were being checked already.",
            )?,
            handshakes_failed: counter(
                &registry,
                "hostwatch_http_handshakes_failed_total",
                "Connections that ended before they were encrypted.",
            )?,
            registry,
        })
    }

    /// Every family as it is now.
    #[must_use]
    pub(crate) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }
}

fn histogram(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Histogram> {
    let buckets = prometheus::exponential_buckets(0.000_1, 4.0, 10)?;
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
}

/// For what takes microseconds.
fn fine_histogram(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Histogram> {
    let buckets = prometheus::exponential_buckets(0.000_002, 4.0, 10)?;
    register(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    register(registry, IntCounter::new(name, help)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help)?)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
