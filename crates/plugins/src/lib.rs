//! What hostwatch measures on a host: one plugin is one file here and one line in [`PLUGINS`].
//!
//! A plugin gets its roots, its parameters and a sink for samples. It knows nothing of Redis, of intervals or of
//! other plugins: whoever runs it does the timing, and a plugin that fails costs its own results only.

mod arp;
mod attributes;
mod bonding;
mod client;
mod conntrack;
mod cpu;
mod cpufreq;
mod diskstats;
mod entropy;
mod exec;
mod exposition;
mod facts;
mod fields;
mod filefd;
mod filesystem;
mod filter;
mod host_file;
mod hwmon;
mod interrupts;
mod kernel_file;
mod kernel_hung;
mod ledger;
mod load;
mod mdadm;
mod memory;
mod names;
mod netclass;
mod netdev;
mod netstat;
mod options;
mod os;
mod os_release;
mod page;
mod plugin;
mod power_supply;
mod pressure;
mod process;
mod processes;
mod samples;
mod schedstat;
mod scrape;
mod selinux;
mod sockstat;
mod softnet;
mod stat;
mod sysctl;
mod systemd;
mod tcpstat;
mod textfile;
mod thermal;
mod time;
mod timex;
mod udp_queues;
mod uname;
mod vmstat;

pub use exposition::{Mistake, Origin, Page};
pub use facts::facts;
pub use ledger::{Delivery, Ledger, Run};
pub use options::{BuildError, Options};
pub use plugin::{Access, Allowed, Build, CollectError, Descriptor, Directory, PLUGINS, Plugin, Roots, find};
pub use samples::Samples;
pub use scrape::{InvalidTarget, Target};
