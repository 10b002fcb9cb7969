//! The server's own families, as the `prometheus` crate writes them, one by one.

use std::collections::BTreeMap;
use std::io::{self, Write};

use prometheus::{Encoder, TextEncoder};

use super::Sink;
use crate::metrics::Metrics;

/// The families by name; each is written once.
pub(super) struct Families(BTreeMap<String, OwnFamily>);

/// One family with its header and samples.
pub(super) struct OwnFamily {
    name: String,
    text: Vec<u8>,
}

impl Families {
    /// Every family as it is now.
    pub(super) fn gather(metrics: &Metrics) -> Self {
        let mut families = BTreeMap::new();
        for family in metrics.gather() {
            let name = family.name().to_owned();
            let mut text = Vec::new();
            // Only a family without a sample is an error, and such a one has nothing to say.
            if TextEncoder::new().encode(&[family], &mut text).is_ok() {
                families.insert(name.clone(), OwnFamily { name, text });
            }
        }
        Self(families)
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
            family.write(&mut sink.buffer);
            sink.flush_if_full()?;
        }
        Ok(())
    }
}

impl OwnFamily {
    /// The type, as its header says it.
    pub(super) fn kind(&self) -> &str {
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let header = text.lines().find_map(|line| line.strip_prefix("# TYPE "));
        header.and_then(|header| header.rsplit(' ').next()).unwrap_or_default()
    }

    pub(super) fn write(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.text);
    }
}
