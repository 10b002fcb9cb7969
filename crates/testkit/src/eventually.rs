//! Waiting: a condition is polled until it holds or a deadline has passed. Nothing else in the repository sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often [`eventually`] asks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Polls until `poll` succeeds and hands out what it returned.
///
/// # Errors
/// When `deadline` has passed: names `what` was waited for and the last reason why it was not so.
pub fn eventually<T>(what: &str, deadline: Duration, poll: impl FnMut() -> Result<T>) -> Result<T> {
    eventually_every(INTERVAL, what, deadline, poll)
}

/// Like [`eventually`], for measurements that need another interval than 20 ms.
///
/// # Errors
/// As [`eventually`].
pub fn eventually_every<T>(
    interval: Duration,
    what: &str,
    deadline: Duration,
    mut poll: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match poll() {
            Ok(value) => return Ok(value),
            Err(reason) if start.elapsed() >= deadline => bail!("{what}: not within {deadline:?}: {reason:#}"),
            Err(_) => pause(interval),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one pause between two looks at a condition that has a deadline")]
fn pause(interval: Duration) {
    std::thread::sleep(interval);
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_first_success_is_handed_out() {
        let mut calls = 0;
        let value = eventually("three calls", Duration::from_secs(60), || {
            calls += 1;
            (calls == 3).then_some(calls).context("too early")
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_passed_deadline_tells_the_last_reason() {
        let mut calls = 0;
        let error = eventually("a miracle", Duration::from_millis(1), || -> Result<()> {
            calls += 1;
            Err(anyhow!("call {calls}").context("no miracle"))
        })
        .unwrap_err()
        .to_string();
        assert_eq!(error, format!("a miracle: not within 1ms: no miracle: call {calls}"));
    }
}
