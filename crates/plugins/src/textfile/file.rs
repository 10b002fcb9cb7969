//! One file of a directory, read again only when it has changed.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hostwatch_wire::MAX_LABEL_VALUE_BYTES;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::exposition::{MAX_PAGE_BYTES, Origin, Page};

/// A file that was changed so shortly before it was read may change again within the same tick of the clock that its
/// time is told by.
const SETTLED_SECONDS: i64 = 2;

/// A file and what it says.
pub(super) struct TextFile {
    name: String,
    path: String,
    /// What tells the content that was read last apart from any other.
    stamp: Option<Stamp>,
    changed_at: f64,
    page: Page,
    mistake: Option<String>,
}

/// The widths are those that hold what any system has.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: (i128, u64),
    size: i64,
    modified: (i64, i128),
    changed: (i64, i128),
}

impl TextFile {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        let path = directory.join(name).to_string_lossy().into_owned();
        let (page, name) = (Page::default(), name.to_owned());
        Self { name, path, stamp: None, changed_at: 0.0, page, mistake: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// When it was changed last, in seconds.
    pub(super) fn changed_at(&self) -> f64 {
        self.changed_at
    }

    /// What it says, which is nothing after a mistake.
    pub(super) fn page(&self) -> &Page {
        &self.page
    }

    pub(super) fn mistake(&self) -> Option<&str> {
        self.mistake.as_deref()
    }

    /// Forgets what it says, until it is read the next time.
    pub(super) fn leave_out(&mut self) {
        self.page.clear();
        self.stamp = None;
    }

    /// Reads it anew unless it is the same as before.
    pub(super) fn read(&mut self, directory: &OwnedFd, content: &mut Vec<u8>) {
        let same = |stat: &Stat| self.stamp.as_ref() == Some(&Stamp::of(stat));
        if statat(directory, &*self.name, AtFlags::empty()).is_ok_and(|stat| same(&stat)) {
            return;
        }
        self.mistake = self.read_anew(directory, content).err().map(|what| format!("{}{what}", self.path));
        if self.mistake.is_some() {
            self.page.clear();
        }
    }

    fn read_anew(&mut self, directory: &OwnedFd, content: &mut Vec<u8>) -> Result<(), String> {
        self.stamp = None;
        if self.path.len() > MAX_LABEL_VALUE_BYTES {
            return Err(": the path is too long".to_owned());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(directory, &*self.name, flags, Mode::empty()).map_err(|errno| format!(": {errno}"))?;
        let stat = fstat(file.as_fd()).map_err(|errno| format!(": {errno}"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
        let stamp = Stamp::of(&stat);
        // Whatever is wrong with the content is wrong until the file changes.
        self.stamp = Some(stamp).filter(|stamp| now > stamp.changed.0.saturating_add(SETTLED_SECONDS));
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(": this is no file".to_owned());
        }
        content.clear();
        let read = File::from(file).take(MAX_PAGE_BYTES as u64 + 1).read_to_end(content);
        read.map_err(|error| format!(": {error}"))?;
        self.changed_at = stat.st_mtime as f64 + stat.st_mtime_nsec as f64 / 1e9;
        self.page.parse(content, Origin::File).map_err(|mistake| format!(":{}: {}", mistake.line, mistake.what))
    }
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: (stat.st_dev.into(), stat.st_ino),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec.into()),
            changed: (stat.st_ctime, stat.st_ctime_nsec.into()),
        }
    }
}
