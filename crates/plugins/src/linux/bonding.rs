//! How many interfaces each bond has, and how many of them have a link, from /sys/class/net.
//! Source: Documentation/networking/bonding.rst, section 3.4.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "bonding",
    collector: "bonding",
    about: "interfaces of each bond and those that have a link, from /sys/class/net",
    on_by_default: true,
    build: |roots, _| {
        Ok(Box::new(Bonding {
            attributes: Attributes::new(roots.sysfs.join("class/net")),
            masters: String::new(),
            slaves: String::new(),
            path: String::new(),
            counts: Vec::new(),
        }))
    },
};

struct Bonding {
    attributes: Attributes,
    /// What the files of lists and the path to a state were last, kept for their memory.
    masters: String,
    slaves: String,
    path: String,
    counts: Vec<Counts>,
}

/// The interfaces of a bond: all, and those that have a link.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    slaves: u32,
    active: u32,
}

impl Plugin for Bonding {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.count();
        let bonds = || self.masters.split_ascii_whitespace().zip(&self.counts);
        let mut family = samples.sparse("node_bonding_slaves", Gauge, "Interfaces that are part of a bond.");
        bonds().for_each(|(master, counts)| family.push(&[("master", master)], f64::from(counts.slaves)));
        let mut family = samples.sparse("node_bonding_active", Gauge, "Interfaces of a bond that have a link.");
        bonds().for_each(|(master, counts)| family.push(&[("master", master)], f64::from(counts.active)));
        Ok(())
    }
}

impl Bonding {
    /// Counts for each bond in `masters`, in its order.
    fn count(&mut self) {
        let Self { attributes, masters, slaves, path, counts } = self;
        counts.clear();
        attributes.copy(".", "bonding_masters", masters);
        for master in masters.split_ascii_whitespace() {
            attributes.copy(master, "bonding/slaves", slaves);
            let mut bond = Counts::default();
            for slave in slaves.split_ascii_whitespace() {
                bond.slaves += 1;
                // Kernels before 3.9 call the link to the interface slave_NAME.
                let mut is_active = |prefix| {
                    path.clear();
                    path.extend([prefix, slave, "/bonding_slave/mii_status"]);
                    attributes.text(master, path).map(|state| state == "up")
                };
                bond.active += u32::from(is_active("lower_").or_else(|| is_active("slave_")).unwrap_or(false));
            }
            counts.push(bond);
        }
    }
}
