//! What system this is. Source: uname(2).

use hostwatch_wire::MetricType;

use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "uname",
    collector: "uname",
    about: "name, release, version and machine of the kernel and the names of the host, from uname(2)",
    on_by_default: true,
    build: |_, _| Ok(Box::new(Uname)),
};

struct Uname;

impl Plugin for Uname {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let system = rustix::system::uname();
        let labels = [
            ("domainname", system.domainname()),
            ("machine", system.machine()),
            ("nodename", system.nodename()),
            ("release", system.release()),
            ("sysname", system.sysname()),
            ("version", system.version()),
        ];
        // What is no UTF-8 comes as U+FFFD.
        let labels = labels.map(|(label, value)| (label, value.to_string_lossy()));
        let labels = labels.each_ref().map(|(label, value)| (*label, value.as_ref()));
        samples.family("node_uname_info", MetricType::Gauge, "What uname(2) says about the system, always 1.");
        samples.push(&labels, 1.0);
        Ok(())
    }
}
