//! Files in the state directory: one line that names the kind, the version and the hash of what follows.
//! A file that was cut or changed is told from a good one before anybody reads its content.

use hostwatch_wire::ContentHash;

const MAGIC: &str = "hostwatch-client";

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// It does not begin as such a file does.
    #[error("this is no {kind} of hostwatch-client in version {version}")]
    Header {
        /// What was expected.
        kind: &'static str,
        /// And in which version.
        version: u32,
    },
    /// The content is not what was written.
    #[error("the content does not match its checksum")]
    Checksum,
    /// The checksum holds, and still it cannot be read.
    #[error("{0}")]
    Content(String),
}

/// What a file is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// For people.
    pub(crate) name: &'static str,
    /// Grows when the content changes its form.
    pub(crate) version: u32,
}

impl Kind {
    /// The bytes of a file with `content`.
    #[must_use]
    pub(crate) fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = self.header(&ContentHash::of(content).to_string()).into_bytes();
        bytes.extend_from_slice(content);
        bytes
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When it is of another kind or version, or not as it was written.
    pub(crate) fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let header_error = || Broken::Header { kind: self.name, version: self.version };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(header_error)?;
        let (header, content) = bytes.split_at(end + 1);
        let hash = std::str::from_utf8(header).ok().and_then(|line| line.trim_end().rsplit(' ').next());
        let hash = hash.ok_or_else(header_error)?;
        if header != self.header(hash).as_bytes() {
            return Err(header_error());
        }
        if ContentHash::of(content).to_string() != hash {
            return Err(Broken::Checksum);
        }
        Ok(content)
    }

    fn header(&self, hash: &str) -> String {
        format!("{MAGIC} {} {} {hash}\n", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { name: "thing", version: 1 };

    #[test]
    fn only_what_was_written_is_read() {
        let bytes = KIND.seal(b"one\ntwo");
        assert_eq!(KIND.open(&bytes).unwrap(), b"one\ntwo");
        assert_eq!(KIND.open(&bytes[..bytes.len() - 1]), Err(Broken::Checksum));
        let later = Kind { version: 2, ..KIND };
        assert!(matches!(later.open(&bytes), Err(Broken::Header { .. })));
        for junk in [&b""[..], b"\n", b"no line feed", b"\xff\xfe\n", b"thing 1 x\nabc"] {
            assert!(matches!(KIND.open(junk), Err(Broken::Header { .. })), "{junk:?}");
        }
    }
}
