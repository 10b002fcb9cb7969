//! A backend on sysinfo, for systems other than Linux. Its series are those of the plugins for Linux, as far as sysinfo
//! knows the figures: what it does not know is left out.
//!
//! It is compiled on Linux too, where the tests compare it with those plugins and no service can choose it.

pub(crate) mod cpu;
pub(crate) mod filesystem;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod netdev;
#[cfg(any(test, not(target_os = "linux")))]
pub(crate) mod resident;

use sysinfo::System;

use crate::{CollectError, Descriptor};

/// The plugins of this backend, sorted by name. On systems other than Linux they are among
/// [`PLUGINS`](crate::PLUGINS) as well.
pub static PORTABLE: &[Descriptor] =
    &[cpu::DESCRIPTOR, filesystem::DESCRIPTOR, load::DESCRIPTOR, memory::DESCRIPTOR, netdev::DESCRIPTOR];

/// The system that a plugin keeps, which begins when it is asked for the first time.
fn begun(system: &mut Option<System>) -> Result<&mut System, CollectError> {
    match system {
        Some(system) => Ok(system),
        none => Ok(none.insert(System::new().map_err(unknown("anything about this system"))?)),
    }
}

/// Says which figure an error of sysinfo is about.
fn unknown(what: &'static str) -> impl FnOnce(sysinfo::Error) -> CollectError {
    move |error| CollectError::Unknown { what, why: error.to_string() }
}
