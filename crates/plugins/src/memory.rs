//! Every line of /proc/meminfo. Source: proc_meminfo(5).

use hostwatch_wire::MetricType;

use crate::fields::{Malformed, fields, integer, lines};
use crate::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "memory",
    collector: "meminfo",
    about: "use of memory and swap, every line of /proc/meminfo",
    on_by_default: true,
    build: |roots, _| {
        let file = KernelFile::new(roots.procfs.join("meminfo"));
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
