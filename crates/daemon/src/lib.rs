//! How a daemon of hostwatch lives, whatever it does: its settings files, signals, readiness, watchdog, tasks and log.
//!
//! Nothing here knows of hosts, Redis or metrics, so that both daemons live by the same rules.

pub mod exit;
pub mod files;
mod limiter;
pub mod logging;
pub mod sealed;
mod secret;
mod service_manager;
pub mod settings;
mod signals;
mod tasks;
mod watchdog;

pub use limiter::OncePerMinute;
pub use secret::Secret;
pub use service_manager::ServiceManager;
pub use signals::{Signal, Signals};
pub use tasks::Tasks;
/// Whether the daemon is to stop: a state that a task can look at or wait for at any time, never an event that it can miss.
pub use tokio_util::sync::CancellationToken as Shutdown;
pub use watchdog::{Pulse, Watchdog};
