//! Neighbours in the ARP table by interface, from /proc/net/arp. Source: proc_net(5).

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::fields::{Malformed, fields, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "arp",
    collector: "arp",
    about: "neighbours in the ARP table of each interface, from /proc/net/arp",
    on_by_default: true,
    build: |roots, options| {
        let devices = Filter::new(options, ["device_include", "device_exclude"], "");
        Ok(Box::new(Arp { file: KernelFile::of_short_lines(roots.network("arp")), devices, counts: Vec::new() }))
    },
};

struct Arp {
    file: KernelFile,
    devices: Filter,
    /// Interfaces that have been seen, sorted, with how many neighbours each has now.
    counts: Vec<(String, u64)>,
}

impl Plugin for Arp {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, devices, counts } = self;
        if file.parse_if_present(|content| count(content, counts))?.is_none() {
            return Ok(());
        }
        counts.retain(|(_, count)| *count > 0);
        if counts.iter().any(|(device, _)| devices.admits(device)) {
            samples.family("node_arp_entries", MetricType::Gauge, "Neighbours in the ARP table of an interface.");
        }
        for (device, count) in counts.iter().filter(|(device, _)| devices.admits(device)) {
            samples.push(&[("device", device)], *count as f64);
        }
        Ok(())
    }
}

/// Counts the lines of each interface, whose name is the sixth column.
fn count(content: &[u8], counts: &mut Vec<(String, u64)>) -> Result<(), Malformed> {
    counts.iter_mut().for_each(|(_, count)| *count = 0);
    for line in lines(content).skip(1) {
        let line = line?;
        let device = fields(line).nth(5).ok_or_else(|| Malformed::new("six columns", line))?;
        let device = text(device);
        match counts.binary_search_by(|(known, _)| known.as_str().cmp(&device)) {
            Ok(at) => counts[at].1 += 1,
            Err(at) => counts.insert(at, (device.into_owned(), 1)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_counted_or_an_error(content in any::<Vec<u8>>()) {
            let _ = count(&content, &mut Vec::new());
        }

        #[test]
        fn every_line_counts(devices in prop::collection::vec("[a-c]", 0..9)) {
            let line = |device: &String| format!("192.0.2.1 0x1 0x2 02:fc:00:00:00:05 * {device}\n");
            let content = format!("IP address\n{}", devices.iter().map(line).collect::<String>());
            let mut counts = Vec::new();
            count(content.as_bytes(), &mut counts).unwrap();
            prop_assert_eq!(counts.iter().map(|(_, count)| *count).sum::<u64>(), devices.len() as u64);
        }
    }
}
