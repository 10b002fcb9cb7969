//! Time that tasks lost for want of a resource, from /proc/pressure. Source: Documentation/accounting/psi.rst.

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "pressure",
    collector: "pressure",
    about: "time that tasks waited for processors, memory, input and output, from /proc/pressure",
    on_by_default: true,
    build: |roots, _| {
        let resource = |(name, some, full)| {
            let file = KernelFile::of_short_lines(roots.procfs.join("pressure").join(name));
            Resource { file, some, full }
        };
        Ok(Box::new(Pressure { resources: RESOURCES.map(resource) }))
    },
};

type Family = Option<(&'static str, &'static str)>;

/// File, family and help of its line `some`, the same of its line `full`.
const RESOURCES: [(&str, Family, Family); 4] = [
    ("cpu", Some(("node_pressure_cpu_waiting_seconds_total", "Seconds in which a task waited for a processor.")), None),
    (
        "io",
        Some(("node_pressure_io_waiting_seconds_total", "Seconds in which a task waited for input or output.")),
        Some(("node_pressure_io_stalled_seconds_total", "Seconds in which all tasks waited for input or output.")),
    ),
    (
        "memory",
        Some(("node_pressure_memory_waiting_seconds_total", "Seconds in which a task waited for memory.")),
        Some(("node_pressure_memory_stalled_seconds_total", "Seconds in which all tasks waited for memory.")),
    ),
    (
        "irq",
        None,
        Some(("node_pressure_irq_stalled_seconds_total", "Seconds in which interrupts kept all tasks waiting.")),
    ),
];

struct Pressure {
    resources: [Resource; 4],
}

struct Resource {
    file: KernelFile,
    some: Family,
    full: Family,
}

/// Microseconds of both lines, as far as the kernel has them.
#[derive(Debug, Default, PartialEq)]
struct Totals {
    some: Option<u64>,
    full: Option<u64>,
}

impl Plugin for Pressure {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        for Resource { file, some, full } in &mut self.resources {
            let Some(totals) = file.parse_if_present(parse)? else { continue };
            for (family, total) in [(*some, totals.some), (*full, totals.full)] {
                if let (Some((name, help)), Some(microseconds)) = (family, total) {
                    samples.counter(name, help, microseconds as f64 / 1e6);
                }
            }
        }
        Ok(())
    }
}

/// Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=4711` and the same of `full`.
fn parse(content: &[u8]) -> Result<Totals, Malformed> {
    let mut totals = Totals::default();
    for line in lines(content) {
        let line = line?;
        let mut fields = fields(line);
        let total = match fields.next() {
            Some(b"some") => &mut totals.some,
            Some(b"full") => &mut totals.full,
            _ => return Err(Malformed::new("some or full", line)),
        };
        let microseconds = fields.find_map(|field| field.strip_prefix(b"total="));
        let microseconds = microseconds.filter(|digits| !digits.is_empty());
        *total = Some(integer(microseconds.ok_or_else(|| Malformed::new("a total", line))?)?);
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_totals_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn any_totals_are_read(some in any::<u64>(), full in any::<u64>()) {
            let content = format!("some avg10=0.00 total={some}\nfull avg10=0.00 total={full}\n");
            prop_assert_eq!(parse(content.as_bytes()), Ok(Totals { some: Some(some), full: Some(full) }));
        }
    }
}
