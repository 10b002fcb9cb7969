//! By which clock the kernel tells the time. Source: Documentation/timers/timekeeping.rst.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::linux::kernel_file::KernelFile;
use crate::names::Names;
use crate::{CollectError, Roots, Samples};

/// File, family, help.
const FAMILIES: [(&str, &str, &str); 2] = [
    ("available_clocksource", "node_time_clocksource_available_info", "A clock that the kernel could use, always 1."),
    ("current_clocksource", "node_time_clocksource_current_info", "The clock that the kernel uses, always 1."),
];

pub(crate) struct Clocks {
    devices: Vec<Device>,
}

struct Device {
    number: String,
    files: [KernelFile; FAMILIES.len()],
}

impl Clocks {
    /// Those that there are now: the kernel makes all of them when it starts.
    pub(crate) fn new(roots: &Roots) -> Self {
        let directory = roots.sysfs.join("devices/system/clocksource");
        let mut names = Names::new();
        Attributes::new(directory.clone()).list(&mut names);
        let device = |name: &str| {
            let number = name.strip_prefix("clocksource")?.to_owned();
            let files = FAMILIES.map(|(file, ..)| KernelFile::new(directory.join(name).join(file)));
            Some(Device { number, files })
        };
        Self { devices: names.iter().filter_map(device).collect() }
    }

    pub(crate) fn report(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        for (index, (_, name, help)) in FAMILIES.iter().enumerate() {
            let mut family = samples.sparse(name, Gauge, help);
            for Device { number, files } in &mut self.devices {
                files[index].parse_if_present(|content| {
                    for clock in std::str::from_utf8(content).unwrap_or_default().split_ascii_whitespace() {
                        family.push(&[("clocksource", clock), ("device", number)], 1.0);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}
