//! How each processor takes packets in, from /proc/net/softnet_stat. Source: net/core/net-procfs.c of the kernel.

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, hexadecimal, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "softnet",
    collector: "softnet",
    about: "packets that each processor has taken in, dropped or put off, from /proc/net/softnet_stat",
    on_by_default: true,
    build: |roots, _| {
        Ok(Box::new(Softnet {
            file: KernelFile::of_short_lines(roots.network("softnet_stat")),
            processors: Vec::new(),
        }))
    },
};

/// The columns that are read, of which the last ones came with later kernels.
const COLUMNS: usize = 13;
const PROCESSOR: usize = 12;
/// Column, kind, family, help. The order is that of the page.
const FAMILIES: [(usize, MetricType, &str, &str); 7] = [
    (0, MetricType::Counter, "node_softnet_processed_total", "Packets that a processor has taken in."),
    (1, MetricType::Counter, "node_softnet_dropped_total", "Packets that a processor dropped: its queue was full."),
    (2, MetricType::Counter, "node_softnet_times_squeezed_total", "How often a processor ran out of its time slice."),
    (8, MetricType::Counter, "node_softnet_cpu_collision_total", "Collisions at a lock while sending."),
    (9, MetricType::Counter, "node_softnet_received_rps_total", "Packets that another processor had steered here."),
    (10, MetricType::Counter, "node_softnet_flow_limit_count_total", "Packets that the limit of a flow has dropped."),
    (11, MetricType::Gauge, "node_softnet_backlog_len", "Packets that wait in the queue of a processor."),
];

struct Softnet {
    file: KernelFile,
    processors: Vec<[Option<u64>; COLUMNS]>,
}

impl Plugin for Softnet {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, processors } = self;
        if file.parse_if_present(|content| parse(content, processors))?.is_none() {
            return Ok(());
        }
        let mut number = itoa::Buffer::new();
        for (column, kind, name, help) in FAMILIES {
            if processors.iter().all(|columns| columns[column].is_none()) {
                continue;
            }
            samples.family(name, kind, help);
            for (index, columns) in processors.iter().enumerate() {
                // Kernels before 5.10 do not say whose line it is.
                let cpu = number.format(columns[PROCESSOR].unwrap_or(index as u64));
                if let Some(value) = columns[column] {
                    samples.push(&[("cpu", cpu)], value as f64);
                }
            }
        }
        Ok(())
    }
}

fn parse(content: &[u8], processors: &mut Vec<[Option<u64>; COLUMNS]>) -> Result<(), Malformed> {
    processors.clear();
    for line in lines(content) {
        let line = line?;
        let mut columns = [None; COLUMNS];
        for (column, field) in columns.iter_mut().zip(fields(line)) {
            *column = Some(hexadecimal(field)?);
        }
        if columns[8].is_none() {
            return Err(Malformed::new("at least nine columns", line));
        }
        processors.push(columns);
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
        fn any_columns_are_read(columns in prop::collection::vec(any::<u32>(), 9..16)) {
            let line: Vec<String> = columns.iter().map(|column| format!("{column:08x}")).collect();
            let mut processors = Vec::new();
            parse(format!("{}\n", line.join(" ")).as_bytes(), &mut processors).unwrap();
            for (found, expected) in processors[0].iter().zip(&columns) {
                prop_assert_eq!(*found, Some(u64::from(*expected)));
            }
        }
    }
}
