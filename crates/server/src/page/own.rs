//! The server's own families, as the `prometheus` crate writes their samples, one by one.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hostwatch_wire::MetricType;
use prometheus::proto::{self, MetricFamily};
use prometheus::{Encoder, TextEncoder};

use super::Sink;
use crate::metrics::Metrics;

/// The families by name; each is written once.
pub(super) struct Families(BTreeMap<String, OwnFamily>);

/// One family with its samples.
pub(super) struct OwnFamily {
    name: String,
    kind: MetricType,
    help: String,
    /// The samples, one on each line.
    samples: Vec<u8>,
}

impl Families {
    /// None at all.
    pub(super) fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Every family as it is now.
    pub(super) fn gather(metrics: &Metrics) -> Self {
        let families = metrics.gather().into_iter().filter_map(OwnFamily::new);
        Self(families.map(|family| (family.name.clone(), family)).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<OwnFamily> {
        self.0.remove(name)
    }

    pub(super) fn put_back(&mut self, family: OwnFamily) {
        self.0.insert(family.name.clone(), family);
    }

    /// Writes what has not been taken.
    pub(super) fn write<W: Write>(&self, sink: &mut Sink<W>) -> io::Result<()> {
        for family in self.0.values() {
            family.write(sink);
            sink.flush_if_full()?;
        }
        Ok(())
    }
}

impl OwnFamily {
    fn new(family: MetricFamily) -> Option<Self> {
        let (name, help) = (family.name().to_owned(), family.help().to_owned());
        let kind = match family.get_field_type() {
            proto::MetricType::COUNTER => MetricType::Counter,
            proto::MetricType::GAUGE => MetricType::Gauge,
            proto::MetricType::HISTOGRAM => MetricType::Histogram,
            proto::MetricType::SUMMARY => MetricType::Summary,
            proto::MetricType::UNTYPED => MetricType::Unknown,
        };
        let mut text = Vec::new();
        // Only a family without a sample is an error, and such a one has nothing to say.
        TextEncoder::new().encode(&[family], &mut text).ok()?;
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        Some(Self { name, kind, help, samples: lines.flatten().copied().collect() })
    }

    /// Its type.
    pub(super) fn kind(&self) -> MetricType {
        self.kind
    }

    pub(super) fn write<W: Write>(&self, sink: &mut Sink<W>) {
        sink.header(&self.name, self.kind, &self.help);
        for line in self.samples.split_inclusive(|byte| *byte == b'\n') {
            sink.format.write_ready_series(&mut sink.buffer, self.kind, line);
        }
    }
}
