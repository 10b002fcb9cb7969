//! Counts since the boot over all processors, from /proc/stat. Source: proc_stat(5).

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "stat",
    collector: "stat",
    about: "time of the boot, context switches, forks, interrupts, and processes that run or wait, from /proc/stat",
    on_by_default: true,
    build: |roots, _| Ok(Box::new(Stat { file: KernelFile::of_one_piece(roots.procfs.join("stat")) })),
};

struct Stat {
    file: KernelFile,
}

/// What the file says; a figure that a kernel does not have is absent.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    interrupts: Option<u64>,
    context_switches: Option<u64>,
    boot_time: Option<u64>,
    forks: Option<u64>,
    running: Option<u64>,
    blocked: Option<u64>,
}

impl Plugin for Stat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let figures = self.file.parse(parse)?;
        if let Some(value) = figures.interrupts {
            samples.counter("node_intr_total", "Interrupts that were serviced.", value as f64);
        }
        if let Some(value) = figures.context_switches {
            samples.counter("node_context_switches_total", "Context switches.", value as f64);
        }
        if let Some(value) = figures.forks {
            samples.counter("node_forks_total", "Processes and threads that were created.", value as f64);
        }
        if let Some(value) = figures.boot_time {
            samples.gauge("node_boot_time_seconds", "When the system booted, in Unix time.", value as f64);
        }
        if let Some(value) = figures.running {
            samples.gauge("node_procs_running", "Threads that run or could run.", value as f64);
        }
        if let Some(value) = figures.blocked {
            samples.gauge("node_procs_blocked", "Threads that wait for input or output.", value as f64);
        }
        Ok(())
    }
}

fn parse(content: &[u8]) -> Result<Figures, Malformed> {
    let mut figures = Figures::default();
    for line in lines(content) {
        let line = line?;
        let mut fields = fields(line);
        let figure = match fields.next() {
            Some(b"intr") => &mut figures.interrupts,
            Some(b"ctxt") => &mut figures.context_switches,
            Some(b"btime") => &mut figures.boot_time,
            Some(b"processes") => &mut figures.forks,
            Some(b"procs_running") => &mut figures.running,
            Some(b"procs_blocked") => &mut figures.blocked,
            _ => continue,
        };
        // Behind the sum of interrupts there is one number for each of them.
        *figure = Some(integer(fields.next().ok_or_else(|| Malformed::new("a name and a number", line))?)?);
    }
    if figures == Figures::default() { Err(Malformed::new("counts since the boot", content)) } else { Ok(figures) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_figures_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn any_figures_are_read(forks in any::<u64>(), interrupts in any::<u64>()) {
            let content = format!("cpu 1\nintr {interrupts} 1 2\nprocesses {forks}\n");
            let figures = parse(content.as_bytes()).unwrap();
            prop_assert_eq!((figures.forks, figures.interrupts), (Some(forks), Some(interrupts)));
        }
    }
}
