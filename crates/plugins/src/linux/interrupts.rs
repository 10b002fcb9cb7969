//! Interrupts by processor and device, from /proc/interrupts. Source: proc_interrupts(5).

use hostwatch_wire::MetricType::Counter;

use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "interrupts",
    collector: "interrupts",
    about: "interrupts by processor and device, from /proc/interrupts",
    // A large machine has tens of thousands of these series.
    on_by_default: false,
    build: |roots, _| {
        let file = KernelFile::new(roots.procfs.join("interrupts"));
        Ok(Box::new(Interrupts { file, processors: Vec::new(), words: String::new() }))
    },
};

struct Interrupts {
    file: KernelFile,
    /// The numbers of the processors, in the order of the columns.
    processors: Vec<u64>,
    /// The words behind the columns of a line, kept for its memory.
    words: String,
}

impl Plugin for Interrupts {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, processors, words } = self;
        file.parse_if_present(|content| {
            let mut family =
                samples.sparse("node_interrupts_total", Counter, "Interrupts that a processor has served.");
            parse(content, processors, words, |labels, count| family.push(labels, count as f64))
        })?;
        Ok(())
    }
}

/// Gives each count and its labels to `push`. The first line names the processors, and then each line is an interrupt:
/// ` 28:  0  17  PCI-MSI 0-edge  virtio0`. A line without a count for each processor is a sum over all, and left out.
fn parse(
    content: &[u8],
    processors: &mut Vec<u64>,
    words: &mut String,
    mut push: impl FnMut(&[(&str, &str)], u64),
) -> Result<(), Malformed> {
    processors.clear();
    let mut lines = lines(content);
    let heading = lines.next().ok_or_else(|| Malformed::new("a line that names the processors", content))??;
    for name in fields(heading) {
        let number = name.strip_prefix(b"CPU").ok_or_else(|| Malformed::new("a processor's name", name))?;
        processors.push(integer(number)?);
    }
    let mut number = itoa::Buffer::new();
    for line in lines {
        let line = line?;
        let malformed = || Malformed::new("an interrupt's name, a colon and counts", line);
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
        let (name, rest) = (text(line[..colon].trim_ascii()), &line[colon + 1..]);
        // The first word about an interrupt that has a number is its controller, and then come its devices.
        let is_numbered = name.bytes().all(|byte| byte.is_ascii_digit());
        let mut details = fields(rest).skip(processors.len());
        let Some(first) = details.next() else { continue };
        words.clear();
        words.push_str(&text(first));
        let controller = words.len();
        for word in details {
            words.push(' ');
            words.push_str(&text(word));
        }
        let (info, devices) = if is_numbered { words.split_at(controller) } else { (words.as_str(), "") };
        for (processor, count) in processors.iter().zip(fields(rest)) {
            let cpu = number.format(*processor);
            push(&[("cpu", cpu), ("devices", devices.trim_start()), ("info", info), ("type", &name)], integer(count)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(content: &[u8]) -> Result<Vec<u64>, Malformed> {
        let mut counts = Vec::new();
        parse(content, &mut Vec::new(), &mut String::new(), |_, count| counts.push(count))?;
        Ok(counts)
    }

    proptest! {
        #[test]
        fn any_content_is_counts_or_an_error(content in any::<Vec<u8>>()) {
            let _ = counts(&content);
        }

        #[test]
        fn any_counts_are_read(expected in prop::collection::vec(any::<u64>(), 1..9)) {
            let heading: String = (0..expected.len()).map(|number| format!(" CPU{number}")).collect();
            let columns: String = expected.iter().map(|count| format!(" {count}")).collect();
            let content = format!("{heading}\n  1:{columns}  IO-APIC 1-edge ü\nERR: 0\n");
            prop_assert_eq!(counts(content.as_bytes()), Ok(expected));
        }
    }
}
