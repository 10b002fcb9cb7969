//! The trait that every plugin implements, and the slice that lists them all.

use std::collections::BTreeMap;
use std::io;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::{InvalidLayout, Parameters};

#[cfg(target_os = "linux")]
use crate::linux::{
    arp, bonding, conntrack, cpu, cpufreq, diskstats, entropy, exec, filefd, filesystem, hwmon, interrupts,
    kernel_hung, load, mdadm, memory, netclass, netdev, netstat, os, power_supply, pressure, process, processes,
    schedstat, selinux, sockstat, softnet, stat, systemd, tcpstat, thermal, timex, udp_queues, uname, vmstat,
};
use crate::options::{BuildError, Options};
#[cfg(not(target_os = "linux"))]
use crate::portable::{cpu, filesystem, load, memory, netdev};
use crate::scrape::Target;
use crate::{Ledger, Samples, client, scrape, textfile, time};

/// Every plugin of this build, sorted by name. What is said about plugins anywhere else derives from here.
#[cfg(target_os = "linux")]
pub static PLUGINS: &[Descriptor] = &[
    arp::DESCRIPTOR,
    bonding::DESCRIPTOR,
    client::DESCRIPTOR,
    conntrack::DESCRIPTOR,
    cpu::DESCRIPTOR,
    cpufreq::DESCRIPTOR,
    diskstats::DESCRIPTOR,
    entropy::DESCRIPTOR,
    exec::DESCRIPTOR,
    filefd::DESCRIPTOR,
    filesystem::DESCRIPTOR,
    hwmon::DESCRIPTOR,
    interrupts::DESCRIPTOR,
    kernel_hung::DESCRIPTOR,
    load::DESCRIPTOR,
    mdadm::DESCRIPTOR,
    memory::DESCRIPTOR,
    netclass::DESCRIPTOR,
    netdev::DESCRIPTOR,
    netstat::DESCRIPTOR,
    os::DESCRIPTOR,
    power_supply::DESCRIPTOR,
    pressure::DESCRIPTOR,
    process::DESCRIPTOR,
    processes::DESCRIPTOR,
    schedstat::DESCRIPTOR,
    scrape::DESCRIPTOR,
    selinux::DESCRIPTOR,
    sockstat::DESCRIPTOR,
    softnet::DESCRIPTOR,
    stat::DESCRIPTOR,
    systemd::DESCRIPTOR,
    tcpstat::DESCRIPTOR,
    textfile::DESCRIPTOR,
    thermal::DESCRIPTOR,
    time::DESCRIPTOR,
    timex::DESCRIPTOR,
    udp_queues::DESCRIPTOR,
    uname::DESCRIPTOR,
    vmstat::DESCRIPTOR,
];

/// Every plugin of this build, sorted by name. What only Linux has is not among them, and neither is `exec`: to end a
/// check with all its children takes a call of Linux.
#[cfg(not(target_os = "linux"))]
pub static PLUGINS: &[Descriptor] = &[
    client::DESCRIPTOR,
    cpu::DESCRIPTOR,
    filesystem::DESCRIPTOR,
    load::DESCRIPTOR,
    memory::DESCRIPTOR,
    netdev::DESCRIPTOR,
    scrape::DESCRIPTOR,
    textfile::DESCRIPTOR,
    time::DESCRIPTOR,
];

/// The plugin that is called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Descriptor> {
    PLUGINS.iter().find(|descriptor| descriptor.name == name)
}

/// Code that measures one thing, with whatever it keeps between two measurements.
pub trait Plugin: Send {
    /// Measures once and hands every sample to `samples`, which the caller begins and finishes. May block.
    ///
    /// # Errors
    /// What could not be read or understood; the samples so far are then worth nothing. To have nothing to report
    /// is no error.
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError>;
}

/// What there is to know about a plugin before it runs.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// The word in a service's `plugin = "…"`.
    pub name: &'static str,
    /// What node_exporter calls its collector of the same figures.
    pub collector: &'static str,
    /// What it measures and from where, in one sentence for people.
    pub about: &'static str,
    /// Whether it runs where nobody chose.
    pub on_by_default: bool,
    /// Makes an instance; [`Descriptor::build`] is how to call it.
    pub build: Build,
}

