//! Which files were read and what they looked like then, so that a change of any of them is noticed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files that one reading looked at, in that order, with what they were like just before they were read.
#[derive(Debug, Clone, Default)]
pub(super) struct Witness(Vec<(PathBuf, Look)>);

/// What a file is like without reading it; `None` for one that is not there.
pub(super) type Look = Option<Stamp>;

/// What changes with a file's content, its owner or its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Of the inode, which a program cannot set back.
    changed: (i64, i64),
}

impl Witness {
    /// Reads a file and remembers what it was like.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // Looked at first: a change while it is read is noticed by the next look, never missed.
        self.0.push((path.to_owned(), look(path)));
        fs::read(path)
    }

    /// What the files were like.
    pub(super) fn then(&self) -> Vec<Look> {
        self.0.iter().map(|(_, look)| *look).collect()
    }

    /// What the files are like now.
    pub(super) fn now(&self) -> Vec<Look> {
        self.0.iter().map(|(path, _)| look(path)).collect()
    }
}

/// Through links, because those who hand out certificates change where a link leads.
fn look(path: &Path) -> Look {
    fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
