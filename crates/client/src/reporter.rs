//! Batches of results become numbered reports: split where one message would be too long, with the layouts that the
//! server has not seen, and put into the ring before anybody publishes them.

use std::collections::HashSet;
use std::sync::Arc;

use hostwatch_wire::{
    EncodedLayout, Epoch, HostBody, HostId, HostMessage, LayoutId, Layouts, Report, ServiceReport, Status, Values,
};

use crate::clock::{Moment, millis};
use crate::outbox::Outgoing;
use crate::ring::{Entry, Ring, SharedLayout};
use crate::ticks::{Batch, Measured, Outcome, Stamp};

/// What is aimed at for one message; the wire's limit is 1 MiB, and what a report says of itself comes on top.
pub(crate) const MAX_CONTENT: usize = 900_000;
/// What a result takes beside its name, message and values: field names, status, duration and layout id, rounded up.
const RESULT_OVERHEAD: usize = 160;
/// So many layouts are remembered as sent; a host whose layouts change for ever sends some of them twice.
const MAX_SEEN: usize = 10_000;

/// Numbers the reports of one epoch.
#[derive(Debug)]
pub(crate) struct Reporter {
    host: HostId,
    epoch: Epoch,
    last_seq: u64,
    /// The layouts that the server's present life was sent.
    seen: HashSet<LayoutId>,
    buffer: Vec<u8>,
    values: Vec<Vec<u8>>,
}

impl Reporter {
    /// A reporter whose first report is number 1.
    #[must_use]
    pub(crate) fn new(host: HostId, epoch: Epoch) -> Self {
        Self { host, epoch, last_seq: 0, seen: HashSet::new(), buffer: Vec::new(), values: Vec::new() }
    }

    /// The number of the newest report; 0 before the first.
    #[must_use]
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A server life began that has seen no layout.
    pub(crate) fn forget_layouts(&mut self) {
        self.seen.clear();
    }

    /// Makes the reports of a batch, one at the least, puts them into `ring` and appends them to `out`.
    pub(crate) fn report(&mut self, batch: Batch, ring: &mut Ring, now: Moment, out: &mut Vec<Outgoing>) {
        let mut results = batch.results;
        results.iter_mut().for_each(refuse_what_never_fits);
        let (mut first, mut size, mut layouts) = (0, 0, Vec::new());
        for (index, result) in results.iter().enumerate() {
            let (mut own, mut fresh) = (size_of_result(result), self.unseen(result, &layouts));
            if let Some(layout) = fresh.take_if(|layout| layout.encoded.byte_len() + own > MAX_CONTENT) {
                self.send_layouts(std::slice::from_ref(layout), out);
            }
            own += fresh.map_or(0, |layout| layout.encoded.byte_len());
            if size + own > MAX_CONTENT {
                self.emit(batch.stamp, &results[first..index], std::mem::take(&mut layouts), ring, now, out);
                (first, size) = (index, 0);
            }
            size += own;
            layouts.extend(fresh.cloned());
        }
        self.emit(batch.stamp, &results[first..], layouts, ring, now, out);
    }

