//! The page for Prometheus: the fleet's series, figures about every host, and the server's own.
//!
//! Written family by family, as the text format demands, into whatever takes bytes. Nothing that ingest needs is held.

mod figures;
mod own;
mod series;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;

use hostwatch_wire::text;

use crate::directory::{Directory, Snapshot};
use crate::metrics::Metrics;

/// How much is gathered before it is handed on.
const CHUNK_BYTES: usize = 64 << 10;

/// What a page is made of.
#[derive(Clone)]
pub(crate) struct Page {
    /// The fleet.
    pub directory: Arc<Directory>,
    /// The server's own figures.
    pub metrics: Metrics,
    /// The `job` label of every series of a host.
    pub job: Arc<str>,
}

/// One host, for the time of one page.
struct Row {
    /// `instance="web01",job="node"} `
    labels: Vec<u8>,
    snapshot: Arc<Snapshot>,
}

impl Page {
    /// Writes the page in text format 0.0.4.
    ///
    /// # Errors
    /// When the reader has gone.
    pub(crate) fn write(&self, writer: impl Write) -> io::Result<()> {
        let rows: Vec<Row> = self
            .directory
            .hosts()
            .iter()
            .map(|entry| Row { labels: self.host_labels(entry.host.as_str()), snapshot: entry.snapshot() })
            .collect();
        let mut sink = Sink { buffer: Vec::with_capacity(CHUNK_BYTES + 4_096), writer };
        figures::write(&rows, &self.directory.summary(), &mut sink)?;
        let mut own = own::Families::gather(&self.metrics);
        series::write(&rows, &mut own, &mut sink)?;
        own.write(&mut sink)?;
        sink.flush()
    }

    fn host_labels(&self, host: &str) -> Vec<u8> {
        let mut labels = Vec::with_capacity(host.len() + self.job.len() + 20);
        text::write_label(&mut labels, "instance", host);
        labels.push(b',');
        text::write_label(&mut labels, "job", &self.job);
        labels.extend_from_slice(b"} ");
        labels
    }
}

/// Gathers what is written and hands it on in chunks.
struct Sink<W> {
    buffer: Vec<u8>,
    writer: W,
}

impl<W: Write> Sink<W> {
    /// To be called between series.
    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
