//! What went through each network interface, from /proc/net/dev. Source: proc_net(5), net/core/net-procfs.c.

use std::ops::Range;

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::attributes::{Attributes, OpenFiles, number};
use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::linux::links::Links;
use crate::{CollectError, Descriptor, Plugin, Roots, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "netdev",
    collector: "netdev",
    about: "bytes, packets, errors and drops of each network interface, from /proc/net/dev and /sys/class/net",
    on_by_default: true,
    build: |roots, options| {
        let filter = Filter::new(options, ["device_include", "device_exclude"], "^veth");
        let attributes = Attributes::new(roots.sysfs.join("class/net"));
        Ok(Box::new(Netdev {
            file: KernelFile::of_short_lines(roots.network("dev")),
            attributes,
            filter,
            devices: Vec::new(),
            unclaimed: Vec::new(),
            // They tell of the network that this process is in, which need not be that of another root.
            links: (*roots == Roots::default()).then(Links::default),
        }))
    },
};

const COLUMNS: usize = 16;
/// Family and help, in the order of the columns.
const FAMILIES: [(&str, &str); COLUMNS] = [
    ("node_network_receive_bytes_total", "Bytes that an interface has received."),
    ("node_network_receive_packets_total", "Packets that an interface has received."),
    ("node_network_receive_errs_total", "Errors of an interface while receiving."),
    ("node_network_receive_drop_total", "Packets that an interface received and dropped."),
    ("node_network_receive_fifo_total", "Overruns of an interface's queue while receiving."),
    ("node_network_receive_frame_total", "Frames that an interface received misaligned."),
    ("node_network_receive_compressed_total", "Compressed packets that an interface has received."),
    ("node_network_receive_multicast_total", "Multicast packets that an interface has received."),
    ("node_network_transmit_bytes_total", "Bytes that an interface has sent."),
    ("node_network_transmit_packets_total", "Packets that an interface has sent."),
    ("node_network_transmit_errs_total", "Errors of an interface while sending."),
    ("node_network_transmit_drop_total", "Packets that an interface dropped instead of sending."),
    ("node_network_transmit_fifo_total", "Underruns of an interface's queue while sending."),
    ("node_network_transmit_colls_total", "Collisions of an interface while sending."),
    ("node_network_transmit_carrier_total", "How often an interface lost the carrier while sending."),
    ("node_network_transmit_compressed_total", "Compressed packets that an interface has sent."),
];

/// The count of packets that nobody took is not in the file of all interfaces, but below the directory of each.
const UNCLAIMED: &str = "statistics/rx_nohandler";
/// So many interfaces keep it open.
const KEPT: usize = 100;

struct Netdev {
    file: KernelFile,
    attributes: Attributes,
    filter: Filter,
    devices: Vec<Device>,
    /// Of the first of them.
    unclaimed: Vec<Unclaimed>,
    links: Option<Links>,
}

/// The packets of an interface that nobody took.
struct Unclaimed {
    device: String,
    file: OpenFiles<1>,
}

/// One line: `eth0: 682624132 23517 …`.
struct Device {
    /// Where its name stands in the file.
    name: Range<usize>,
    columns: [u64; COLUMNS],
}

impl Plugin for Netdev {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, attributes, filter, devices, unclaimed, links } = self;
        let are_the_same = links.as_mut().is_some_and(|links| !links.may_have_changed());
        file.parse_if_present(|content| {
            parse(content, devices)?;
            devices.retain(|device| filter.admits(&text(&content[device.name.clone()])));
            if devices.is_empty() {
                return Ok(());
            }
            for (column, (name, help)) in FAMILIES.iter().enumerate() {
                samples.family(name, MetricType::Counter, help);
                for device in devices.iter() {
                    let name = text(&content[device.name.clone()]);
                    samples.push(&[("device", &name)], device.columns[column] as f64);
                }
            }
            let help = "Packets that an interface received and nobody took.";
            let mut family = samples.sparse("node_network_receive_nohandler_total", MetricType::Counter, help);
            unclaimed.resize_with(devices.len().clamp(unclaimed.len(), KEPT), Unclaimed::new);
            for (index, device) in devices.iter().enumerate() {
                let name = text(&content[device.name.clone()]);
                let packets = match unclaimed.get_mut(index) {
                    Some(unclaimed) => unclaimed.read(&name, are_the_same, attributes),
                    None => attributes.number(&name, UNCLAIMED),
                };
                if let Some(packets) = packets {
                    family.push(&[("device", &name)], packets);
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Unclaimed {
    fn new() -> Self {
        Self { device: String::new(), file: OpenFiles::new() }
    }

    /// Reads how many there are. When the interfaces `are_the_same` as the last time, an open file is still that of `device`.
    fn read(&mut self, device: &str, are_the_same: bool, attributes: &mut Attributes) -> Option<f64> {
        let mut packets = None;
        let mut take = |_, text: Option<&str>| packets = text.and_then(number);
        if are_the_same && self.device == device && self.file.are_open() {
            attributes.read_again(&self.file, take);
        } else {
            device.clone_into(&mut self.device);
            attributes.read(device, &[UNCLAIMED], &mut self.file, &mut take);
        }
        packets
    }
}

/// Reads the lines behind the two of the heading. A name may hold a colon itself, so the last one ends it.
fn parse(content: &[u8], devices: &mut Vec<Device>) -> Result<(), Malformed> {
    devices.clear();
    let mut start = 0;
    for (index, line) in lines(content).enumerate() {
        let line = line?;
        let offset = start;
        start += line.len() + 1;
        if index < 2 {
            continue;
        }
        let malformed = || Malformed::new("an interface's name, a colon and sixteen counts", line);
        let colon = line.iter().rposition(|byte| *byte == b':').ok_or_else(malformed)?;
        let blanks = line.iter().take_while(|byte| **byte == b' ').count();
        if blanks >= colon {
            return Err(malformed());
        }
        let mut fields = fields(&line[colon + 1..]);
        let mut columns = [0; COLUMNS];
        for column in &mut columns {
            *column = integer(fields.next().ok_or_else(malformed)?)?;
        }
        devices.push(Device { name: offset + blanks..offset + colon, columns });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_devices_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content, &mut Vec::new());
        }

        #[test]
        fn any_devices_are_read(devices in prop::collection::vec(("[a-zü][a-z.:@]{0,9}", any::<[u64; 16]>()), 0..6)) {
            let line = |(name, counts): &(String, [u64; 16])| {
                format!("{name:>6}: {}\n", counts.map(|count| count.to_string()).join(" "))
            };
            let content = format!("one\ntwo\n{}", devices.iter().map(line).collect::<String>());
            let mut found = Vec::new();
            parse(content.as_bytes(), &mut found).unwrap();
            prop_assert_eq!(found.len(), devices.len());
            for (found, (name, counts)) in found.iter().zip(&devices) {
                prop_assert_eq!(&content[found.name.clone()], name);
                prop_assert_eq!(&found.columns, counts);
            }
        }
    }
}
