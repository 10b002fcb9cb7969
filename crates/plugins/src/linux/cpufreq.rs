//! How fast each processor runs and may run, from /sys/devices/system/cpu. Source: Documentation/admin-guide/pm/cpufreq.rst.

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "cpufreq",
    collector: "cpufreq",
    about: "frequency of each processor and its limits, from /sys/devices/system/cpu",
    on_by_default: true,
    build: |roots, _| {
        let attributes = Attributes::new(roots.sysfs.join("devices/system/cpu"));
        Ok(Box::new(Cpufreq { attributes, processors: Names::new() }))
    },
};

/// File, family, help.
const FAMILIES: [(&str, &str, &str); 6] = [
    ("cpufreq/cpuinfo_cur_freq", "node_cpu_frequency_hertz", "How fast the hardware runs a processor."),
    ("cpufreq/cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "How fast a processor can run."),
    ("cpufreq/cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "How slow a processor can run."),
    ("cpufreq/scaling_cur_freq", "node_cpu_scaling_frequency_hertz", "How fast the kernel has a processor run."),
    ("cpufreq/scaling_max_freq", "node_cpu_scaling_frequency_max_hertz", "How fast a processor may run at present."),
    ("cpufreq/scaling_min_freq", "node_cpu_scaling_frequency_min_hertz", "How slow a processor may run at present."),
];
/// The kernel tells thousands of hertz.
const KILOHERTZ: f64 = 1e3;

struct Cpufreq {
    attributes: Attributes,
    processors: Names,
}

impl Plugin for Cpufreq {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { attributes, processors } = self;
        attributes.list(processors);
        processors.retain(|name| number(name).is_some());
        for (file, name, help) in FAMILIES {
            let mut family = samples.sparse(name, Gauge, help);
            for processor in processors.iter() {
                let (Some(cpu), Some(value)) = (number(processor), attributes.number(processor, file)) else {
                    continue;
                };
                family.push(&[("cpu", cpu)], value * KILOHERTZ);
            }
        }
        Ok(())
    }
}

/// The number of a processor; none for the other entries of the directory, such as `cpufreq` and `cpuidle`.
fn number(name: &str) -> Option<&str> {
    name.strip_prefix("cpu").filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
