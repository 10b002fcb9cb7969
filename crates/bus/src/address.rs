//! Where Redis is: `redis://HOST[:PORT][/DATABASE]`, the same with `rediss://` for TLS, or `redis+unix:///PATH[?db=DATABASE]`.
//!
//! A URL may hold a password by mistake, and it is printed in logs; so user info is refused, and no error repeats the text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a `redis://` URL that names none.
pub const DEFAULT_PORT: u16 = 6379;

const FORMS: &str =
    "expected redis://HOST[:PORT][/DATABASE], rediss://HOST[:PORT][/DATABASE] or redis+unix:///PATH[?db=DATABASE]";

/// The place of a Redis server. A database other than 0 needs `+select` in the user's ACL; channels are the same in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP port of a host.
    Tcp {
        /// A name, an IPv4 address or an IPv6 address without its brackets.
        host: String,
        /// The port, 1 to 65535.
        port: u16,
        /// The number of the database that holds the keys.
        database: u32,
        /// Whether the connection is encrypted: `rediss://`.
        tls: bool,
    },
    /// A unix socket of this machine.
    Unix {
        /// The absolute path of the socket.
        path: PathBuf,
        /// The number of the database that holds the keys.
        database: u32,
    },
}

/// A text that is no address of a Redis server. It says what is wrong, never what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(String);

impl Address {
    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// The number of the database that holds the keys.
    #[must_use]
    pub fn database(&self) -> u32 {
        match self {
            Self::Tcp { database, .. } | Self::Unix { database, .. } => *database,
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(FORMS))?;
        match scheme {
            "redis" => parse_tcp(rest, false),
            "rediss" => parse_tcp(rest, true),
            "redis+unix" => parse_unix(rest),
            _ => Err(wrong(FORMS)),
        }
    }
}

fn parse_tcp(rest: &str, tls: bool) -> Result<Address, InvalidAddress> {
    if rest.contains('@') {
        return Err(wrong("a user name or password does not belong in the URL, use username and password_file"));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong(format!("a redis:// URL has no parameters, {FORMS}")));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or_else(|| wrong("the bracket [ is not closed"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(wrong("between [ and ] there is no IPv6 address"));
            }
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or_else(|| wrong(FORMS))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if port.contains(':') {
        return Err(wrong("an IPv6 address stands in brackets, as in redis://[::1]:6379"));
    }
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong(format!("the host is missing or not a name, {FORMS}")));
    }
    let port = match port {
        "" => DEFAULT_PORT,
        digits => match digits.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(wrong("the port is not a number from 1 to 65535")),
        },
    };
    let database = if path.is_empty() { 0 } else { parse_database(path)? };
    Ok(Address::Tcp { host: host.to_owned(), port, database, tls })
}

fn parse_unix(rest: &str) -> Result<Address, InvalidAddress> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.len() < 2 {
        return Err(wrong("the path of the socket is not absolute, as in redis+unix:///run/redis/redis.sock"));
    }
    let database = match query.strip_prefix("db=") {
        Some(number) => parse_database(number)?,
        None if query.is_empty() => 0,
        None => return Err(wrong(format!("the only parameter is db, {FORMS}"))),
    };
    Ok(Address::Unix { path: PathBuf::from(path), database })
}

fn parse_database(number: &str) -> Result<u32, InvalidAddress> {
    number.parse().map_err(|_| wrong("the database is not a number"))
}

fn wrong(what: impl Into<String>) -> InvalidAddress {
    InvalidAddress(what.into())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, database, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")?;
                } else {
                    write!(f, "{scheme}://{host}:{port}")?;
                }
                if *database == 0 { Ok(()) } else { write!(f, "/{database}") }
            }
            Self::Unix { path, database } => {
                write!(f, "redis+unix://{}", path.display())?;
                if *database == 0 { Ok(()) } else { write!(f, "?db={database}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_read_and_written_in_full() {
        for (text, written) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379"),
            ("redis://redis.example.net:7000/3", "redis://redis.example.net:7000/3"),
            ("redis://host/", "redis://host:6379"),
            ("rediss://redis.example.net", "rediss://redis.example.net:6379"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("redis://[fe80::1]:7000/1", "redis://[fe80::1]:7000/1"),
            ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
            ("redis+unix:///run/redis.sock?db=2", "redis+unix:///run/redis.sock?db=2"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong_and_repeat_nothing() {
        for (text, what) in [
            ("", "expected redis://"),
            ("localhost:6379", "expected redis://"),
            ("http://hidden", "expected redis://"),
            ("rediss://user:hidden@host", "password_file"),
            ("redis://", "host is missing"),
            ("redis://:6379", "host is missing"),
            ("redis://user:hidden@host", "password_file"),
            ("redis://:hidden@host:1/2", "password_file"),
            ("redis://host:0", "port"),
            ("redis://host:hidden", "port"),
            ("redis://host:65536", "port"),
            ("redis://::1", "brackets"),
            ("redis://[::1", "not closed"),
            ("redis://[hidden]", "IPv6"),
            ("redis://[::1]6379", "expected redis://"),
            ("redis://host/hidden", "database"),
            ("redis://host/-1", "database"),
            ("redis://host?password=hidden", "no parameters"),
            ("redis+unix://run/redis.sock", "not absolute"),
            ("redis+unix:///", "not absolute"),
            ("redis+unix:///run/redis.sock?password=hidden", "only parameter"),
            ("redis+unix:///run/redis.sock?db=hidden", "database"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
            assert!(!error.contains("hidden"), "{text}: {error}");
        }
    }
}
