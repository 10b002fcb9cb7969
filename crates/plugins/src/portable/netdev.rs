//! What went through each network interface, as sysinfo tells it: bytes, packets and errors, but no drops.

use std::collections::BTreeMap;

use hostwatch_wire::MetricType;
use sysinfo::{NetworkData, Networks};

use super::unknown;
use crate::filter::Filter;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "netdev",
    collector: "netdev",
    about: "bytes, packets and errors of each network interface, through sysinfo",
    on_by_default: true,
    build: |_, options| {
        Ok(Box::new(Netdev { filter: Filter::new(options, ["device_include", "device_exclude"], "^veth") }))
    },
};

/// Family, help, and which figure of an interface.
type Family = (&'static str, &'static str, fn(&NetworkData) -> u64);

const FAMILIES: [Family; 6] = [
    ("node_network_receive_bytes_total", "Bytes that an interface has received.", NetworkData::total_received),
    (
        "node_network_receive_packets_total",
        "Packets that an interface has received.",
        NetworkData::total_packets_received,
    ),
    (
        "node_network_receive_errs_total",
        "Errors of an interface while receiving.",
        NetworkData::total_errors_on_received,
    ),
    ("node_network_transmit_bytes_total", "Bytes that an interface has sent.", NetworkData::total_transmitted),
    (
        "node_network_transmit_packets_total",
        "Packets that an interface has sent.",
        NetworkData::total_packets_transmitted,
    ),
    (
        "node_network_transmit_errs_total",
        "Errors of an interface while sending.",
        NetworkData::total_errors_on_transmitted,
    ),
];

struct Netdev {
    filter: Filter,
}

impl Plugin for Netdev {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let networks = Networks::new_with_refreshed_list().map_err(unknown("the network interfaces"))?;
        // sysinfo has them in no order.
        let devices: BTreeMap<_, _> = networks.iter().map(|(name, data)| (name.to_string_lossy(), data)).collect();
        for (name, help, figure) in FAMILIES {
            let mut family = samples.sparse(name, MetricType::Counter, help);
            for (device, data) in devices.iter().filter(|(device, _)| self.filter.admits(device)) {
                family.push(&[("device", device)], figure(data) as f64);
            }
        }
        Ok(())
    }
}
