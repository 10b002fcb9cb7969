//! What each block device has done, from /proc/diskstats. Source: Documentation/admin-guide/iostats.rst.

mod udev;

use std::ops::Range;

use hostwatch_wire::MetricType::{self, Counter, Gauge};

use self::udev::{Device, Udev};
use crate::filter::Filter;
use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "diskstats",
    collector: "diskstats",
    about: "reads, writes and flushes of each block device and their time, and what it is, from /proc/diskstats and udev",
    on_by_default: true,
    build: |roots, options| {
        let default = r"^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
        let filter = Filter::new(options, ["device_include", "device_exclude"], default);
        let file = KernelFile::of_short_lines(roots.procfs.join("diskstats"));
        Ok(Box::new(Diskstats { file, filter, udev: Udev::new(roots.rootfs.clone()), disks: Vec::new() }))
    },
};

/// The columns behind the name, of which the last six came with Linux 4.18 and 5.5.
const COLUMNS: usize = 17;
const OLDEST_COLUMNS: usize = 11;
/// The kernel counts in sectors of this size, whatever the device has.
const SECTOR_BYTES: f64 = 512.0;
const MILLISECOND: f64 = 1e-3;
/// Column, kind, unit, family, help.
const FAMILIES: [(usize, MetricType, f64, &str, &str); COLUMNS] = [
    (0, Counter, 1.0, "node_disk_reads_completed_total", "Reads that a device has completed."),
    (1, Counter, 1.0, "node_disk_reads_merged_total", "Reads that were merged with others before a device saw them."),
    (2, Counter, SECTOR_BYTES, "node_disk_read_bytes_total", "Bytes that were read from a device."),
    (3, Counter, MILLISECOND, "node_disk_read_time_seconds_total", "Seconds that all reads took together."),
    (4, Counter, 1.0, "node_disk_writes_completed_total", "Writes that a device has completed."),
    (5, Counter, 1.0, "node_disk_writes_merged_total", "Writes that were merged with others before a device saw them."),
    (6, Counter, SECTOR_BYTES, "node_disk_written_bytes_total", "Bytes that were written to a device."),
    (7, Counter, MILLISECOND, "node_disk_write_time_seconds_total", "Seconds that all writes took together."),
    (8, Gauge, 1.0, "node_disk_io_now", "Requests that a device is working on."),
    (9, Counter, MILLISECOND, "node_disk_io_time_seconds_total", "Seconds in which a device had something to do."),
    (
        10,
        Counter,
        MILLISECOND,
        "node_disk_io_time_weighted_seconds_total",
        "Seconds in which a device had something to do, times the number of requests.",
    ),
    (11, Counter, 1.0, "node_disk_discards_completed_total", "Discards that a device has completed."),
    (12, Counter, 1.0, "node_disk_discards_merged_total", "Discards that were merged before a device saw them."),
    (13, Counter, 1.0, "node_disk_discarded_sectors_total", "Sectors of 512 bytes that were discarded."),
    (14, Counter, MILLISECOND, "node_disk_discard_time_seconds_total", "Seconds that all discards took together."),
    (15, Counter, 1.0, "node_disk_flush_requests_total", "Flushes that a device has completed."),
    (
        16,
        Counter,
        MILLISECOND,
        "node_disk_flush_requests_time_seconds_total",
        "Seconds that all flushes took together.",
    ),
];

struct Diskstats {
    file: KernelFile,
    filter: Filter,
    udev: Udev,
    disks: Vec<Disk>,
}

/// One line: `254 0 vda 703166 45819 …`.
struct Disk {
    /// Major and minor.
    numbers: [u64; 2],
    /// Where its name stands in the file.
    name: Range<usize>,
    columns: [Option<u64>; COLUMNS],
}

impl Plugin for Diskstats {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, filter, udev, disks } = self;
        file.parse_if_present(|content| {
            parse(content, disks)?;
            disks.retain(|disk| filter.admits(&text(&content[disk.name.clone()])));
            for (column, kind, unit, name, help) in FAMILIES {
                if disks.iter().all(|disk| disk.columns[column].is_none()) {
                    continue;
                }
                samples.family(name, kind, help);
                for disk in disks.iter() {
                    if let Some(value) = disk.columns[column] {
                        samples.push(&[("device", &text(&content[disk.name.clone()]))], value as f64 * unit);
                    }
                }
            }
            let device = |disk: &Disk| {
                let [major, minor] = disk.numbers;
                Device { name: text(&content[disk.name.clone()]), major, minor }
            };
            udev.report(|| disks.iter().map(device), samples);
            Ok(())
        })?;
        Ok(())
    }
}

fn parse(content: &[u8], disks: &mut Vec<Disk>) -> Result<(), Malformed> {
    disks.clear();
    let mut start = 0;
    for line in lines(content) {
        let line = line?;
        let malformed = || Malformed::new("a device's numbers, name and counts", line);
        let mut fields = fields(line);
        let mut number = || fields.next().ok_or_else(malformed).and_then(integer);
        let numbers = [number()?, number()?];
        let name = fields.next().ok_or_else(malformed)?;
        let offset = start + (name.as_ptr().addr() - line.as_ptr().addr());
        start += line.len() + 1;
        let mut columns = [None; COLUMNS];
        let mut count = 0;
        for (column, field) in columns.iter_mut().zip(fields) {
            *column = Some(integer(field)?);
            count += 1;
        }
        if count < OLDEST_COLUMNS {
            return Err(malformed());
        }
        disks.push(Disk { numbers, name: offset..offset + name.len(), columns });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_disks_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content, &mut Vec::new());
        }

        #[test]
        fn any_disks_are_read(disks in prop::collection::vec(("[a-zü]{1,9}", any::<[u64; 11]>()), 0..6)) {
            let line = |(name, counts): &(String, [u64; 11])| {
                let counts = counts.map(|count| count.to_string()).join(" ");
                format!(" 254       0 {name} {counts}\n")
            };
            let content: String = disks.iter().map(line).collect();
            let mut found = Vec::new();
            parse(content.as_bytes(), &mut found).unwrap();
            prop_assert_eq!(found.len(), disks.len());
            for (found, (name, counts)) in found.iter().zip(&disks) {
                prop_assert_eq!(&content[found.name.clone()], name);
                prop_assert_eq!(found.columns[10], Some(counts[10]));
                prop_assert_eq!(found.columns[11], None);
            }
        }
    }
}
