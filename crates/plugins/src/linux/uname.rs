//! What system this is, as uname(2) tells it, from /proc/sys/kernel.

use hostwatch_wire::MetricType;

use crate::linux::fields::text;
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "uname",
    collector: "uname",
    about: "name, release, version and machine of the kernel and the names of the host, from /proc/sys/kernel",
    on_by_default: true,
    build: |roots, _| {
        let file = |(label, name)| {
            (label, KernelFile::of_short_lines(roots.procfs.join("sys/kernel").join(name)), String::new())
        };
        Ok(Box::new(Uname { files: FILES.map(file) }))
    },
};

/// Label and file, in the order of the labels.
const FILES: [(&str, &str); 6] = [
    ("domainname", "domainname"),
    ("machine", "arch"),
    ("nodename", "hostname"),
    ("release", "osrelease"),
    ("sysname", "ostype"),
    ("version", "version"),
];

struct Uname {
    /// Label, file, and what it said last, kept for its memory.
    files: [(&'static str, KernelFile, String); 6],
}

impl Plugin for Uname {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        for (label, file, value) in &mut self.files {
            value.clear();
            let present = file.parse_if_present(|content| {
                value.push_str(&text(content.trim_ascii()));
                Ok(())
            })?;
            // Kernels before 6.1 do not have it as a file.
            if present.is_none() && *label == "machine" {
                value.push_str(&rustix::system::uname().machine().to_string_lossy());
            }
        }
        // Without its release this is no Linux that could be told of.
        if self.files[3].2.is_empty() {
            return Ok(());
        }
        let labels = self.files.each_ref().map(|(label, _, value)| (*label, value.as_str()));
        samples.family("node_uname_info", MetricType::Gauge, "What uname(2) says about the system, always 1.");
        samples.push(&labels, 1.0);
        Ok(())
    }
}
