//! What hostwatch measures on a host: one plugin is one file here and one line in [`PLUGINS`].
//!
//! A plugin gets its roots, its parameters and a sink for samples. It knows nothing of Redis, of intervals or of
//! other plugins: whoever runs it does the timing, and a plugin that fails costs its own results only.

mod cpu;
mod facts;
mod fields;
mod kernel_file;
mod load;
mod memory;
mod options;
mod page;
mod plugin;
mod samples;

pub use facts::facts;
pub use options::{BuildError, Options};
pub use page::write_text;
pub use plugin::{Build, CollectError, Descriptor, PLUGINS, Plugin, Roots, find};
pub use samples::Samples;
