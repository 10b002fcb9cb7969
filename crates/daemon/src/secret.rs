//! A secret: read from a file, a systemd credential or the environment, and never printed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A password or token. Its Debug is masked; only [`Secret::expose`] hands out the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as it is, such as the value of an environment variable.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads the file at `path` and drops one line end from its end, because editors and `echo` leave one there.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8, or is empty; the error names `path`.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(named)?;
        let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() {
            return Err(named(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is empty; it has to hold the secret",
            )));
        }
        Ok(Self::new(text))
    }

    /// The systemd credential `name` (`LoadCredential=` in the unit), or `None` when there is none of that name.
    ///
    /// # Errors
    /// The credential is there but cannot be read, is not UTF-8, or is empty; the error names its path.
    pub fn credential(name: &str) -> io::Result<Option<Self>> {
        Self::credential_in(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from), name)
    }

    fn credential_in(directory: Option<PathBuf>, name: &str) -> io::Result<Option<Self>> {
        let Some(directory) = directory else { return Ok(None) };
        match Self::from_file(&directory.join(name)) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_without_its_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for (content, secret) in [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" p w \n\n", " p w \n")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Secret::from_file(&path).unwrap().expose(), secret);
        }
    }

    #[test]
    fn refuses_what_is_no_secret_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let refusal = || Secret::from_file(&path).unwrap_err().to_string();
        assert!(refusal().starts_with(&format!("{}: No such file", path.display())), "{}", refusal());
        for content in [&b"\n"[..], b"", b"\xff\xfe"] {
            std::fs::write(&path, content).unwrap();
            assert!(refusal().starts_with(&path.display().to_string()), "{}", refusal());
        }
    }

    #[test]
    fn a_credential_may_be_absent_but_not_broken() {
        let directory = tempfile::tempdir().unwrap();
        let credential = |name| Secret::credential_in(Some(directory.path().to_owned()), name);
        std::fs::write(directory.path().join("good"), "pw\n").unwrap();
        std::fs::write(directory.path().join("empty"), "").unwrap();
        assert_eq!(credential("good").unwrap(), Some(Secret::new("pw")));
        assert_eq!(credential("absent").unwrap(), None);
        assert!(credential("empty").is_err());
        assert_eq!(Secret::credential_in(None, "good").unwrap(), None);
    }

    #[test]
    fn is_never_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("pw"))), "Some(Secret(***))");
    }
}
