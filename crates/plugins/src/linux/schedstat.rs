//! What the scheduler did on each processor, from /proc/schedstat. Source: Documentation/scheduler/sched-stats.rst.

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "schedstat",
    collector: "schedstat",
    about: "time that tasks ran and waited on each processor, from /proc/schedstat",
    on_by_default: true,
    build: |roots, _| {
        Ok(Box::new(Schedstat { file: KernelFile::new(roots.procfs.join("schedstat")), processors: Vec::new() }))
    },
};

/// Where the three figures stand behind the name of a processor.
const RUNNING: usize = 6;
const NANOSECONDS: f64 = 1e9;

struct Schedstat {
    file: KernelFile,
    processors: Vec<Processor>,
}

#[derive(Debug, PartialEq)]
struct Processor {
    number: u64,
    running: u64,
    waiting: u64,
    timeslices: u64,
}

impl Plugin for Schedstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, processors } = self;
        if file.parse_if_present(|content| parse(content, processors))?.is_none() || processors.is_empty() {
            return Ok(());
        }
        let mut number = itoa::Buffer::new();
        let mut family = |name, help, value: fn(&Processor) -> f64| {
            samples.family(name, MetricType::Counter, help);
            for processor in processors.iter() {
                samples.push(&[("cpu", number.format(processor.number))], value(processor));
            }
        };
        family("node_schedstat_running_seconds_total", "Seconds that tasks ran on a processor.", |processor| {
            processor.running as f64 / NANOSECONDS
        });
        family("node_schedstat_waiting_seconds_total", "Seconds that tasks waited for a processor.", |processor| {
            processor.waiting as f64 / NANOSECONDS
        });
        family("node_schedstat_timeslices_total", "Time slices that a processor gave to tasks.", |processor| {
            processor.timeslices as f64
        });
        Ok(())
    }
}

/// Reads the lines of the processors, `cpu0 0 0 0 0 0 0 1 2 3`, among others.
fn parse(content: &[u8], processors: &mut Vec<Processor>) -> Result<(), Malformed> {
    processors.clear();
    for line in lines(content) {
        let line = line?;
        let Some(rest) = line.strip_prefix(b"cpu") else { continue };
        let malformed = || Malformed::new("a processor's number and nine figures", line);
        let mut fields = fields(rest);
        let number = integer(fields.next().filter(|_| !rest.starts_with(b" ")).ok_or_else(malformed)?)?;
        let mut figures = fields.skip(RUNNING);
        let mut next = || integer(figures.next().ok_or_else(malformed)?);
        processors.push(Processor { number, running: next()?, waiting: next()?, timeslices: next()? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_processors_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content, &mut Vec::new());
        }

        #[test]
        fn any_figures_are_read(number in any::<u64>(), running in any::<u64>(), waiting in any::<u64>()) {
            let content = format!("version 15\ncpu{number} 0 0 0 0 0 0 {running} {waiting} 3\ndomain0 3\n");
            let mut processors = Vec::new();
            parse(content.as_bytes(), &mut processors).unwrap();
            prop_assert_eq!(processors, [Processor { number, running, waiting, timeslices: 3 }]);
        }
    }
}