    /// Appends messages with `layouts` to `out`; the server then has seen them.
    pub(crate) fn send_layouts(&mut self, layouts: &[SharedLayout], out: &mut Vec<Outgoing>) {
        let mut rest = layouts;
        while let Some(first) = rest.first() {
            let mut size = first.encoded.byte_len();
            let mut count = 1;
            while let Some(next) = rest.get(count).filter(|next| size + next.encoded.byte_len() <= MAX_CONTENT) {
                size += next.encoded.byte_len();
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            let body = HostBody::Layouts(Layouts { layouts: now.iter().map(encoded).collect() });
            if let Some(payload) = self.encode(body) {
                out.push(Outgoing::Layouts(payload));
            }
            self.remember(now);
            rest = later;
        }
    }

    fn emit(
        &mut self,
        stamp: Stamp,
        results: &[Measured],
        fresh: Vec<SharedLayout>,
        ring: &mut Ring,
        now: Moment,
        out: &mut Vec<Outgoing>,
    ) {
        let seq = self.last_seq + 1;
        let mut values = std::mem::take(&mut self.values);
        values.resize_with(values.len().max(results.len()), Vec::new);
        let body = HostBody::Report(Report {
            seq,
            oldest_seq: ring.oldest(self.epoch).unwrap_or(seq),
            acked: ring.acked(self.epoch).to_vec(),
            collected_at_ms: stamp.collected_at_ms,
            revision: stamp.revision,
            layouts: fresh.iter().map(encoded).collect(),
            services: results.iter().zip(&mut values).map(|(result, buffer)| service_report(result, buffer)).collect(),
        });
        let payload = self.encode(body);
        self.values = values;
        let Some(payload) = payload else { return };
        self.last_seq = seq;
        self.remember(&fresh);

        let used: Vec<_> = results.iter().filter_map(layout_of).cloned().collect();
        let mut ids: Vec<_> = used.iter().map(|layout| layout.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let entry = Entry { epoch: self.epoch, seq, made: now, payload: Arc::clone(&payload), layouts: ids };
        ring.push(entry, &used, now);
        out.push(Outgoing::Report(seq, payload));
    }

    fn encode(&mut self, body: HostBody<'_>) -> Option<Arc<[u8]>> {
        encode(self.host.clone(), self.epoch, body, &mut self.buffer)
    }

    fn unseen<'a>(&self, result: &'a Measured, in_this_report: &[SharedLayout]) -> Option<&'a SharedLayout> {
        layout_of(result).filter(|layout| {
            !self.seen.contains(&layout.id) && in_this_report.iter().all(|other| other.id != layout.id)
        })
    }

    fn remember(&mut self, layouts: &[SharedLayout]) {
        if self.seen.len() + layouts.len() > MAX_SEEN {
            self.seen.clear();
        }
        self.seen.extend(layouts.iter().map(|layout| layout.id));
    }
}

/// The message of `epoch` that says `body`. Every sender bounds beforehand what it says, so that one that is too long is
/// a mistake in the client: it is logged and not sent.
pub(crate) fn encode(host: HostId, epoch: Epoch, body: HostBody<'_>, buffer: &mut Vec<u8>) -> Option<Arc<[u8]>> {
    match (HostMessage { host, epoch, body }).encode(buffer) {
        Ok(()) => Some(buffer.as_slice().into()),
        Err(error) => {
            tracing::error!("a message is not sent: {error}");
            None
        }
    }
}

fn service_report<'a>(result: &'a Measured, buffer: &'a mut Vec<u8>) -> ServiceReport<'a> {
    let (service, duration_us) = (result.service.as_str(), millis(result.took * 1_000));
    match &result.outcome {
        Outcome::Values { layout, values, message } => ServiceReport {
            service,
            status: Status::Ok,
            message: message.as_deref(),
            duration_us,
            layout: layout.as_ref().map(|layout| layout.id),
            values: Values::encode(values, buffer),
        },
        Outcome::Trouble(status, message) => ServiceReport::without_values(service, *status, message, duration_us),
    }
}

/// A service whose result or layout alone is longer than a message fails, and says so.
fn refuse_what_never_fits(result: &mut Measured) {
    let layout = layout_of(result).map_or(0, |layout| layout.encoded.byte_len());
    let longest = size_of_result(result).max(layout);
    if longest > MAX_CONTENT {
        let message = format!("its series take {longest} bytes, and a message holds {MAX_CONTENT}");
        result.outcome = Outcome::Trouble(Status::Failed, message);
    }
}

fn size_of_result(result: &Measured) -> usize {
    let content = match &result.outcome {
        Outcome::Values { values, message, .. } => {
            size_of_val(values.as_slice()) + message.as_ref().map_or(0, String::len)
        }
        Outcome::Trouble(_, message) => message.len().min(hostwatch_wire::MAX_SERVICE_MESSAGE_BYTES),
    };
    RESULT_OVERHEAD + result.service.as_str().len() + content
}

fn layout_of(result: &Measured) -> Option<&SharedLayout> {
    match &result.outcome {
        Outcome::Values { layout, .. } => layout.as_ref(),
        Outcome::Trouble(..) => None,
    }
}

fn encoded(layout: &SharedLayout) -> EncodedLayout {
    (*layout.encoded).clone()
}

#[cfg(test)]
mod tests;
