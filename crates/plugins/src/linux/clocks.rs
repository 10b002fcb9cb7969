//! By which clock the kernel tells the time. Source: Documentation/timers/timekeeping.rst.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::names::Names;
use crate::refresh::{FACTS_AGE, Refresh};
use crate::{Roots, Samples};

/// File, family, help.
const FAMILIES: [(&str, &str, &str); 2] = [
    ("available_clocksource", "node_time_clocksource_available_info", "A clock that the kernel could use, always 1."),
    ("current_clocksource", "node_time_clocksource_current_info", "The clock that the kernel uses, always 1."),
];

/// What the name of a device begins with.
const PREFIX: &str = "clocksource";

pub(crate) struct Clocks {
    attributes: Attributes,
    names: Names,
    devices: Vec<Device>,
    refresh: Refresh,
}

#[derive(Default)]
struct Device {
    name: String,
    /// What the files said last.
    clocks: [String; FAMILIES.len()],
}

impl Clocks {
    /// Opens nothing yet.
    pub(crate) fn new(roots: &Roots) -> Self {
        let attributes = Attributes::new(roots.sysfs.join("devices/system/clocksource"));
        Self { attributes, names: Names::new(), devices: Vec::new(), refresh: Refresh::every(FACTS_AGE) }
    }

    pub(crate) fn report(&mut self, samples: &mut Samples) {
        if self.refresh.is_due() {
            self.read();
        }
        for (index, (_, name, help)) in FAMILIES.iter().enumerate() {
            let mut family = samples.sparse(name, Gauge, help);
            for device in &self.devices {
                let number = &device.name[PREFIX.len()..];
                for clock in device.clocks[index].split_ascii_whitespace() {
                    family.push(&[("clocksource", clock), ("device", number)], 1.0);
                }
            }
        }
    }

    fn read(&mut self) {
        let Self { attributes, names, devices, refresh } = self;
        attributes.list(names);
        names.retain(|name| name.starts_with(PREFIX));
        devices.resize_with(names.len(), Device::default);
        for (Device { name, clocks }, found) in devices.iter_mut().zip(names.iter()) {
            found.clone_into(name);
            FAMILIES.iter().zip(clocks).for_each(|((file, ..), clocks)| attributes.copy(found, file, clocks));
        }
        if devices.iter().any(|device| !device.clocks[0].is_empty()) {
            refresh.done();
        }
    }
}
