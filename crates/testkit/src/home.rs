//! The directory in which a guarded process keeps what is its own: temporary, or one that stays.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

pub(crate) enum Home {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Home {
    /// A directory of its own, gone with the guard; or `kept`, made if it is missing.
    pub(crate) fn new(name: &str, kept: Option<&Path>) -> Result<Self> {
        let Some(kept) = kept else {
            let directory = tempfile::Builder::new().prefix(&format!("{name}.")).tempdir();
            return Ok(Self::Temporary(directory.context("a temporary directory")?));
        };
        std::fs::create_dir_all(kept).with_context(|| format!("create {}", kept.display()))?;
        // A relative path would mean something else to a process with another working directory.
        Ok(Self::Kept(kept.canonicalize().with_context(|| kept.display().to_string())?))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(directory) => directory,
        }
    }

    /// A directory below the directory, made if it is missing.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file below the directory, with the folders above it.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path().join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}
