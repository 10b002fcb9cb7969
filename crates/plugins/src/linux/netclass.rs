//! What each network interface is and how its link does, from /sys/class/net.
//! Source: Documentation/ABI/testing/sysfs-class-net, net/core/net-sysfs.c.

use hostwatch_wire::MetricType::{self, Counter, Gauge};

use crate::filter::Filter;
use crate::linux::attributes::{Attributes, OpenFiles, Reading, number};
use crate::linux::links::Links;
use crate::names::Names;
use crate::refresh::{FACTS_AGE, Refresh};
use crate::{CollectError, Descriptor, Plugin, Roots, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "netclass",
    collector: "netclass",
    about: "link, speed, MTU and addresses of each network interface, from /sys/class/net; rtnetlink(7) announces when to read them",
    on_by_default: true,
    build: |roots, options| {
        Ok(Box::new(Netclass {
            filter: Filter::new(options, ["device_include", "device_exclude"], ""),
            attributes: Attributes::new(roots.sysfs.join("class/net")),
            // They tell of the network that this process is in, which need not be that of another root.
            links: (*roots == Roots::default()).then(Links::default),
            refresh: Refresh::every(FACTS_AGE),
            devices: Names::new(),
            facts: Vec::new(),
        }))
    },
};

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

/// The files of an interface: first those in words.
const FILES: [&str; TEXTS.len() + FAMILIES.len()] = {
    let mut files = [""; TEXTS.len() + FAMILIES.len()];
    let mut index = 0;
    while index < files.len() {
        files[index] = if index < TEXTS.len() { TEXTS[index] } else { FAMILIES[index - TEXTS.len()].0 };
        index += 1;
    }
    files
};

/// So many interfaces keep their files open. They make 264 descriptors, and a process may have a thousand.
const KEPT: usize = 12;

struct Netclass {
    filter: Filter,
    attributes: Attributes,
    links: Option<Links>,
    /// The kernel does not announce what a driver finds out about its device without losing the link, for example.
    refresh: Refresh,
    devices: Names,
    /// What there is to tell of the interfaces, in the order of their names. There may be more, kept for their memory.
    facts: Vec<Facts>,
}

/// What the files of an interface say.
#[derive(Debug)]
struct Facts {
    files: OpenFiles<{ FILES.len() }>,
    said: Said,
}

#[derive(Debug)]
struct Said {
    texts: [String; TEXTS.len()],
    numbers: [Option<f64>; FAMILIES.len()],
}

impl Said {
    /// Takes what the file at `index` of [`FILES`] says.
    fn take(&mut self, index: usize, text: Option<&str>) {
        match index.checked_sub(TEXTS.len()) {
            Some(index) => self.numbers[index] = text.and_then(number),
            None => {
                self.texts[index].clear();
                self.texts[index].push_str(text.unwrap_or_default());
            }
        }
    }
}

impl Plugin for Netclass {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.read();
        let interfaces = || self.devices.iter().zip(&self.facts);
        let mut family = samples.sparse("node_network_up", Gauge, "Whether an interface is up (1) or not (0).");
        for (device, facts) in interfaces() {
            let [.., state] = &facts.said.texts;
            family.push(&[("device", device)], f64::from(u8::from(state == "up")));
        }
        let mut family = samples.sparse("node_network_info", Gauge, "What an interface says in words, always 1.");
        for (device, facts) in interfaces() {
            let [address, broadcast, duplex, ifalias, operstate] = facts.said.texts.each_ref().map(String::as_str);
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
        for (index, (_, unit, kind, name, help)) in FAMILIES.iter().enumerate() {
            let mut family = samples.sparse(name, *kind, help);
            for (device, facts) in interfaces() {
                if let Some(value) = facts.said.numbers[index] {
                    family.push(&[("device", device)], value * unit);
                }
            }
        }
        Ok(())
    }
}

impl Netclass {
    /// Reads the facts about each interface that is there. Beside their directories stands a file, `bonding_masters`.
    fn read(&mut self) {
        let Self { filter, attributes, links, refresh, devices, facts } = self;
        if links.as_mut().is_none_or(Links::may_have_changed) {
            refresh.hasten();
        }
        if !refresh.is_due() {
            return;
        }
        attributes.list(devices);
        let (mut count, mut is_whole) = (0, devices.len() > 0);
        devices.retain(|name| {
            if !filter.admits(name) {
                return false;
            }
            if count == facts.len() {
                facts.push(Facts::new());
            }
            let reading = facts[count].read(name, attributes);
            is_whole &= matches!(reading, Reading::Whole | Reading::Absent);
            if count >= KEPT {
                facts[count].files.close();
            }
            let is_there = matches!(reading, Reading::Whole | Reading::Partial);
            count += usize::from(is_there);
            is_there
        });
        // If too many files were open, for example, the kernel does not announce when there is room again.
        if is_whole {
            refresh.done();
        }
    }
}

impl Facts {
    fn new() -> Self {
        let said = Said { texts: Default::default(), numbers: [None; FAMILIES.len()] };
        Self { files: OpenFiles::new(), said }
    }

    fn read(&mut self, name: &str, attributes: &mut Attributes) -> Reading {
        let Self { files, said } = self;
        attributes.read(name, &FILES, files, |index, text| said.take(index, text))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use hostwatch_wire::Parameters;

    use super::*;
    use crate::Options;

    #[test]
    fn an_interface_that_could_not_be_read_is_there_the_next_time() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("class/net");
        fs::create_dir_all(class.join("a")).unwrap();
        // A link to itself cannot be opened.
        symlink("b", class.join("b")).unwrap();
        let mut plugin = Netclass {
            filter: Filter::new(&mut Options::plain(&Parameters::default()), ["device_include", "device_exclude"], ""),
            attributes: Attributes::new(class.clone()),
            links: Some(Links::default()),
            refresh: Refresh::every(FACTS_AGE),
            devices: Names::new(),
            facts: Vec::new(),
        };
        let mut devices = || {
            let mut samples = Samples::new();
            samples.collect(&mut plugin).unwrap();
            samples.layout().families[0].series.iter().map(|series| series.labels[0].value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(devices(), ["a"]);
        assert_eq!(devices(), ["a"]);
        fs::remove_file(class.join("b")).unwrap();
        fs::create_dir(class.join("b")).unwrap();
        assert_eq!(devices(), ["a", "b"]);
    }
}
