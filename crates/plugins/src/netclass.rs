//! What each network interface is and how its link does, from /sys/class/net.
//! Source: Documentation/ABI/testing/sysfs-class-net, net/core/net-sysfs.c.

use hostwatch_wire::MetricType::{self, Counter, Gauge};

use crate::attributes::Attributes;
use crate::filter::Filter;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "netclass",
    collector: "netclass",
    about: "link, speed, MTU and addresses of each network interface, from /sys/class/net",
    on_by_default: true,
    build: |roots, options| {
        Ok(Box::new(Netclass {
            filter: Filter::new(options, ["device_include", "device_exclude"], ""),
            attributes: Attributes::new(roots.sysfs.join("class/net")),
            devices: Names::new(),
            texts: Default::default(),
        }))
    },
};

/// The only file among the directories of the interfaces.
const NO_INTERFACE: &str = "bonding_masters";
/// The labels of the facts in words, which are files too.
const TEXTS: [&str; 5] = ["address", "broadcast", "duplex", "ifalias", "operstate"];
/// The kernel tells the speed in millions of bits per second, and -1 where the driver does not know it.
const MEGABITS: f64 = 125_000.0;
/// File, unit, kind, family, help. A driver or a state of the link may have no answer for any of them.
const FAMILIES: [(&str, f64, MetricType, &str, &str); 17] = [
    ("addr_assign_type", 1.0, Gauge, "node_network_address_assign_type", "How an interface got its address."),
    ("carrier", 1.0, Gauge, "node_network_carrier", "Whether an interface has a link (1) or not (0)."),
    ("carrier_changes", 1.0, Counter, "node_network_carrier_changes_total", "How often a link came or went."),
    ("carrier_down_count", 1.0, Counter, "node_network_carrier_down_changes_total", "How often a link went."),
    ("carrier_up_count", 1.0, Counter, "node_network_carrier_up_changes_total", "How often a link came."),
    ("dev_id", 1.0, Gauge, "node_network_device_id", "What tells interfaces with one address apart."),
    ("dormant", 1.0, Gauge, "node_network_dormant", "Whether an interface waits for an event (1) or not (0)."),
    ("flags", 1.0, Gauge, "node_network_flags", "The flags of an interface, as a number."),
    ("ifindex", 1.0, Gauge, "node_network_iface_id", "The number of an interface."),
    ("iflink", 1.0, Gauge, "node_network_iface_link", "The number of the interface that this one rests on."),
    ("link_mode", 1.0, Gauge, "node_network_iface_link_mode", "The link mode of an interface."),
    ("mtu", 1.0, Gauge, "node_network_mtu_bytes", "The largest packet that an interface sends, in bytes."),
    ("name_assign_type", 1.0, Gauge, "node_network_name_assign_type", "How an interface got its name."),
    ("netdev_group", 1.0, Gauge, "node_network_net_dev_group", "The group that an interface is in."),
    ("type", 1.0, Gauge, "node_network_protocol_type", "The ARP protocol type of an interface."),
    ("speed", MEGABITS, Gauge, "node_network_speed_bytes", "The speed of a link in bytes per second."),
    ("tx_queue_len", 1.0, Gauge, "node_network_transmit_queue_length", "Packets that may wait to be sent."),
];

struct Netclass {
    filter: Filter,
    attributes: Attributes,
    devices: Names,
    /// What the files of [`TEXTS`] said last, kept for its memory.
    texts: [String; TEXTS.len()],
}

impl Plugin for Netclass {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { filter, attributes, devices, texts } = self;
        attributes.list(devices);
        devices.retain(|device| device != NO_INTERFACE && filter.admits(device));

        let mut family = samples.sparse("node_network_up", Gauge, "Whether an interface is up (1) or not (0).");
        for device in devices.iter() {
            if let Some(state) = attributes.text(device, "operstate") {
                family.push(&[("device", device)], f64::from(u8::from(state == "up")));
            }
        }
        let mut family = samples.sparse("node_network_info", Gauge, "What an interface says in words, always 1.");
        for device in devices.iter() {
            for (name, text) in TEXTS.iter().zip(texts.iter_mut()) {
                attributes.copy(device, name, text);
            }
            let [address, broadcast, duplex, ifalias, operstate] = texts.each_ref().map(String::as_str);
            family.push(
                &[
                    ("address", address),
                    ("broadcast", broadcast),
                    ("device", device),
                    ("duplex", duplex),
                    ("ifalias", ifalias),
                    ("operstate", operstate),
                ],
                1.0,
            );
        }
        for (file, unit, kind, name, help) in FAMILIES {
            let mut family = samples.sparse(name, kind, help);
            for device in devices.iter() {
                if let Some(value) = attributes.number(device, file) {
                    family.push(&[("device", device)], value * unit);
                }
            }
        }
        Ok(())
    }
}
