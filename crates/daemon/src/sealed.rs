//! Files in the state directory: one line that names the kind, the version and the hash of what follows.
//! A file that was cut or changed is told from a good one before anybody reads its content.

use sha2::{Digest, Sha256};

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It does not begin as such a file does.
    #[error("this is no {} of {} in version {}", .0.name, .0.program, .0.version)]
    Header(Kind),
    /// The content is not what was written.
    #[error("the content does not match its checksum")]
    Checksum,
    /// The checksum holds, and still it cannot be read.
    #[error("{0}")]
    Content(String),
}

/// What a file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Who writes it.
    pub program: &'static str,
    /// What it holds, for people.
    pub name: &'static str,
    /// Grows when the content changes its form.
    pub version: u32,
}

impl Kind {
    /// The bytes of a file with `content`.
    #[must_use]
    pub fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = self.header(&hash(content)).into_bytes();
        bytes.extend_from_slice(content);
        bytes
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When it is of another kind or version, or not as it was written.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let header_error = || Broken::Header(*self);
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(header_error)?;
        let (header, content) = bytes.split_at(end + 1);
        let named = std::str::from_utf8(header).ok().and_then(|line| line.trim_end().rsplit(' ').next());
        let named = named.ok_or_else(header_error)?;
        if header != self.header(named).as_bytes() {
            return Err(header_error());
        }
        if hash(content) != named {
            return Err(Broken::Checksum);
        }
        Ok(content)
    }

    fn header(&self, hash: &str) -> String {
        format!("{} {} {} {hash}\n", self.program, self.name, self.version)
    }
}

/// The first half of a SHA-256: against accidents it is enough.
fn hash(content: &[u8]) -> String {
    Sha256::digest(content)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { program: "hostwatch", name: "thing", version: 1 };

    #[test]
    fn only_what_was_written_is_read() {
        let bytes = KIND.seal(b"one\ntwo");
        assert_eq!(KIND.open(&bytes).unwrap(), b"one\ntwo");
        assert_eq!(KIND.open(&bytes[..bytes.len() - 1]), Err(Broken::Checksum));
        let later = Kind { version: 2, ..KIND };
        assert_eq!(later.open(&bytes), Err(Broken::Header(later)));
        for junk in [&b""[..], b"\n", b"no line feed", b"\xff\xfe\n", b"thing 1 x\nabc"] {
            assert_eq!(KIND.open(junk), Err(Broken::Header(KIND)), "{junk:?}");
        }
    }
}
