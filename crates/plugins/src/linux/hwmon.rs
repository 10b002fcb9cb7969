//! What the sensors of this machine say, from /sys/class/hwmon. Source: Documentation/hwmon/sysfs-interface.rst.

mod plan;

use std::path::PathBuf;

use hostwatch_wire::MetricType::Gauge;

use self::plan::Plan;
use crate::filter::Filter;
use crate::linux::attributes::Attributes;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "hwmon",
    collector: "hwmon",
    about: "temperatures, fans, voltages and whatever else sensors measure, from /sys/class/hwmon",
    on_by_default: true,
    build: |roots, options| {
        let path = roots.sysfs.join("class/hwmon");
        Ok(Box::new(Hwmon {
            filter: Filter::new(options, ["chip_include", "chip_exclude"], ""),
            attributes: Attributes::new(path.clone()),
            path,
            chips: Names::new(),
            files: Names::new(),
            found: String::new(),
            planned: String::new(),
            plan: Plan::default(),
        }))
    },
};

/// Where the files of a chip may stand, below its directory. Old drivers have them beside it.
const FOLDERS: [&str; 2] = ["", "device/"];

struct Hwmon {
    filter: Filter,
    attributes: Attributes,
    path: PathBuf,
    chips: Names,
    files: Names,
    /// Every chip and every file that is there now.
    found: String,
    /// The same when the plan was made.
    planned: String,
    plan: Plan,
}

impl Plugin for Hwmon {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.find();
        if self.found != self.planned {
            self.planned.clone_from(&self.found);
            self.plan = Plan::new(&self.path, &self.planned, &mut self.attributes, &self.filter);
        }
        let Self { attributes, plan, .. } = self;
        let help = "What the driver of a chip calls it, always 1.";
        let mut family = samples.sparse("node_hwmon_chip_names", Gauge, help);
        for chip in &plan.chips {
            family.push(&[("chip", &chip.label), ("chip_name", &chip.name)], 1.0);
        }
        let help = "What a sensor is for, as its driver says, always 1.";
        let mut family = samples.sparse("node_hwmon_sensor_label", Gauge, help);
        for label in &plan.labels {
            family.push(&[("chip", &label.chip), ("label", &label.text), ("sensor", &label.sensor)], 1.0);
        }
        for readings in plan.readings.chunk_by(|one, other| one.family == other.family) {
            let Some(first) = readings.first() else { continue };
            let mut family = samples.sparse(&first.family, first.kind, &first.help);
            for reading in readings {
                // A sensor that is off has a file that cannot be read.
                if let Some(value) = attributes.number(&reading.directory, &reading.file) {
                    family.push(&[("chip", &reading.chip), ("sensor", &reading.sensor)], value / reading.divisor);
                }
            }
        }
        Ok(())
    }
}

impl Hwmon {
    /// Lists the chips and their files, a line for each. The kernel numbers chips anew as drivers come and go, so a chip
    /// is its number, its name and what its directory is in the file system.
    fn find(&mut self) {
        let Self { attributes, chips, files, found, .. } = self;
        found.clear();
        attributes.list(chips);
        for chip in chips.iter() {
            found.push_str(chip);
            found.push('\t');
            let mut inode = itoa::Buffer::new();
            found.push_str(inode.format(attributes.inode(chip).unwrap_or_default()));
            found.push('\n');
            for folder in FOLDERS {
                attributes.list_below(chip, folder, files);
                for file in files.iter().filter(|file| plan::sensor(file).is_some()) {
                    found.extend(["\t", folder, file, "\n"]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::Roots;

    /// Makes a chip with a sensor for each number, whose temperature is that number.
    fn make(directory: &Path, name: &str, sensors: &[u32]) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("name"), name).unwrap();
        for sensor in sensors {
            fs::write(directory.join(format!("temp{sensor}_input")), format!("{sensor}000\n")).unwrap();
        }
    }

    #[test]
    fn chips_and_sensors_that_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let chip = root.path().join("class/hwmon/hwmon0");
        let roots = Roots { sysfs: root.path().to_owned(), ..Roots::default() };
        let mut plugin = DESCRIPTOR.build(&roots.into(), &Default::default(), std::time::Duration::MAX).unwrap();
        let mut samples = Samples::new();
        let mut collect = || {
            samples.begin();
            plugin.collect(&mut samples).unwrap();
            let changed = samples.finish().unwrap();
            (changed, samples.values().to_vec())
        };
        assert_eq!(collect(), (false, vec![]));
        make(&chip, "one", &[1, 2]);
        assert_eq!(collect(), (true, vec![1.0, 1.0, 2.0]));
        assert_eq!(collect(), (false, vec![1.0, 1.0, 2.0]));
        make(&chip, "one", &[3]);
        assert_eq!(collect(), (true, vec![1.0, 1.0, 2.0, 3.0]));
        // Another chip under the number of the first one, with the same sensors. Its directory is made before the other
        // is gone, because a file system may give a number again where the kernel's does not.
        let other = root.path().join("other");
        make(&other, "another", &[1, 2, 3]);
        fs::remove_dir_all(&chip).unwrap();
        fs::rename(&other, &chip).unwrap();
        assert_eq!(collect(), (true, vec![1.0, 1.0, 2.0, 3.0]));
        fs::write(chip.join("temp2_input"), "").unwrap();
        assert_eq!(collect(), (true, vec![1.0, 1.0, 3.0]));
        fs::remove_dir_all(&chip).unwrap();
        assert_eq!(collect(), (true, vec![]));
    }
}