/// Makes an instance of a plugin from where the host is seen and what the service says.
pub type Build = fn(&Roots, &mut Options<'_>) -> Result<Box<dyn Plugin>, BuildError>;

impl Descriptor {
    /// Makes an instance that measures what it has access to, in at most `timeout` each time. Touches no file: what is
    /// missing shows when it runs.
    ///
    /// # Errors
    /// Names every parameter that is unknown or wrong.
    pub fn build(
        &self,
        access: &Access,
        parameters: &Parameters,
        timeout: Duration,
    ) -> Result<Box<dyn Plugin>, BuildError> {
        let mut options = Options::new(parameters, access, timeout);
        let plugin = (self.build)(&access.roots, &mut options);
        // The options know every mistake, while the plugin may have given up at its first.
        options.finish()?;
        plugin
    }

    /// The names of its parameters.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        let (parameters, access) = (Parameters::new(), Access::default());
        let mut options = Options::new(&parameters, &access, Duration::MAX);
        // Whether it can be made without any does not matter: it has asked for each.
        drop((self.build)(&access.roots, &mut options));
        options.known()
    }
}

/// What plugins may touch.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Where they read.
    pub roots: Roots,
    /// What they may do beyond reading there.
    pub allowed: Allowed,
    /// What the client knows of itself.
    pub ledger: Arc<Ledger>,
}

impl From<Roots> for Access {
    /// Access for reading alone.
    fn from(roots: Roots) -> Self {
        Self { roots, ..Self::default() }
    }
}

/// What the host's owner lets a server choose among, by the names that the owner gave; nothing unless the owner says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Programs with all their arguments.
    pub exec: BTreeMap<String, Vec<String>>,
    /// Exporters of Prometheus.
    pub scrape: BTreeMap<String, Target>,
    /// Directories with figures in files.
    pub textfile: BTreeMap<String, Directory>,
}

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it may be missing, because nobody named it.
    pub is_optional: bool,
}

/// Where the host is seen, which inside a container is not at the usual places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Where procfs is mounted.
    pub procfs: PathBuf,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// Where the host's root directory is.
    pub rootfs: PathBuf,
}

#[cfg(target_os = "linux")]
impl Roots {
    /// A file of the host's network, below `/proc/net`. That of a container is another one, so where the host is seen
    /// below a root of its own it is the network of the host's first process.
    pub(crate) fn network(&self, name: &str) -> PathBuf {
        let network = if self.rootfs == Path::new("/") { "net" } else { "1/net" };
        self.procfs.join(network).join(name)
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self { procfs: "/proc".into(), sysfs: "/sys".into(), rootfs: "/".into() }
    }
}

/// Why a plugin could not measure.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A file that cannot be opened or read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file that does not say what it should.
    #[error("{}: expected {expected}, found {found:?}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What should stand there.
        expected: &'static str,
        /// What stands there, shortened.
        found: String,
    },
    /// A command that cannot be run, or that has no end.
    #[error("{name}: {what}")]
    Command {
        /// What the host's owner calls it.
        name: String,
        /// What is wrong, for people.
        what: String,
    },
    /// An exporter that gives no page which could be read.
    #[error("{name}: {what}")]
    Target {
        /// What the host's owner calls it.
        name: String,
        /// What is wrong, for people.
        what: String,
    },
    /// The bus of the system, or who should answer there.
    #[error("cannot ask systemd through {}: {what}", path.display())]
    Bus {
        /// Where the bus listens.
        path: PathBuf,
        /// What is wrong, for people.
        what: String,
    },
    /// A plugin that needs a thread of its own, and the system gives none.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A figure that sysinfo, which the portable plugins ask, cannot find out.
    #[error("cannot learn {what}: {why}")]
    Unknown {
        /// Which figure, for people.
        what: &'static str,
        /// What is wrong, for people.
        why: String,
    },
    /// A clock of which the kernel does not tell the state.
    #[error("cannot read the state of the clock: {0}")]
    Clock(io::Error),
    /// Samples that make no layout, for example a series that came twice.
    #[error("unfit samples: {0}")]
    Layout(#[from] InvalidLayout),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slice_is_sorted_and_every_plugin_is_found_by_its_name() {
        assert!(PLUGINS.is_sorted_by_key(|descriptor| descriptor.name));
        for descriptor in PLUGINS {
            assert_eq!(find(descriptor.name).map(|found| found.collector), Some(descriptor.collector));
        }
        assert!(find("nonsense").is_none());
    }

    #[test]
    fn a_plugin_without_parameters_says_so() {
        let parameters = Parameters::from([("path".to_owned(), hostwatch_wire::Parameter::Boolean(true))]);
        let error = find("load").unwrap().build(&Access::default(), &parameters, Duration::MAX).err().unwrap();
        assert_eq!(error.to_string(), "path: unknown parameter; this plugin takes none");
    }
}
