//! The status file: what the main loop says of itself once a second at most, and how `health` judges it by its age.
//! Nothing here depends on Redis: an outage must not make every container unhealthy.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// A status that is older than this was not written by a loop that lives.
const MAX_AGE_MS: u64 = 30_000;

/// What the client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When it said so, in milliseconds since 1970.
    pub time_ms: u64,
    /// Its version.
    pub version: String,
    /// Its host.
    pub host: String,
    /// Its life, in hex.
    pub epoch: String,
    /// The sentence that systemd shows too.
    pub state: String,
    /// The server that has welcomed it, in hex.
    pub server: Option<String>,
    /// The configuration in force.
    pub revision: Option<String>,
    /// How many services run.
    pub services: usize,
    /// The newest report's number; 0 before the first.
    pub last_seq: u64,
    /// When it was made, in milliseconds since 1970.
    pub last_report_ms: Option<u64>,
    /// What the ring holds.
    pub ring: RingStatus,
    /// Messages that left the queue to Redis without being published.
    pub outbox_dropped: u64,
    /// Messages from Redis that found the queue to the main loop full.
    pub inbox_dropped: u64,
}

/// What the ring holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingStatus {
    /// Reports.
    pub reports: usize,
    /// Bytes, layouts included.
    pub bytes: usize,
    /// Reports that have left it since the start.
    pub dropped: u64,
}

/// Whether the client lives, by its status file; says what it says, or why it does not.
///
/// # Errors
/// A sentence for people.
pub fn health(file: &Path, wall_millis: u64) -> Result<String, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("it does not run: {shown}: {error}"))?;
    let status: Status =
        serde_json::from_slice(&text).map_err(|error| format!("{shown} is no status file: {error}"))?;
    let age = wall_millis.abs_diff(status.time_ms);
    if age >= MAX_AGE_MS {
        return Err(format!("hostwatch-client hangs or has ended: {shown} is {} s old", age / 1_000));
    }
    Ok(status.state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_goes_by_age() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("status.json");
        assert!(health(&file, 0).unwrap_err().contains("does not run"));
        std::fs::write(&file, "{").unwrap();
        assert!(health(&file, 0).unwrap_err().contains("no status file"));
        let status = Status {
            time_ms: 100_000,
            version: "1".to_owned(),
            host: "web01".to_owned(),
            epoch: "e".to_owned(),
            state: "waiting for Redis".to_owned(),
            server: None,
            revision: None,
            services: 0,
            last_seq: 0,
            last_report_ms: None,
            ring: RingStatus { reports: 0, bytes: 0, dropped: 0 },
            outbox_dropped: 0,
            inbox_dropped: 0,
        };
        std::fs::write(&file, serde_json::to_vec(&status).unwrap()).unwrap();
        assert_eq!(health(&file, 129_999), Ok("waiting for Redis".to_owned()));
        assert!(health(&file, 130_000).unwrap_err().contains("30 s old"));
    }
}
