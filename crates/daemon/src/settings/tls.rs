//! `[….tls]`: the files of a connection that is encrypted, in PEM.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use super::{Located, Place, Table};

/// The files that a connection needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsFiles {
    /// The certificates of the authorities that the peer may be certified by.
    pub ca: Option<Located<PathBuf>>,
    /// The certificate and its private key, to be shown when the peer asks for them.
    pub identity: Option<(Located<PathBuf>, Located<PathBuf>)>,
}

/// What stands in the files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsPem {
    /// As [`TlsFiles::ca`].
    pub ca: Option<Vec<u8>>,
    /// As [`TlsFiles::identity`].
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// A file that cannot be used, and where it is named. Displays as a mistake does.
#[derive(Debug)]
pub struct UnusableFile {
    /// Where it is named.
    pub place: Place,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for UnusableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Error for UnusableFile {}

impl TlsFiles {
    /// Reads the keys `ca_file`, `cert_file` and `key_file`.
    pub fn read(mut table: Table<'_>) -> Self {
        let [ca, certificate, key] =
            ["ca_file", "cert_file", "key_file"].map(|name| Some(table.string(name)?.map(PathBuf::from)));
        for (there, missing) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            if table.has(there) && !table.has(missing) {
                table.mistakes().add(&table.place_of(there), format_args!("needs {missing} beside it"));
            }
        }
        table.finish();
        Self { ca, identity: certificate.zip(key) }
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.ca.is_none() && self.identity.is_none()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// The first one that cannot be read or is not in PEM.
    pub fn load(&self) -> Result<TlsPem, UnusableFile> {
        let identity = match &self.identity {
            Some((certificate, key)) => Some((pem(certificate)?, pem(key)?)),
            None => None,
        };
        Ok(TlsPem { ca: self.ca.as_ref().map(pem).transpose()?, identity })
    }
}

fn pem(file: &Located<PathBuf>) -> Result<Vec<u8>, UnusableFile> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let wrong = |what| UnusableFile { place: file.place.clone(), what };
    let name = file.value.display();
    let pem = std::fs::read(&file.value).map_err(|error| wrong(format!("{name} cannot be read: {error}")))?;
    match pem.windows(BEGIN.len()).any(|part| part == BEGIN) {
        true => Ok(pem),
        false => Err(wrong(format!("{name} is not in PEM: no line begins with -----BEGIN"))),
    }
}

/// The key is a secret.
impl fmt::Debug for TlsPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsPem {{ ca: {}, identity: {} }}", self.ca.is_some(), self.identity.is_some())
    }
}
