//! By which clock the kernel tells the time. Source: Documentation/timers/timekeeping.rst.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::names::Names;
use crate::{Roots, Samples};

pub(crate) struct Clocks {
    attributes: Attributes,
    devices: Names,
}

impl Clocks {
    pub(crate) fn new(roots: &Roots) -> Self {
        let attributes = Attributes::new(roots.sysfs.join("devices/system/clocksource"));
        Self { attributes, devices: Names::new() }
    }

    pub(crate) fn report(&mut self, samples: &mut Samples) {
        let Self { attributes, devices } = self;
        attributes.list(devices);
        for (file, name, help) in [
            (
                "available_clocksource",
                "node_time_clocksource_available_info",
                "A clock that the kernel could use, always 1.",
            ),
            ("current_clocksource", "node_time_clocksource_current_info", "The clock that the kernel uses, always 1."),
        ] {
            let mut family = samples.sparse(name, Gauge, help);
            for device in devices.iter() {
                let Some(number) = device.strip_prefix("clocksource") else { continue };
                for clock in attributes.text(device, file).unwrap_or_default().split_ascii_whitespace() {
                    family.push(&[("clocksource", clock), ("device", number)], 1.0);
                }
            }
        }
    }
}
