//! Who speaks and what is meant: the identities on the wire, each with its grammar.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// A name that breaks the grammar of host ids and service names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid name: 1 to 128 characters out of A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or a digit"
)]
pub struct InvalidName(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName(excerpt(text))) }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <&str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

name! {
    /// One monitored machine. `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`: such an id cannot act as a pattern in a Redis ACL
    /// rule or subscription. Cheap to clone.
    HostId
}

name! {
    /// A plugin with an interval and parameters, as the operator named it; the grammar is that of [`HostId`].
    ServiceName
}

/// Whether `text` is `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// So much of a refused text as an error message may carry.
fn excerpt(text: &str) -> String {
    text.chars().take(128).collect()
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

random_id! {
    /// One life of a client process: random, never resumed.
    Epoch
}

random_id! {
    /// A server's lasting identity, kept in its state directory.
    ServerId
}

random_id! {
    /// One life of a server process: random, never resumed.
    Life
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The first 128 bits of SHA-256 (FIPS 180-4) over `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(digest(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_bytes(DigestVisitor).map(Self)
            }
        }
    };
}

digest! {
    /// The hash of a layout's canonical bytes. Not guessable by another host, since the server recomputes it.
    LayoutId
}

digest! {
    /// The hash of what a host configuration says, its revision aside.
    ContentHash
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let full: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

struct DigestVisitor;

impl Visitor<'_> for DigestVisitor {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("16 bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; 16], E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_names() {
        for good in ["a", "web01", "9", "db-1.example.net", "A_b", &"x".repeat(128)] {
            assert!(good.parse::<HostId>().is_ok(), "{good:?}");
        }
        for bad in ["", "-a", ".a", "_a", "a*", "a}", "{a", "a/b", "a b", "ü", "a\n", "a?", "a[", &"x".repeat(129)] {
            assert!(bad.parse::<HostId>().is_err(), "{bad:?}");
        }
    }
}
