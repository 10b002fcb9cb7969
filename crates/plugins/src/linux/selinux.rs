//! The state of SELinux, from /sys/fs/selinux. Source: security/selinux/selinuxfs.c of the kernel.

use crate::linux::kernel_file::KernelFile;
use crate::linux::sysctl;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "selinux",
    collector: "selinux",
    about: "whether SELinux is on and enforces its policy, from /sys/fs/selinux",
    on_by_default: true,
    build: |roots, _| {
        Ok(Box::new(Selinux { enforce: KernelFile::of_short_lines(roots.sysfs.join("fs/selinux/enforce")) }))
    },
};

struct Selinux {
    enforce: KernelFile,
}

impl Plugin for Selinux {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        // The file system is mounted exactly when SELinux is on.
        let enforces = sysctl::number(&mut self.enforce)?;
        let enabled = f64::from(u8::from(enforces.is_some()));
        samples.gauge("node_selinux_enabled", "Whether SELinux is on (1) or off (0).", enabled);
        if let Some(enforces) = enforces {
            let help = "Whether SELinux enforces its policy (1) or only logs (0).";
            samples.gauge("node_selinux_current_mode", help, enforces);
        }
        Ok(())
    }
}
