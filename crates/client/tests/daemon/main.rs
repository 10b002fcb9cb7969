//! The real client against a real redis-server: what a server sees of it, and what people see of it.

#![expect(clippy::unwrap_used, reason = "a test helper that fails has to end its test")]

mod commands;
mod fake_server;
mod life;
