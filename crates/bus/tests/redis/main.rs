//! The link against a real redis-server, one private server per test.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic, in its helpers too")]

mod access;
mod commands;
mod guard;
mod outage;
mod subscriptions;
