//! How hostwatch's messages travel: one connection to Redis that comes back by itself.
//!
//! [`link`] gives a [`Link`], which everybody who speaks clones, and a [`Driver`], which one task runs. What arrives goes
//! into an [`Inbox`] that is bounded by count and by bytes. A command never waits for a connection: while there is none it
//! fails at once, so that its caller decides what becomes of the message.

mod address;
mod backoff;
mod driver;
mod error;
mod inbox;
mod link;
mod quota;
mod session;
mod settings;
mod subscriptions;

pub use address::{Address, DEFAULT_PORT, InvalidAddress};
pub use driver::Driver;
pub use error::Error;
pub use inbox::{Inbox, InboxSender, Message, inbox};
pub use link::{Link, LinkState, Retained, link};
pub use quota::{Flood, Quota};
pub use settings::{Password, Settings, Timing, Tls};
