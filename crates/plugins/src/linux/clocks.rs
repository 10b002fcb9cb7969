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
    devices: Vec<Device>,
    refresh: Refresh,
}

struct Device {
    name: String,
    /// What the files said last.
    clocks: [String; FAMILIES.len()],
}

impl Clocks {
    /// Those that there are now: the kernel makes all of them when it starts.
    pub(crate) fn new(roots: &Roots) -> Self {
        let mut attributes = Attributes::new(roots.sysfs.join("devices/system/clocksource"));
        let mut names = Names::new();
        attributes.list(&mut names);
        let names = names.iter().filter(|name| name.starts_with(PREFIX));
        let devices = names.map(|name| Device { name: name.to_owned(), clocks: Default::default() }).collect();
        Self { attributes, devices, refresh: Refresh::every(FACTS_AGE) }
    }

    pub(crate) fn report(&mut self, samples: &mut Samples) {
        let Self { attributes, devices, refresh } = self;
        if refresh.is_due() {
            for Device { name, clocks } in devices.iter_mut() {
                FAMILIES.iter().zip(clocks).for_each(|((file, ..), clocks)| attributes.copy(name, file, clocks));
            }
            refresh.done();
        }
        for (index, (_, name, help)) in FAMILIES.iter().enumerate() {
            let mut family = samples.sparse(name, Gauge, help);
            for device in &*devices {
                let number = &device.name[PREFIX.len()..];
                for clock in device.clocks[index].split_ascii_whitespace() {
                    family.push(&[("clocksource", clock), ("device", number)], 1.0);
                }
            }
        }
    }
}
