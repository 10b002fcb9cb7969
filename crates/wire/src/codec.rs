//! Bytes to messages and back: one version byte, then MessagePack with named fields.

use serde::{Deserialize, Serialize};

use crate::{HostMessage, ServerMessage};

/// The version byte that this build writes, and the only one that it reads.
pub const PROTOCOL_VERSION: u8 = 1;

/// The largest message, version byte included. Redis with `proto-max-bulk-len 1mb` refuses more at its sender.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Our own messages nest six deep; what is deeper is an attack on the stack.
const MAX_DEPTH: usize = 32;

/// An error quotes what it did not expect, however long that is; a log line carries only so much of it.
const MAX_REASON_BYTES: usize = 512;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message of {0} bytes is above the limit of {MAX_MESSAGE_BYTES}")]
    TooLong(usize),
    /// A version byte that this build does not know, or no byte at all.
    #[error("unknown protocol version {}", .0.map_or("(empty message)".to_owned(), |version| version.to_string()))]
    UnknownVersion(Option<u8>),
    /// Anything else.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// A message that would be longer than [`MAX_MESSAGE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is above the limit of {MAX_MESSAGE_BYTES}")]
pub struct EncodeError(pub usize);

impl<'a> HostMessage<'a> {
    /// Reads a message; strings and values of a report stay in `bytes`.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes: nothing of them is trusted.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// Writes the message to `buffer`, replacing what it held.
    ///
    /// # Errors
    /// When it is too long; the buffer's content is then of no use.
    pub fn encode(&self, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(self, buffer)
    }
}

impl ServerMessage {
    /// Reads a message.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes: nothing of them is trusted.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// The message as bytes.
    ///
    /// # Errors
    /// When it is too long.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut buffer = Vec::new();
        encode(self, &mut buffer)?;
        Ok(buffer)
    }
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    match bytes {
        [PROTOCOL_VERSION, body @ ..] => from_bytes(body).map_err(DecodeError::Malformed),
        _ => Err(DecodeError::UnknownVersion(bytes.first().copied())),
    }
}

/// Reads one MessagePack value that fills `bytes` to the end, or says what is wrong with it.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    read(bytes).map_err(|error| {
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
        reason
    })
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)?;
    // The deserializer does not tell where it stands, but at the end it finds no further value.
    match serde::de::IgnoredAny::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(serde::de::Error::custom("there are bytes behind the message")),
    }
}

fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    buffer.clear();
    buffer.push(PROTOCOL_VERSION);
    rmp_serde::encode::write_named(buffer, message).expect("our messages hold nothing that MessagePack lacks");
    if buffer.len() > MAX_MESSAGE_BYTES { Err(EncodeError(buffer.len())) } else { Ok(()) }
}
