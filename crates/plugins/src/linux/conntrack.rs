//! The table of tracked connections, from /proc/sys/net/netfilter and /proc/net/stat/nf_conntrack.
//! Source: Documentation/networking/nf_conntrack-sysctl.rst and net/netfilter/nf_conntrack_standalone.c of the kernel.

use crate::linux::fields::{Malformed, fields, hexadecimal, lines};
use crate::linux::kernel_file::KernelFile;
use crate::linux::sysctl;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "conntrack",
    collector: "conntrack",
    about: "tracked connections and their limit, from /proc/sys/net/netfilter and /proc/net/stat/nf_conntrack",
    on_by_default: true,
    build: |roots, _| {
        let sysctl = |name| KernelFile::of_short_lines(roots.procfs.join("sys/net/netfilter").join(name));
        Ok(Box::new(Conntrack {
            count: sysctl("nf_conntrack_count"),
            limit: sysctl("nf_conntrack_max"),
            statistics: KernelFile::of_short_lines(roots.network("stat/nf_conntrack")),
        }))
    },
};

/// Column of the file, family, help.
const FAMILIES: [(&[u8], &str, &str); 8] = [
    (b"found", "node_nf_conntrack_stat_found", "Lookups that found a tracked connection."),
    (b"invalid", "node_nf_conntrack_stat_invalid", "Packets that cannot be tracked."),
    (b"ignore", "node_nf_conntrack_stat_ignore", "Packets that belong to a connection already."),
    (b"insert", "node_nf_conntrack_stat_insert", "Entries that were added to the table."),
    (b"insert_failed", "node_nf_conntrack_stat_insert_failed", "Entries that were in the table already."),
    (b"drop", "node_nf_conntrack_stat_drop", "Packets that were dropped because tracking failed."),
    (b"early_drop", "node_nf_conntrack_stat_early_drop", "Entries that gave way to new ones in a full table."),
    (b"search_restart", "node_nf_conntrack_stat_search_restart", "Lookups that began anew: the table was resized."),
];

struct Conntrack {
    count: KernelFile,
    limit: KernelFile,
    statistics: KernelFile,
}

impl Plugin for Conntrack {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if let Some(count) = sysctl::number(&mut self.count)? {
            samples.gauge("node_nf_conntrack_entries", "Connections in the table.", count);
        }
        if let Some(limit) = sysctl::number(&mut self.limit)? {
            samples.gauge("node_nf_conntrack_entries_limit", "How many connections the table may hold.", limit);
        }
        if let Some(sums) = self.statistics.parse_if_present(parse)? {
            for ((_, name, help), sum) in FAMILIES.iter().zip(sums) {
                if let Some(sum) = sum {
                    samples.gauge(name, help, sum as f64);
                }
            }
        }
        Ok(())
    }
}

/// Sums each column over the processors: a line of names, then one of numbers for each processor.
fn parse(content: &[u8]) -> Result<[Option<u64>; FAMILIES.len()], Malformed> {
    let mut lines = lines(content);
    let names = lines.next().unwrap_or(Ok(b""))?;
    let mut sums = [None; FAMILIES.len()];
    for line in lines {
        let line = line?;
        let mut values = fields(line);
        for name in fields(names) {
            let value = values.next().ok_or_else(|| Malformed::new("a number for each column", line))?;
            if let Some(family) = FAMILIES.iter().position(|(column, ..)| *column == name) {
                sums[family] = Some(sums[family].unwrap_or(0_u64).saturating_add(hexadecimal(value)?));
            }
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_sums_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn columns_are_found_by_name_and_summed(values in prop::collection::vec(any::<u32>(), 1..9)) {
            let lines: String = values.iter().map(|value| format!("00000000 {value:08x}\n")).collect();
            let sums = parse(format!("entries drop\n{lines}").as_bytes()).unwrap();
            prop_assert_eq!(sums[5], Some(values.iter().map(|value| u64::from(*value)).sum()));
            prop_assert_eq!(sums[0], None);
        }
    }
}
