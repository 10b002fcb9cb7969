//! What machine this is, as a client tells the server when it says hello.

use std::path::Path;

use hostwatch_wire::Facts;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::Roots;

/// The most bytes of a text among the facts, as the wire has it.
const MAX_TEXT_BYTES: usize = 256;

/// The facts of this machine. What cannot be found out is empty or 0.
///
/// The operating system is the one below `roots.rootfs`: inside a container that is the host's, not the image's. All
/// else comes from the kernel, which both share, through sysinfo (it reads `/proc`, wherever `roots` point).
#[must_use]
pub fn facts(roots: &Roots) -> Facts {
    let refresh =
        RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refresh).ok();
    let system = system.as_ref();
    Facts {
        os: bounded(os(&roots.rootfs).or_else(|| System::long_os_version().ok()).unwrap_or_default()),
        kernel: bounded(System::kernel_version().unwrap_or_default()),
        architecture: bounded(System::cpu_arch()),
        cpus: system.and_then(|system| system.cpus().len().try_into().ok()).unwrap_or_default(),
        memory_bytes: system.map(System::total_memory).unwrap_or_default(),
        boot_time_seconds: System::boot_time().unwrap_or_default(),
    }
}

/// What os-release says, which only Linux has everywhere.
#[cfg(target_os = "linux")]
fn os(rootfs: &Path) -> Option<String> {
    use crate::linux::os_release;

    let mut content = Vec::new();
    os_release::read(rootfs, &mut content);
    Some(os_release::value(&String::from_utf8_lossy(&content), "PRETTY_NAME")).filter(|name| !name.is_empty())
}

#[cfg(not(target_os = "linux"))]
fn os(_: &Path) -> Option<String> {
    None
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::fs;

    use super::*;

    #[test]
    fn this_machine_has_facts() {
        let facts = facts(&Roots::default());
        assert!(facts.cpus > 0 && facts.memory_bytes > 0 && facts.boot_time_seconds > 0, "{facts:?}");
        assert!(!facts.os.is_empty() && !facts.kernel.is_empty() && !facts.architecture.is_empty(), "{facts:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_operating_system_is_that_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs::write(root.path().join("usr/lib/os-release"), "NAME=x\nPRETTY_NAME=\"Example OS 7\"\nID=x\n").unwrap();
        let roots = Roots { rootfs: root.path().to_owned(), ..Roots::default() };
        assert_eq!(facts(&roots).os, "Example OS 7");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("ü".repeat(200)).len(), 256);
        assert_eq!(bounded(format!("a{}", "ü".repeat(200))).len(), 255);
    }
}
