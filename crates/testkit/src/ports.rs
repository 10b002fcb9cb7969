//! TCP ports for processes that cannot be told to take any free one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which Linux takes the ports of outgoing connections (32768 and up): a client that tries to
/// reach a stopped process would otherwise sooner or later get the very port as its own, and be connected to itself.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens, and which this process hands out once. Test programs that run at the
/// same time begin at different places of the range.
///
/// # Errors
/// When the whole range is taken.
pub fn free_port() -> Result<u16> {
    let begin = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    for _ in 0..COUNT {
        let offset = (begin + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + offset as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on 127.0.0.1 from {FIRST} on")
}
