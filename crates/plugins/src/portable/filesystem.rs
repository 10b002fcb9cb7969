//! Size and room of each mounted file system, as sysinfo tells it.
//!
//! What sysinfo takes for no disk of this machine is left out whatever the filters say: what the kernel makes up, what is on
//! the network and, on macOS, what its Finder does not show. It knows neither what is free for root alone nor inodes. On macOS
//! `device` is the name of the volume, the only one that it tells, and available is what could be had by clearing caches too.
//! A file system of which it cannot tell the size is left out.

use std::collections::BTreeMap;

use hostwatch_wire::MetricType;
use sysinfo::{Disk, DiskRefreshKind, Disks};

use super::unknown;
use crate::filter::Filter;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "filesystem",
    collector: "filesystem",
    about: "size, available room and read-only flag of each mounted file system, through sysinfo",
    on_by_default: true,
    build: |_, options| {
        // What there is for the kernel alone, sysinfo leaves out itself.
        let points = Filter::new(options, ["mount_points_include", "mount_points_exclude"], "");
        let types = Filter::new(options, ["fs_types_include", "fs_types_exclude"], "");
        Ok(Box::new(Filesystem { points, types }))
    },
};

/// Family, help, and which figure of a file system.
type Family = (&'static str, &'static str, fn(&Disk) -> f64);

const FAMILIES: [Family; 3] = [
    ("node_filesystem_size_bytes", "Size of a file system.", |disk| disk.total_space() as f64),
    ("node_filesystem_avail_bytes", "Free room of a file system for users other than root.", |disk| {
        disk.available_space() as f64
    }),
    ("node_filesystem_readonly", "Whether a file system is mounted for reading only.", |disk| {
        f64::from(u8::from(disk.is_read_only()))
    }),
];

struct Filesystem {
    points: Filter,
    types: Filter,
}

impl Plugin for Filesystem {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        // Anew each time: of one that it knows, sysinfo does not look again whether it is read-only.
        let refresh = DiskRefreshKind::nothing().with_storage();
        let disks = Disks::new_with_refreshed_list_specifics(refresh).map_err(unknown("the file systems"))?;
        // Who is mounted last at a point hides what is below.
        let mut points: BTreeMap<_, _> =
            disks.iter().map(|disk| (disk.mount_point().to_string_lossy(), disk)).collect();
        points.retain(|point, disk| {
            let is_admitted = self.points.admits(point) && self.types.admits(&disk.file_system().to_string_lossy());
            is_admitted && disk.total_space() > 0
        });
        for (name, help, figure) in FAMILIES {
            let mut family = samples.sparse(name, MetricType::Gauge, help);
            for (point, disk) in &points {
                let (device, fs_type) = (disk.name().to_string_lossy(), disk.file_system().to_string_lossy());
                family.push(&[("device", &device), ("fstype", &fs_type), ("mountpoint", point)], figure(disk));
            }
        }
        Ok(())
    }
}
