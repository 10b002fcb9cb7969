//! What hostwatch measures on a host: one plugin is one file and one line in [`PLUGINS`].
//!
//! A plugin gets its roots, its parameters and a sink for samples. It knows nothing of Redis, of intervals or of
//! other plugins: whoever runs it does the timing, and a plugin that fails costs its own results only.

mod client;
mod exposition;
mod facts;
mod filter;
mod host_file;
mod ledger;
#[cfg(target_os = "linux")]
mod linux;
mod names;
mod options;
mod page;
mod plugin;
mod portable;
mod refresh;
mod samples;
mod scrape;
mod textfile;
mod time;

pub use exposition::{Mistake, Origin, Page};
pub use facts::facts;
pub use ledger::{Delivery, Ledger, Run};
pub use options::{BuildError, Options};
pub use plugin::{Access, Allowed, Build, CollectError, Descriptor, Directory, PLUGINS, Plugin, Roots, find};
pub use portable::PORTABLE;
pub use samples::Samples;
pub use scrape::{InvalidTarget, Target};
