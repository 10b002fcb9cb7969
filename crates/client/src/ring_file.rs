//! The ring between two lives of the client: saved on a clean stop, loaded by the next process.
//!
//! The content is one JSON line with the numbers that were given and what of them was acknowledged, then the layouts and the
//! reports as messages on the wire, each behind its length. What is loaded is decoded as if it had come from a network.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::sealed::{Broken, Kind};
use hostwatch_wire::{HostBody, HostId, HostMessage, Layouts, RingRange, ServiceReport};

use crate::clock::Moment;
use crate::ring::{Entry, Ring, SharedLayout};

const KIND: Kind = Kind { program: "hostwatch-client", name: "ring", version: 1 };

/// The bytes of a file that holds `ring`.
#[must_use]
pub(crate) fn save(ring: &Ring, host: &HostId) -> Vec<u8> {
    let mut content = serde_json::to_vec(&ring.ranges()).expect("ranges are plain numbers");
    content.push(b'\n');
    let mut buffer = Vec::new();
    for layout in ring.layouts() {
        let body = HostBody::Layouts(Layouts { layouts: vec![(*layout.encoded).clone()] });
        // A layout that is too long for a message was never sent either, and no report refers to it.
        if (HostMessage { host: host.clone(), epoch: ring.current(), body }).encode(&mut buffer).is_ok() {
            append(&mut content, &buffer);
        }
    }
    for entry in ring.entries() {
        append(&mut content, &entry.payload);
    }
    KIND.seal(&content)
}

/// `ring`, a fresh one, with what `bytes` hold within its limits. `wall_millis` is the wall clock's time at `now`.
///
/// # Errors
/// When the file is not as [`save`] writes it, or belongs to another host.
pub(crate) fn load(bytes: &[u8], host: &HostId, mut ring: Ring, now: Moment, wall_millis: u64) -> Result<Ring, Broken> {
    let content = KIND.open(bytes)?;
    let end = content.iter().position(|byte| *byte == b'\n').ok_or_else(cut)?;
    let (line, mut rest) = content.split_at(end + 1);
    let ranges: Vec<RingRange> = serde_json::from_slice(line).map_err(|error| Broken::Content(error.to_string()))?;

    ranges.iter().for_each(|range| ring.recall(range));
    let mut layouts = HashMap::new();
    while !rest.is_empty() {
        let payload = take(&mut rest)?;
        let message = HostMessage::decode(payload).map_err(|error| Broken::Content(error.to_string()))?;
        if message.host != *host {
            return Err(Broken::Content(format!("it is the ring of host {}", message.host)));
        }
        match message.body {
            HostBody::Layouts(list) => layouts.extend(list.layouts.into_iter().map(|encoded| {
                let layout = SharedLayout { id: encoded.id(), encoded: Arc::new(encoded) };
                (layout.id, layout)
            })),
            HostBody::Report(report) => {
                let age = Duration::from_millis(wall_millis.saturating_sub(report.collected_at_ms));
                let ids = layout_ids(&report.services);
                let used: Vec<_> = ids.iter().filter_map(|id| layouts.get(id).cloned()).collect();
                let entry = Entry {
                    epoch: message.epoch,
                    seq: report.seq,
                    made: now - age,
                    payload: payload.into(),
                    layouts: ids,
                };
                ring.push(entry, &used, now);
            }
            _ => return Err(Broken::Content("there is neither a report nor a layout".to_owned())),
        }
    }
    Ok(ring)
}

