//! Sockets in use by protocol, from /proc/net/sockstat and sockstat6. Source: net/ipv4/proc.c of the kernel.

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "sockstat",
    collector: "sockstat",
    about: "sockets in use and their memory, from /proc/net/sockstat and sockstat6",
    on_by_default: true,
    build: |roots, _| {
        let files = ["sockstat", "sockstat6"].map(|name| KernelFile::of_short_lines(roots.network(name)));
        Ok(Box::new(Sockstat { files, page_bytes: rustix::param::page_size() as f64, name: String::new() }))
    },
};

struct Sockstat {
    files: [KernelFile; 2],
    page_bytes: f64,
    /// The name of the family at hand, kept for its memory.
    name: String,
}

impl Plugin for Sockstat {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { files, page_bytes, name } = self;
        let mut gauge = |parts: [&str; 4], help: &str, value: f64| {
            name.clear();
            name.extend(["node_sockstat_"].into_iter().chain(parts));
            samples.family(name, MetricType::Gauge, help);
            samples.push(&[], value);
        };
        for file in files {
            file.parse_if_present(|content| {
                each(content, |protocol, figure, value| {
                    gauge([protocol, "_", figure, ""], "A figure of the sockets of a protocol.", value);
                    // The kernel counts this one in pages.
                    if figure == "mem" {
                        let help = "Memory that the sockets of a protocol use, in bytes.";
                        gauge([protocol, "_", figure, "_bytes"], help, value * *page_bytes);
                    }
                })
            })?;
        }
        Ok(())
    }
}

/// Hands on every pair of a line: `TCP: inuse 2 orphan 0 tw 1 alloc 8 mem 121`.
fn each(content: &[u8], mut figure: impl FnMut(&str, &str, f64)) -> Result<(), Malformed> {
    for line in lines(content) {
        let line = line?;
        let malformed = || Malformed::new("a protocol with pairs of a name and a number", line);
        let mut fields = fields(line);
        let protocol = fields.next().and_then(|protocol| protocol.strip_suffix(b":")).ok_or_else(malformed)?;
        while let Some(name) = fields.next() {
            let value = integer(fields.next().ok_or_else(malformed)?)? as f64;
            figure(&text(protocol), &text(name), value);
        }
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
            let _ = each(&content, |_, _, _| ());
        }

        #[test]
        fn any_figures_are_read(value in any::<u64>()) {
            let mut found = Vec::new();
            let content = format!("TCP: inuse {value} mem 1\n");
            each(content.as_bytes(), |_, name, value| found.push((name.to_owned(), value))).unwrap();
            prop_assert_eq!(found, [("inuse".to_owned(), value as f64), ("mem".to_owned(), 1.0)]);
        }
    }
}
