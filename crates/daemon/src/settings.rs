//! Settings files: strict TOML, or YAML where others have set the format, whose mistakes are all reported in one run, each
//! with its file, line and key.
//!
//! A [`Document`] is parsed once, then read through [`Table`]s, which know what was asked for; `finish` reports the rest.
//! Nothing here reads files or the process's environment while it parses; both are passed in.

mod document;
mod environment;
mod mistakes;
mod place;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod values;
mod yaml;

pub use document::Document;
pub use environment::Environment;
pub use mistakes::{MistakeList, Mistakes};
pub use place::{Located, Place};
pub use table::{SecretSource, Table};
pub use tls::{TlsFiles, TlsPem, UnusableFile};
pub use values::Scalar;