/// The layouts that the results of a report refer to, each once.
#[must_use]
pub(crate) fn layout_ids(services: &[ServiceReport<'_>]) -> Vec<hostwatch_wire::LayoutId> {
    let mut ids: Vec<_> = services.iter().filter_map(|service| service.layout).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn append(content: &mut Vec<u8>, message: &[u8]) {
    let length = u32::try_from(message.len()).expect("a message is at most 1 MiB long");
    content.extend_from_slice(&length.to_le_bytes());
    content.extend_from_slice(message);
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
    let (length, behind) = rest.split_first_chunk().ok_or_else(cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (message, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
    *rest = behind;
    Ok(message)
}

fn cut() -> Broken {
    Broken::Content("it ends too early".to_owned())
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Acked, EncodedLayout, Epoch, Layout, Report, ServerId, Status, Values};

    use super::*;
    use crate::ring::Limits;

    const LIMITS: Limits = Limits { max_age: Duration::from_secs(900), max_size: 1 << 20 };

    fn host() -> HostId {
        "web01".parse().unwrap()
    }

    fn fresh() -> Ring {
        Ring::new(Epoch(2), LIMITS)
    }

    fn ring() -> Ring {
        let mut ring = Ring::new(Epoch(1), LIMITS);
        let encoded = EncodedLayout::new(&Layout::default());
        let layout = SharedLayout { id: encoded.id(), encoded: Arc::new(encoded) };
        for seq in 1..=20 {
            let service = ServiceReport {
                service: "linux-cpu",
                status: Status::Ok,
                message: None,
                duration_us: 5,
                layout: Some(layout.id),
                values: Values::default(),
            };
            let report = Report {
                seq,
                oldest_seq: 1,
                acked: vec![],
                collected_at_ms: seq * 100_000,
                revision: None,
                layouts: vec![],
                services: vec![service],
            };
            let mut payload = Vec::new();
            let made = Moment::from_millis(report.collected_at_ms);
            HostMessage { host: host(), epoch: Epoch(1), body: HostBody::Report(report) }.encode(&mut payload).unwrap();
            let entry = Entry { epoch: Epoch(1), seq, made, payload: payload.into(), layouts: vec![layout.id] };
            ring.push(entry, std::slice::from_ref(&layout), made);
        }
        ring.acknowledge(Epoch(1), ServerId(7), 15);
        ring
    }

    #[test]
    fn the_next_process_finds_the_reports_that_are_young_enough() {
        let ring = ring();
        let bytes = save(&ring, &host());
        assert_eq!((ring.oldest(Epoch(1)), ring.last(Epoch(1))), (Some(11), Some(20)));
        // The newest was collected at 2,000 s, so 500 s later everything above 15 is at most 900 s old.
        let now = Moment::from_millis(9_000_000);
        let loaded = load(&bytes, &host(), fresh(), now, 2_500_000).unwrap();
        assert_eq!((loaded.oldest(Epoch(1)), loaded.last(Epoch(1))), (Some(16), Some(20)));
        assert_eq!(loaded.get(Epoch(1), 18).unwrap().payload, ring.get(Epoch(1), 18).unwrap().payload);
        assert_eq!(loaded.acked(Epoch(1)), [Acked { server: ServerId(7), up_to: 15 }]);
        assert_eq!(loaded.layouts().count(), 1);
        // The life after next still tells of those that nobody has settled.
        let bytes = save(&load(&bytes, &host(), fresh(), now, 9_000_000).unwrap(), &host());
        let loaded = load(&bytes, &host(), Ring::new(Epoch(3), LIMITS), now, 9_000_000).unwrap();
        let acked = vec![Acked { server: ServerId(7), up_to: 15 }];
        assert_eq!(loaded.ranges(), [RingRange { epoch: Epoch(1), first: 21, last: 20, acked }]);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_refused() {
        let bytes = save(&ring(), &host());
        let load = |bytes: &[u8], host: &str| {
            load(bytes, &host.parse().unwrap(), fresh(), Moment::default(), 0).err().map(|error| error.to_string())
        };
        for end in 0..bytes.len() {
            assert!(load(&bytes[..end], "web01").is_some(), "cut at {end}");
        }
        assert!(load(&bytes, "web02").unwrap().contains("web01"));
        let content = KIND.open(&bytes).unwrap();
        let resealed = KIND.seal(&content[..content.len() - 1]);
        assert!(load(&resealed, "web01").unwrap().contains("too early"));
    }
}
