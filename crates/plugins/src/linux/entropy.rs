//! The kernel's pool of entropy, from /proc/sys/kernel/random. Source: random(4).

use crate::linux::kernel_file::KernelFile;
use crate::linux::sysctl;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "entropy",
    collector: "entropy",
    about: "entropy for random numbers, from /proc/sys/kernel/random",
    on_by_default: true,
    build: |roots, _| {
        let file = |name| KernelFile::of_short_lines(roots.procfs.join("sys/kernel/random").join(name));
        Ok(Box::new(Entropy { available: file("entropy_avail"), size: file("poolsize") }))
    },
};

struct Entropy {
    available: KernelFile,
    size: KernelFile,
}

impl Plugin for Entropy {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        if let Some(bits) = sysctl::number(&mut self.available)? {
            samples.gauge("node_entropy_available_bits", "Bits of entropy in the pool.", bits);
        }
        if let Some(bits) = sysctl::number(&mut self.size)? {
            samples.gauge("node_entropy_pool_size_bits", "Bits of entropy that the pool can hold.", bits);
        }
        Ok(())
    }
}
