//! The pages for Prometheus: the fleet's series, figures about every host, alerts, and the server's own; or one host's
//! series alone.
//!
//! Written family by family, as the formats demand, into whatever takes bytes. Nothing that ingest needs is held.

mod alerts;
mod figures;
mod own;
mod series;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use hostwatch_wire::text::{self, Format};
use hostwatch_wire::{HostId, MetricType};

use crate::directory::{Directory, Faults, Snapshot};
use crate::judge::Board;
use crate::metrics::Metrics;

use figures::Stranger;

pub(crate) use figures::FIGURES;

/// How much is gathered before it is handed on.
const CHUNK_BYTES: usize = 64 << 10;

/// What a page is made of.
#[derive(Clone)]
pub(crate) struct Page {
    /// The fleet.
    pub directory: Arc<Directory>,
    /// The alerts.
    pub board: Arc<Board>,
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
    /// Writes the page of the whole fleet.
    ///
    /// # Errors
    /// When the reader has gone.
    pub(crate) fn write(&self, writer: impl Write, format: Format) -> io::Result<()> {
        let fleet = self.directory.view();
        let rows: Vec<Row> = fleet
            .hosts
            .iter()
            .map(|entry| Row { labels: self.host_labels(entry.host.as_str()), snapshot: entry.snapshot() })
            .collect();
        let view = self.board.view();
        let mut own = own::Families::gather(&self.metrics);
        let of_hosts = series::Families::of(&rows);
        let mut names: HashSet<String> = figures::names().map(str::to_owned).collect();
        names.extend(own.names().chain(of_hosts.names()).map(str::to_owned));
        let mut sink = Sink::new(writer, format, names);
        let stranger =
            |(id, faults): (&HostId, &Faults)| Stranger { labels: self.host_labels(id.as_str()), faults: *faults };
        let strangers: Vec<Stranger> = fleet.summary.strangers.iter().map(stranger).collect();
        figures::write(&rows, &strangers, &of_hosts.left_out(), &fleet.summary, &mut sink)?;
        alerts::write(&view, &mut sink)?;
        of_hosts.write(&mut own, &mut sink)?;
        own.write(&mut sink)?;
        sink.finish()
    }

    /// Writes the series of one host, without `instance` and `job`: whoever scrapes it sets them.
    ///
    /// # Errors
    /// When the reader has gone.
    pub(crate) fn write_host(snapshot: Arc<Snapshot>, writer: impl Write, format: Format) -> io::Result<()> {
        let rows = [Row { labels: b"} ".to_vec(), snapshot }];
        let of_host = series::Families::of(&rows);
        let mut sink = Sink::new(writer, format, of_host.names().map(str::to_owned).collect());
        of_host.write(&mut own::Families::none(), &mut sink)?;
        sink.finish()
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
    format: Format,
    /// The families of the page, by their names in the text format.
    names: HashSet<String>,
}

impl<W: Write> Sink<W> {
    fn new(writer: W, format: Format, names: HashSet<String>) -> Self {
        Self { buffer: Vec::with_capacity(CHUNK_BYTES + 4_096), writer, format, names }
    }

    /// Begins a family. A counter whose name without `_total` another family has cannot be one in OpenMetrics.
    fn header(&mut self, name: &str, kind: MetricType, help: &str) {
        let called = self.format.family_name(name, kind);
        let kind = if called != name && self.names.contains(called) { MetricType::Unknown } else { kind };
        self.format.write_header(&mut self.buffer, name, kind, help);
    }

    /// To be called between series.
    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(mut self) -> io::Result<()> {
        self.format.write_end(&mut self.buffer);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
