//! How hot the parts of this machine are and how hard they are cooled, from /sys/class/thermal.
//! Source: Documentation/ABI/testing/sysfs-class-thermal.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "thermal",
    collector: "thermal_zone",
    about: "temperatures of thermal zones and states of cooling devices, from /sys/class/thermal",
    on_by_default: true,
    build: |roots, _| {
        let attributes = Attributes::new(roots.sysfs.join("class/thermal"));
        Ok(Box::new(Thermal { attributes, devices: Names::new(), kind: String::new() }))
    },
};

/// What the names of devices begin with, label of the rest, file, unit, family, help.
const FAMILIES: [(&str, &str, &str, f64, &str, &str); 3] = [
    (
        "thermal_zone",
        "zone",
        "temp",
        1_000.0,
        "node_thermal_zone_temp",
        "The temperature of a zone in degrees Celsius.",
    ),
    ("cooling_device", "name", "cur_state", 1.0, "node_cooling_device_cur_state", "How hard a device cools, from 0."),
    ("cooling_device", "name", "max_state", 1.0, "node_cooling_device_max_state", "How hard a device could cool."),
];

struct Thermal {
    attributes: Attributes,
    devices: Names,
    /// The type of a device, kept for its memory.
    kind: String,
}

impl Plugin for Thermal {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { attributes, devices, kind } = self;
        attributes.list(devices);
        for (prefix, label, file, unit, name, help) in FAMILIES {
            let mut family = samples.sparse(name, Gauge, help);
            for device in devices.iter() {
                let Some(number) = device.strip_prefix(prefix) else { continue };
                // A zone whose sensor is off has a file that cannot be read.
                let Some(value) = attributes.number(device, file) else { continue };
                attributes.copy(device, "type", kind);
                let mut labels = [(label, number), ("type", kind.as_str())];
                labels.sort_unstable();
                family.push(&labels, value / unit);
            }
        }
        Ok(())
    }
}
