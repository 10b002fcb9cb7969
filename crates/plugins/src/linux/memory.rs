//! Every line of /proc/meminfo. Source: proc_meminfo(5).

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "memory",
    collector: "meminfo",
    about: "use of memory and swap, every line of /proc/meminfo",
    on_by_default: true,
    build: |roots, _| {
        let file = KernelFile::of_one_piece(roots.procfs.join("meminfo"));
        Ok(Box::new(Memory { file, name: String::new(), help: String::new() }))
    },
};

struct Memory {
    file: KernelFile,
    /// The name and the help of the line at hand, kept for their memory.
    name: String,
    help: String,
}

impl Plugin for Memory {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, name, help } = self;
        file.parse(|content| {
            if content.is_empty() {
                return Err(Malformed::new("a line for each figure", content));
            }
            lines(content).try_for_each(|line| {
                let figure = Figure::parse(line?)?;
                figure.describe(name, help);
                samples.family(name, MetricType::Gauge, help);
                samples.push(&[], figure.value());
                Ok(())
            })
        })
    }
}

/// One line: `MemTotal:       16326428 kB` or `HugePages_Total:       0`.
#[derive(Debug, PartialEq)]
struct Figure<'a> {
    name: &'a [u8],
    amount: u64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    /// What the kernel calls kB are 1,024 bytes.
    Kibibytes,
    None,
}

impl<'a> Figure<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("\"name: number\" or \"name: number kB\"", line);
        let colon = line.iter().position(|byte| *byte == b':').filter(|at| *at > 0).ok_or_else(malformed)?;
        let mut fields = fields(&line[colon + 1..]);
        let amount = integer(fields.next().ok_or_else(malformed)?)?;
        let unit = match (fields.next(), fields.next()) {
            (None, _) => Unit::None,
            (Some(b"kB"), None) => Unit::Kibibytes,
            _ => return Err(malformed()),
        };
        Ok(Self { name: &line[..colon], amount, unit })
    }

    fn value(&self) -> f64 {
        match self.unit {
            Unit::Kibibytes => self.amount as f64 * 1_024.0,
            Unit::None => self.amount as f64,
        }
    }

    /// Writes node_exporter's name for the figure, in which `Active(anon)` becomes `Active_anon`, and its help.
    fn describe(&self, name: &mut String, help: &mut String) {
        name.clear();
        name.push_str("node_memory_");
        let characters = self.name.iter().filter(|byte| **byte != b')');
        name.extend(characters.map(|byte| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '_' }));
        help.clear();
        for chunk in self.name.utf8_chunks() {
            help.push_str(chunk.valid());
        }
        match self.unit {
            Unit::Kibibytes => {
                name.push_str("_bytes");
                help.push_str(" of /proc/meminfo in bytes.");
            }
            Unit::None => help.push_str(" of /proc/meminfo."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use hostwatch_wire::Parameters;
    use proptest::prelude::*;

    use super::*;
    use crate::Roots;

    fn describe(line: &str) -> (String, String) {
        let (mut name, mut help) = ("left over".to_owned(), "left over".to_owned());
        Figure::parse(line.as_bytes()).unwrap().describe(&mut name, &mut help);
        (name, help)
    }

    #[test]
    fn names_are_those_of_node_exporter() {
        assert_eq!(describe("MemTotal: 1 kB").0, "node_memory_MemTotal_bytes");
        assert_eq!(describe("Active(anon): 1 kB").0, "node_memory_Active_anon_bytes");
        assert_eq!(describe("Committed_AS: 1 kB").0, "node_memory_Committed_AS_bytes");
        let (name, help) = describe("HugePages_Total: 1");
        assert_eq!(
            (name.as_str(), help.as_str()),
            ("node_memory_HugePages_Total", "HugePages_Total of /proc/meminfo.")
        );
    }

    #[test]
    fn a_line_that_comes_later_is_reported_from_then_on() {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { procfs: directory.path().to_owned(), ..Roots::default() };
        let mut plugin = DESCRIPTOR.build(&roots.clone().into(), &Parameters::new(), Duration::MAX).unwrap();
        let mut samples = Samples::new();
        let mut collect = |content: &str| {
            fs::write(directory.path().join("meminfo"), content).unwrap();
            samples.begin();
            plugin.collect(&mut samples).unwrap();
            (samples.finish().unwrap(), samples.values().to_vec())
        };
        assert_eq!(collect("MemTotal: 2 kB\nMemFree: 1 kB\n"), (true, vec![2048.0, 1024.0]));
        assert_eq!(collect("MemTotal: 2 kB\nMemFree: 2 kB\n"), (false, vec![2048.0, 2048.0]));
        assert_eq!(collect("MemTotal: 2 kB\nZswap: 0 kB\nMemFree: 2 kB\n"), (true, vec![2048.0, 0.0, 2048.0]));
        assert_eq!(collect("MemTotal: 2 kB\n"), (true, vec![2048.0]));
    }

    proptest! {
        #[test]
        fn any_line_is_a_figure_or_an_error(line in any::<Vec<u8>>()) {
            if let Ok(figure) = Figure::parse(&line) {
                let (mut name, mut help) = (String::new(), String::new());
                figure.describe(&mut name, &mut help);
                prop_assert!(name.len() > 200 || hostwatch_wire::is_metric_name(&name), "{name:?}");
            }
        }

        #[test]
        fn any_figure_is_read(name in "[A-Za-z(_)]{1,20}", amount in any::<u64>(), unit in prop::bool::ANY) {
            let line = format!("{name}:   {amount}{}", if unit { " kB" } else { "" });
            let unit = if unit { Unit::Kibibytes } else { Unit::None };
            prop_assert_eq!(Figure::parse(line.as_bytes()), Ok(Figure { name: name.as_bytes(), amount, unit }));
        }
    }
}
