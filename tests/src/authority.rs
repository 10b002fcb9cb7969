//! A private authority, made with openssl as its users would make one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use hostwatch_testkit::require;
use tempfile::TempDir;

/// A private authority with what it has certified, in files.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        let (key, certificate) = (authority.file("ca.key"), authority.file("ca.pem"));
        openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
            &[("-subj", Path::new("/CN=private authority")), ("-keyout", &key), ("-out", &certificate)],
        )?;
        Ok(authority)
    }

    /// `NAME.pem` and `NAME.key`, for what `names` says in openssl's words: `IP:127.0.0.1`.
    pub(crate) fn certify(&self, name: &str, names: &str) -> Result<()> {
        let (key, request) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.csr")));
        let (certificate, extensions) = (self.file(&format!("{name}.pem")), self.file("extensions"));
        std::fs::write(&extensions, format!("subjectAltName={names}\n"))?;
        openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
            &[("-subj", Path::new(&format!("/CN={name}"))), ("-keyout", &key), ("-out", &request)],
        )?;
        openssl(
            &["x509", "-req", "-CAcreateserial", "-days", "2"],
            &[
                ("-in", &request),
                ("-CA", &self.file("ca.pem")),
                ("-CAkey", &self.file("ca.key")),
                ("-extfile", &extensions),
                ("-out", &certificate),
            ],
        )
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn openssl(arguments: &[&str], files: &[(&str, &Path)]) -> Result<()> {
    let mut command = Command::new(require("openssl")?);
    command.args(arguments);
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
