//! Counts of the memory management from /proc/vmstat. Source: mm/vmstat.c of the kernel.

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::kernel_file::KernelFile;
use crate::linux::named_lines::NamedLines;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "vmstat",
    collector: "vmstat",
    about: "page faults, paging, swapping and kills for lack of memory, from /proc/vmstat",
    on_by_default: true,
    build: |roots, options| {
        let fields = Filter::including(options, "fields", "^(oom_kill|pgpg|pswp|pg.*fault)");
        let file = KernelFile::of_short_lines(roots.procfs.join("vmstat"));
        Ok(Box::new(Vmstat { file, fields, lines: NamedLines::default() }))
    },
};

struct Vmstat {
    file: KernelFile,
    fields: Filter,
    lines: NamedLines,
}

impl Plugin for Vmstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, fields, lines } = self;
        let family = |field: &str| fields.admits(field).then(|| format!("node_vmstat_{field}"));
        file.parse(|content| {
            lines.each(content, family, |family, value| {
                samples.family(family, MetricType::Unknown, "A figure of /proc/vmstat.");
                samples.push(&[], value as f64);
            })
        })
    }
}
