//! How a daemon of hostwatch lives, whatever it does: its settings files, signals, readiness, watchdog, tasks and log.
//!
//! Nothing here knows of hosts, Redis or metrics, so that both daemons live by the same rules.

pub mod files;
mod limiter;
pub mod logging;
mod secret;
pub mod settings;

pub use limiter::OncePerMinute;
pub use secret::Secret;
