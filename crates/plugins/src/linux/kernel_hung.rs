//! Tasks that hung for longer than the kernel's watchdog allows, from /proc/sys/kernel. Source: kernel/hung_task.c.

use crate::linux::kernel_file::KernelFile;
use crate::linux::sysctl;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "kernel_hung",
    collector: "kernel_hung",
    about: "tasks that hung, from /proc/sys/kernel/hung_task_detect_count (Linux 6.12 and later)",
    on_by_default: true,
    build: |roots, _| {
        let file = KernelFile::of_short_lines(roots.procfs.join("sys/kernel/hung_task_detect_count"));
        Ok(Box::new(KernelHung { file }))
    },
};

struct KernelHung {
    file: KernelFile,
}

impl Plugin for KernelHung {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if let Some(tasks) = sysctl::number(&mut self.file)? {
            samples.counter("node_kernel_hung_tasks", "Tasks that the kernel has found hanging since the boot.", tasks);
        }
        Ok(())
    }
}
