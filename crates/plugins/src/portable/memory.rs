//! Use of memory and swap, as sysinfo tells it.
//!
//! The names are those of Linux on every system, so that one expression covers a whole fleet. node_exporter has others
//! on macOS (`node_memory_total_bytes`), but none for what is available, which is what thresholds are about.

use sysinfo::System;

use super::begun;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "memory",
    collector: "meminfo",
    about: "size, free and available part of memory, size and free part of swap, through sysinfo",
    on_by_default: true,
    build: |_, _| Ok(Box::new(Memory { system: None })),
};

/// Family, help, and which figure of the system.
type Family = (&'static str, &'static str, fn(&System) -> u64);

const FAMILIES: [Family; 5] = [
    ("node_memory_MemTotal_bytes", "Size of the memory.", System::total_memory),
    ("node_memory_MemFree_bytes", "Memory that nothing uses.", System::free_memory),
    // On macOS all that is neither wired nor compressed.
    ("node_memory_MemAvailable_bytes", "Memory that could be had without swapping.", System::available_memory),
    ("node_memory_SwapTotal_bytes", "Size of the swap space.", System::total_swap),
    ("node_memory_SwapFree_bytes", "Swap space that nothing uses.", System::free_swap),
];

struct Memory {
    system: Option<System>,
}

impl Plugin for Memory {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let system = begun(&mut self.system)?;
        system.refresh_memory();
        // A refresh that fails leaves what was there, which at first is nothing.
        if system.total_memory() == 0 {
            return Err(CollectError::Unknown { what: "the size of the memory", why: "sysinfo says 0".to_owned() });
        }
        for (name, help, figure) in FAMILIES {
            samples.gauge(name, help, figure(system) as f64);
        }
        Ok(())
    }
}
