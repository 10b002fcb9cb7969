//! A connection to D-Bus which asks and is answered, and waits while it does: plugins are synchronous. zbus knows how
//! messages are written; what travels is here. Source: the D-Bus Specification.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use zbus::wire::serialized::Data;
use zbus::{Type, Variant};

use super::message::{self, Call, FIXED_BYTES, Incoming};

const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const DBUS: &str = "org.freedesktop.DBus";

/// The bus takes from the kernel who we are; the empty answer keeps us from claiming a number, which inside a namespace
/// of users would be another one.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// How the names begin of the errors that say that something does not exist.
const UNKNOWN: [&str; 2] = ["org.freedesktop.DBus.Error.Unknown", "org.freedesktop.systemd1.NoSuchUnit"];
/// The longest line of its answer that is read.
const MAX_LINE_BYTES: usize = 1_024;

/// What ends a conversation.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not let us in: {0:?}")]
    Refused(String),
    #[error("not a message of D-Bus: {0}")]
    Malformed(&'static str),
    #[error("not a message of D-Bus: {0}")]
    Wire(#[from] zbus::wire::Error),
    /// The answer to a question without which nothing can be said.
    #[error("systemd does not answer: {0}")]
    Failed(String),
}

/// What came back.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    Returned(Data<'a, 'static>),
    /// The name of an error.
    Failed(String),
}

pub(super) struct Bus {
    stream: UnixStream,
    /// The number of the last call.
    serial: u32,
    /// Calls that are not sent yet.
    outgoing: Vec<u8>,
    /// The numbers of those that are not answered yet.
    waiting: VecDeque<u32>,
    incoming: Vec<u8>,
}

impl Bus {
    /// Connects and introduces itself. Every single wait takes at most `timeout`.
    pub(super) fn connect(socket: &Path, timeout: Duration) -> Result<Self, BusError> {
        let mut stream = UnixStream::connect(socket)?;
        // A wait of nothing would be one without end.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        stream.write_all(GREETING)?;
        for expected in ["DATA", "OK "] {
            let line = line(&mut stream)?;
            if !line.starts_with(expected) {
                return Err(BusError::Refused(line));
            }
        }
        let mut bus = Self { stream, serial: 0, outgoing: Vec::new(), waiting: VecDeque::new(), incoming: Vec::new() };
        let path = "/org/freedesktop/DBus";
        bus.send(&Call { destination: DBUS, path, interface: DBUS, member: "Hello", arguments: &[] });
        bus.answer()?;
        Ok(bus)
    }

    /// Asks for all units.
    pub(super) fn list_units(&mut self) {
        self.call(MANAGER_PATH, MANAGER, "ListUnits", &[]);
    }

    /// Asks for a property of an object.
    pub(super) fn get(&mut self, path: &str, interface: &str, property: &str) {
        self.call(path, PROPERTIES, "Get", &[interface, property]);
    }

    fn call(&mut self, path: &str, interface: &str, member: &str, arguments: &[&str]) {
        self.send(&Call { destination: SYSTEMD, path, interface, member, arguments });
    }

    fn send(&mut self, call: &Call<'_>) {
        self.serial += 1;
        call.write(self.serial, &mut self.outgoing);
        self.waiting.push_back(self.serial);
    }

    /// The answer to the first call that has none yet.
    pub(super) fn answer(&mut self) -> Result<Answer<'_>, BusError> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        let expected = self.waiting.pop_front().ok_or(BusError::Malformed("an answer without a question"))?;
        loop {
            self.read()?;
            match message::parse(&self.incoming)? {
                // systemd answers in the order of the questions, and the bus itself when there is no systemd.
                Incoming::Return { serial, .. } | Incoming::Error { serial, .. } if serial != expected => {
                    return Err(BusError::Malformed("an answer to another question"));
                }
                Incoming::Error { name, .. } => return Ok(Answer::Failed(name)),
                Incoming::Return { .. } => break,
                Incoming::Other => {}
            }
        }
        match message::parse(&self.incoming)? {
            Incoming::Return { body, .. } => Ok(Answer::Returned(body)),
            _ => Err(BusError::Malformed("an answer")),
        }
    }

    /// Reads one message.
    fn read(&mut self) -> Result<(), BusError> {
        self.incoming.resize(FIXED_BYTES, 0);
        self.stream.read_exact(&mut self.incoming)?;
        let length = message::length(&self.incoming)?;
        self.incoming.resize(length, 0);
        Ok(self.stream.read_exact(&mut self.incoming[FIXED_BYTES..])?)
    }
}

impl<'a> Answer<'a> {
    /// What the body says; that there is none is an error.
    pub(super) fn body<'b, T: Deserialize<'b> + Type>(&'b self) -> Result<T, BusError> {
        match self {
            Self::Returned(body) => Ok(body.deserialize()?.0),
            Self::Failed(name) => Err(BusError::Failed(name.clone())),
        }
    }

    /// The value of a property; none when there is no such property, or no such unit any more.
    pub(super) fn value(&self) -> Result<Option<Variant<'_>>, BusError> {
        match self {
            Self::Failed(name) if UNKNOWN.iter().any(|unknown| name.starts_with(unknown)) => Ok(None),
            _ => self.body().map(Some),
        }
    }
}

/// A line without its end. It is read byte by byte, because a message may follow.
fn line(stream: &mut impl Read) -> Result<String, BusError> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
        if line.len() > MAX_LINE_BYTES {
            return Err(BusError::Malformed("a line without end"));
        }
    }
    Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_an_end() {
        let mut text: &[u8] = b"DATA\r\nOK 12\r\nrest";
        assert_eq!((line(&mut text).unwrap(), line(&mut text).unwrap()), ("DATA".to_owned(), "OK 12".to_owned()));
        assert_eq!(text, b"rest");
        assert!(matches!(line(&mut text), Err(BusError::Io(_))));
        let endless = [b'x'; 2 * MAX_LINE_BYTES];
        assert!(matches!(line(&mut endless.as_slice()), Err(BusError::Malformed("a line without end"))));
    }
}
