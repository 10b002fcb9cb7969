//! Open files of the whole system, from /proc/sys/fs/file-nr. Source: Documentation/admin-guide/sysctl/fs.rst.

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "filefd",
    collector: "filefd",
    about: "open files and their limit, from /proc/sys/fs/file-nr",
    on_by_default: true,
    build: |roots, _| Ok(Box::new(Filefd { file: KernelFile::of_short_lines(roots.procfs.join("sys/fs/file-nr")) })),
};

struct Filefd {
    file: KernelFile,
}

impl Plugin for Filefd {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if let Some([allocated, maximum]) = self.file.parse_if_present(parse)? {
            samples.gauge("node_filefd_allocated", "Files that are open on the whole system.", allocated as f64);
            samples.gauge("node_filefd_maximum", "How many files may be open on the whole system.", maximum as f64);
        }
        Ok(())
    }
}

/// Reads `1275 0 2466177`, with tabs between: allocated, allocated but unused (always 0), the most.
fn parse(content: &[u8]) -> Result<[u64; 2], Malformed> {
    let line = lines(content).next().unwrap_or(Ok(b""))?;
    let mut fields = fields(line);
    let mut next = || integer(fields.next().ok_or_else(|| Malformed::new("three numbers", line))?);
    let (allocated, _, maximum) = (next()?, next()?, next()?);
    Ok([allocated, maximum])
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
        fn any_figures_are_read(allocated in any::<u64>(), maximum in any::<u64>()) {
            prop_assert_eq!(parse(format!("{allocated}\t0\t{maximum}\n").as_bytes()), Ok([allocated, maximum]));
        }
    }
}
