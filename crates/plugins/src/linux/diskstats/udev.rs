//! What udev knows about block devices, from its database below the root directory of the host.
//! Sources: udev(7), src/libsystemd/sd-device of systemd; its rules say which properties there are.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::PathBuf;

use hostwatch_wire::MetricType::Gauge;

use crate::linux::fields::assigned;
use crate::refresh::{FACTS_AGE, Refresh};
use crate::{Samples, host_file};

/// Where the database has a file for each device.
const DIRECTORY: &str = "run/udev/data";
/// What a line with a property begins with.
const PREFIX: &str = "E:";
/// Label and property. The name and the numbers of the device come as the first labels.
const INFO: [(&str, &str); 5] = [
    ("model", "ID_MODEL"),
    ("path", "ID_PATH"),
    ("revision", "ID_REVISION"),
    ("serial", "ID_SERIAL_SHORT"),
    ("wwn", "ID_WWN"),
];
const FILESYSTEM: [(&str, &str); 4] =
    [("type", "ID_FS_TYPE"), ("usage", "ID_FS_USAGE"), ("uuid", "ID_FS_UUID"), ("version", "ID_FS_VERSION")];
const DEVICE_MAPPER: [(&str, &str); 5] = [
    ("lv_layer", "DM_LV_LAYER"),
    ("lv_name", "DM_LV_NAME"),
    ("name", "DM_NAME"),
    ("uuid", "DM_UUID"),
    ("vg_name", "DM_VG_NAME"),
];
/// Property, family, help.
const ATA: [(&str, &str, &str); 3] = [
    ("ID_ATA_ROTATION_RATE_RPM", "node_disk_ata_rotation_rate_rpm", "Rotations per minute, 0 where nothing rotates."),
    ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "Whether a device has a write cache (1) or not (0)."),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "node_disk_ata_write_cache_enabled",
        "Whether it uses its write cache (1) or not (0).",
    ),
];

pub(super) struct Udev {
    rootfs: PathBuf,
    refresh: Refresh,
    /// The name of a file and what it said, kept for their memory.
    path: String,
    content: Vec<u8>,
    /// The devices whose files were read last.
    numbers: Vec<[u64; 2]>,
    /// What these said. There may be more than devices, kept for their memory.
    properties: Vec<String>,
}

/// A device as the kernel lists it.
pub(super) struct Device<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) major: u64,
    pub(super) minor: u64,
}

impl Udev {
    pub(super) fn new(rootfs: PathBuf) -> Self {
        Self {
            rootfs,
            refresh: Refresh::every(FACTS_AGE),
            path: String::new(),
            content: Vec::new(),
            numbers: Vec::new(),
            properties: Vec::new(),
        }
    }

    /// Reports the facts about `devices`. What udev does not know is empty, as on a machine without udev.
    pub(super) fn report<'a, I>(&mut self, devices: impl Fn() -> I, samples: &mut Samples)
    where
        I: Iterator<Item = Device<'a>>,
    {
        let is_same = devices().map(|device| [device.major, device.minor]).eq(self.numbers.iter().copied());
        if !is_same {
            self.refresh.hasten();
        }
        if self.refresh.is_due() {
            let is_whole = self.read(devices());
            // Of a new device udev may not have written yet, so that it is looked for once more.
            if is_same && is_whole {
                self.refresh.done();
            }
        }
        let known = || devices().zip(&self.properties);
        let mut family = samples.sparse("node_disk_info", Gauge, "What a device is, always 1.");
        let (mut major, mut minor) = (itoa::Buffer::new(), itoa::Buffer::new());
        for (device, properties) in known() {
            let numbers = [("major", major.format(device.major)), ("minor", minor.format(device.minor))];
            let [model, path, revision, serial, wwn] = labels(properties, INFO);
            let device = ("device", &*device.name);
            family.push(&[device, numbers[0], numbers[1], model, path, revision, serial, wwn], 1.0);
        }
        let mut family = samples.sparse("node_disk_filesystem_info", Gauge, "The file system on a device, always 1.");
        for (device, properties) in known().filter(|(_, properties)| has(properties, "ID_FS_TYPE")) {
            let [kind, usage, uuid, version] = labels(properties, FILESYSTEM);
            family.push(&[("device", &device.name), kind, usage, uuid, version], 1.0);
        }
        let help = "What the device mapper made a device of, always 1.";
        let mut family = samples.sparse("node_disk_device_mapper_info", Gauge, help);
        for (device, properties) in known().filter(|(_, properties)| has(properties, "DM_NAME")) {
            let [layer, volume, name, uuid, group] = labels(properties, DEVICE_MAPPER);
            family.push(&[("device", &device.name), layer, volume, name, uuid, group], 1.0);
        }
        for (property, name, help) in ATA {
            let mut family = samples.sparse(name, Gauge, help);
            for (device, properties) in known().filter(|(_, properties)| has(properties, "ID_ATA")) {
                let value = assigned(properties, PREFIX, property).and_then(|value| value.parse::<u32>().ok());
                if let Some(value) = value {
                    family.push(&[("device", &device.name)], f64::from(value));
                }
            }
        }
    }

    /// Says whether all files were read that there are.
    fn read<'a>(&mut self, devices: impl Iterator<Item = Device<'a>>) -> bool {
        let Self { rootfs, path, content, numbers, properties, .. } = self;
        let mut is_whole = true;
        numbers.clear();
        for (index, Device { major, minor, .. }) in devices.enumerate() {
            numbers.push([major, minor]);
            path.clear();
            path.extend([DIRECTORY, "/b", itoa::Buffer::new().format(major), ":", itoa::Buffer::new().format(minor)]);
            // A device that udev does not know has no file, which leaves the content empty; udev itself writes UTF-8.
            let read = host_file::read(rootfs, path, content);
            is_whole &= read.err().is_none_or(|error| error.kind() == ErrorKind::NotFound);
            if index == properties.len() {
                properties.push(String::new());
            }
            properties[index].clear();
            properties[index].push_str(std::str::from_utf8(content).unwrap_or_default());
        }
        is_whole
    }
}

fn has(properties: &str, property: &str) -> bool {
    assigned(properties, PREFIX, property).is_some_and(|value| !value.is_empty())
}

fn labels<'a, const N: usize>(properties: &'a str, known: [(&'a str, &str); N]) -> [(&'a str, &'a str); N] {
    known.map(|(label, property)| (label, assigned(properties, PREFIX, property).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_has_labels(content in any::<String>()) {
            let _ = (labels(&content, INFO), has(&content, "ID_ATA"));
        }

        #[test]
        fn any_properties_are_read(model in "[ -~ü]{0,9}", serial in "[ -~ü]{0,9}") {
            let content = format!("S:x\nE:ID_MODEL={model}\nE:ID_SERIAL=no\nE:ID_SERIAL_SHORT={serial}\n");
            let [found_model, .., found_serial, _] = labels(&content, INFO);
            prop_assert_eq!((found_model.1, found_serial.1), (model.as_str(), serial.as_str()));
            prop_assert_eq!(has(&content, "ID_MODEL"), !model.is_empty());
        }
    }
}
