//! Counts of the memory management from /proc/vmstat. Source: mm/vmstat.c of the kernel.

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "vmstat",
    collector: "vmstat",
    about: "page faults, paging, swapping and kills for lack of memory, from /proc/vmstat",
    on_by_default: true,
    build: |roots, options| {
        let fields = Filter::including(options, "fields", "^(oom_kill|pgpg|pswp|pg.*fault)");
        let file = KernelFile::of_short_lines(roots.procfs.join("vmstat"));
        Ok(Box::new(Vmstat { file, fields, name: String::new() }))
    },
};

struct Vmstat {
    file: KernelFile,
    fields: Filter,
    /// The name of the family at hand, kept for its memory.
    name: String,
}

impl Plugin for Vmstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, fields, name } = self;
        file.parse(|content| {
            each(content, |field, value| {
                if fields.admits(field) {
                    name.clear();
                    name.push_str("node_vmstat_");
                    name.push_str(field);
                    samples.family(name, MetricType::Unknown, "A figure of /proc/vmstat.");
                    samples.push(&[], value as f64);
                }
            })
        })
    }
}

/// Hands every line, `pgfault 4711`, to `figure`.
fn each(content: &[u8], mut figure: impl FnMut(&str, u64)) -> Result<(), Malformed> {
    for line in lines(content) {
        let line = line?;
        let mut fields = fields(line);
        let (Some(name), Some(value), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(Malformed::new("a name and a number", line));
        };
        figure(&text(name), integer(value)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_figures_or_an_error(content in any::<Vec<u8>>()) {
            let _ = each(&content, |_, _| ());
        }

        #[test]
        fn every_figure_is_handed_on(value in any::<u64>()) {
            let mut found = Vec::new();
            each(format!("a {value}\nb 0\n").as_bytes(), |name, value| found.push((name.to_owned(), value))).unwrap();
            prop_assert_eq!(found, [("a".to_owned(), value), ("b".to_owned(), 0)]);
        }
    }
}
