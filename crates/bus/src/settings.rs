//! What a link has to know before it connects.

use std::fmt;
use std::time::Duration;

use crate::Address;

/// Where to connect, as whom, and how patient to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Redis server.
    pub address: Address,
    /// The ACL user. Without one it is Redis's `default` user.
    pub username: Option<String>,
    /// The password of that user. With a user name alone the password is sent empty, which suits a `nopass` user.
    pub password: Option<Password>,
    /// What the connection trusts and shows of itself, when the address asks for TLS.
    pub tls: Tls,
    /// What `CLIENT LIST` shows for this connection. Redis takes no spaces in it.
    pub client_name: String,
    /// Whether Redis is to keep this connection when connections take too much memory together.
    pub outlives_others: bool,
    /// Intervals and limits.
    pub timing: Timing,
}

/// A password. Its `Debug` is masked, and only the connection set-up reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes the password as Redis has it.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Certificates and keys, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that may certify Redis; without them the system's are.
    pub ca: Option<Vec<u8>>,
    /// The certificate and the private key that Redis may ask for.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The key is a secret.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls {{ ca: {}, identity: {} }}", self.ca.is_some(), self.identity.is_some())
    }
}

/// How often a link looks, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Time between two pings.
    pub ping_interval: Duration,
    /// A ping without an answer for so long ends the connection.
    pub ping_timeout: Duration,
    /// Longest time that one command, or one chunk of pipelined commands, may take.
    pub command_timeout: Duration,
    /// Longest time from the first packet until Redis has accepted the user.
    pub connect_timeout: Duration,
    /// The first wait before a new attempt is random, up to this; the following ones double it.
    pub backoff_min: Duration,
    /// No wait between two attempts is longer. A connection that lived for at least as long sets the waits back.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password() {
        let settings = Settings {
            address: "redis://localhost".parse().unwrap(),
            username: Some("web1".into()),
            password: Some(Password::new("hidden")),
            tls: Tls { ca: None, identity: Some((b"hidden".to_vec(), b"hidden".to_vec())) },
            client_name: "hostwatch-client".into(),
            outlives_others: false,
            timing: Timing::default(),
        };
        let text = format!("{settings:?}");
        assert!(text.contains("web1") && !text.contains("hidden"), "{text}");
    }
}
