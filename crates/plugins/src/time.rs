//! What time it is on this host, and by which clock. Sources: localtime(5), tzfile(5).

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use hostwatch_wire::MetricType::Gauge;
use tz::TimeZone;

#[cfg(target_os = "linux")]
use crate::linux::clocks::Clocks;
use crate::refresh::{FACTS_AGE, Refresh};
use crate::{CollectError, Descriptor, Plugin, Samples, host_file};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "time",
    collector: "time",
    about: "the time, its zone from /etc/localtime and, on Linux, its clock from /sys/devices/system/clocksource",
    on_by_default: true,
    build: |roots, _| {
        Ok(Box::new(Time {
            zone: Zone::new(roots.rootfs.clone()),
            #[cfg(target_os = "linux")]
            clocks: Clocks::new(roots),
        }))
    },
};

struct Time {
    zone: Zone,
    #[cfg(target_os = "linux")]
    clocks: Clocks,
}

/// The time zone of the host.
struct Zone {
    rootfs: PathBuf,
    refresh: Refresh,
    content: Vec<u8>,
    /// The content that `zone` comes from.
    known: Vec<u8>,
    zone: Option<TimeZone>,
}

impl Plugin for Time {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        samples.gauge("node_time_seconds", "The system's clock, in seconds since 1970.", now.as_secs_f64());
        if self.zone.refresh.is_due() {
            self.zone.read();
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (name, offset) = self.zone.at(seconds);
        samples.family("node_time_zone_offset_seconds", Gauge, "Seconds that the local time is ahead of UTC.");
        samples.push(&[("time_zone", name)], f64::from(offset));
        #[cfg(target_os = "linux")]
        self.clocks.report(samples);
        Ok(())
    }
}

impl Zone {
    fn new(rootfs: PathBuf) -> Self {
        Self { rootfs, refresh: Refresh::every(FACTS_AGE), content: Vec::new(), known: Vec::new(), zone: None }
    }

    fn read(&mut self) {
        // A file that cannot be read leaves the content empty.
        if host_file::read(&self.rootfs, "etc/localtime", &mut self.content).is_ok() {
            self.refresh.done();
        }
        if self.content != self.known {
            self.known.clone_from(&self.content);
            self.zone = TimeZone::from_tz_data(&self.known).ok();
        }
    }

    /// The name of the zone and its offset in seconds, which both may change with the seasons. Without a file, or with
    /// one that cannot be understood, it is UTC, as localtime(5) has it.
    fn at(&self, seconds: i64) -> (&str, i32) {
        let local = self.zone.as_ref().and_then(|zone| zone.find_local_time_type(seconds).ok());
        local.map_or(("UTC", 0), |local| (local.time_zone_designation(), local.ut_offset()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_zone_is_what_the_file_says_and_utc_without_one() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let mut zone = Zone::new(root.path().to_owned());
        zone.read();
        assert_eq!(zone.at(0), ("UTC", 0));
        // Version 2 without transitions: an empty block for old readers, one local time type, and then the rule.
        let block = |version: &[u8], types: u8, rest: &[u8]| {
            let counts = [0, 0, 0, 0, types, types * 4].map(|count| u32::from(count).to_be_bytes());
            [b"TZif", version, &[0; 15], counts.as_flattened(), rest].concat()
        };
        let local = [&3_600_i32.to_be_bytes()[..], &[0, 0], b"CET\0"].concat();
        let rule = b"\nCET-1CEST,M3.5.0,M10.5.0/3\n";
        let content = [block(b"2", 1, &local), block(b"2", 1, &local), rule.to_vec()].concat();
        fs::write(root.path().join("etc/localtime"), content).unwrap();
        zone.read();
        assert_eq!(zone.at(1_768_000_000), ("CET", 3_600));
        assert_eq!(zone.at(1_784_000_000), ("CEST", 7_200));
    }

    proptest! {
        #[test]
        fn any_file_is_a_zone_or_none(content in any::<Vec<u8>>()) {
            let _ = TimeZone::from_tz_data(&content);
            let _ = TimeZone::from_tz_data(&[b"TZif2".as_slice(), &content].concat());
        }
    }
}
