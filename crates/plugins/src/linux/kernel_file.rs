//! A file of procfs or sysfs that is read again and again: its descriptor stays open and its buffer is reused.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::io::Errno;

use crate::CollectError;
use crate::linux::fields::Malformed;
use crate::refresh::{FACTS_AGE, Refresh};

/// The most that is read of one file: 4,096 processors make half a megabyte of /proc/stat.
const MAX_BYTES: usize = 16 << 20;
const FIRST_BUFFER_BYTES: usize = 8 << 10;
/// seq_file hands out whole lines from a buffer of at least a page, and fewer only where the next one has no room or there is
/// none. Source: Documentation/filesystems/seq_file.rst, `seq_read_iter` in fs/seq_file.c.
const PAGE_BYTES: usize = 4 << 10;
const SHORT_LINE_BYTES: usize = 1 << 10;

/// One file and what it said last.
#[derive(Debug)]
pub(crate) struct KernelFile {
    path: PathBuf,
    file: Option<File>,
    /// Whether it can be replaced by another one of its name, as no file of procfs can.
    replaceable: bool,
    /// Of procfs, a file has ended when less is read than there is room for, and its content is shorter than this.
    ends_below: usize,
    /// There was no such file: when it is looked for again.
    refresh: Refresh,
    /// All of it is initialized; the content is what stands before the length that the last read returned.
    buffer: Vec<u8>,
}

impl KernelFile {
    /// Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        let (buffer, refresh) = (vec![0; FIRST_BUFFER_BYTES], Refresh::every(FACTS_AGE));
        Self { path, file: None, replaceable: true, ends_below: 0, refresh, buffer }
    }

    /// One without lines longer than [`SHORT_LINE_BYTES`]: then it is known without another read when a file of procfs has
    /// ended, and for some files the kernel would do all its work a second time for that.
    pub(crate) fn of_short_lines(path: PathBuf) -> Self {
        Self { ends_below: PAGE_BYTES - SHORT_LINE_BYTES, ..Self::new(path) }
    }

    /// One that the kernel makes as a whole, by single_open(): it hands out as much of it as there is room for.
    pub(crate) fn of_one_piece(path: PathBuf) -> Self {
        Self { ends_below: usize::MAX, ..Self::new(path) }
    }

    /// Reads the file as it is now and gives its content to `parse`.
    pub(crate) fn parse<T>(&mut self, parse: impl FnOnce(&[u8]) -> Result<T, Malformed>) -> Result<T, CollectError> {
        match self.read() {
            Ok(length) => self.parse_buffer(length, parse),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Like [`KernelFile::parse`], and `None` where the kernel has no such file or has switched it off. It is looked for
    /// again after a while: a machine lacks something at every collection.
    pub(crate) fn parse_if_present<T>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, CollectError> {
        if !self.refresh.is_due() {
            return Ok(None);
        }
        match self.read() {
            Ok(length) => self.parse_buffer(length, parse).map(Some),
            Err(error) if is_absence(&error) => {
                self.file = None;
                self.refresh.done();
                Ok(None)
            }
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Whether the file may say something else than at the last call. Some files of procfs tell of a change by poll(2): those
    /// of mounts do, by `mounts_poll` in fs/proc_namespace.c. Any other file may.
    pub(crate) fn may_have_news(&self) -> bool {
        let Some(file) = self.file.as_ref().filter(|_| !self.replaceable) else { return true };
        let mut polled = [PollFd::new(file, PollFlags::PRI)];
        !matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
    }

    fn parse_buffer<T>(
        &self,
        length: usize,
        parse: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, CollectError> {
        parse(&self.buffer[..length]).map_err(|Malformed { expected, found }| {
            let path = self.path.clone();
            CollectError::Malformed { path, expected, found }
        })
    }

    fn unreadable(&mut self, error: io::Error) -> CollectError {
        // Whatever is wrong with the descriptor, the next collection begins with a new one.
        self.file = None;
        CollectError::Read { path: self.path.clone(), error }
    }

    /// Fills the buffer. At offset 0 the kernel makes the content anew; the reads that follow continue the same text.
    fn read(&mut self) -> io::Result<usize> {
        // One that was replaced has no name any more.
        let is_gone = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        if self.replaceable && self.file.as_ref().is_some_and(is_gone) {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            closed => {
                let file = closed.insert(File::open(&self.path)?);
                self.replaceable = fstatfs(&*file).is_ok_and(|system| system.f_type != PROC_SUPER_MAGIC);
                file
            }
        };
        let ends_below = if self.replaceable { 0 } else { self.ends_below };
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length >= MAX_BYTES {
                    return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
                }
                self.buffer.resize(2 * length, 0);
            }
            let room = self.buffer.len() - length;
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) if read < room && length + read < ends_below => return Ok(length + read),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether an error says that this machine does not have the thing.
fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, Unsupported};
    matches!(error.kind(), NotFound | NotADirectory | Unsupported)
        || matches!(Errno::from_io_error(error), Some(Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn content(file: &mut KernelFile) -> String {
        file.parse(|content| Ok(String::from_utf8_lossy(content).into_owned())).unwrap()
    }

    #[test]
    fn every_read_sees_the_file_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = KernelFile::new(path.clone());
        assert!(matches!(file.parse(|_| Ok(())), Err(CollectError::Read { .. })));

        fs::write(&path, "one").unwrap();
        assert_eq!(content(&mut file), "one");
        fs::write(&path, "2").unwrap();
        assert_eq!(content(&mut file), "2");
        fs::write(&path, "x".repeat(3 * FIRST_BUFFER_BYTES)).unwrap();
        assert_eq!(content(&mut file).len(), 3 * FIRST_BUFFER_BYTES);
        fs::write(&path, "").unwrap();
        assert_eq!(content(&mut file), "");

        let other = directory.path().join("other");
        fs::write(&other, "replaced").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(content(&mut file), "replaced");
        fs::remove_file(&path).unwrap();
        let error = file.parse(|_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("/file: "), "{error}");
    }

    #[test]
    fn short_and_long_files_of_procfs_are_read_to_their_end() {
        // They do not move, and /proc/kallsyms is a hundred times as long as a page.
        for path in ["/proc/filesystems", "/proc/devices", "/proc/iomem", "/proc/kallsyms", "/proc/sys/kernel/ostype"] {
            let expected = fs::read_to_string(path).unwrap();
            assert_eq!(content(&mut KernelFile::of_short_lines(path.into())), expected, "{path}");
        }
        // The figures move, but not their names.
        let names = |content: String| content.split_whitespace().filter(|word| word.parse::<i64>().is_err()).count();
        for path in ["/proc/net/netstat", "/proc/net/snmp6", "/proc/meminfo"] {
            let expected = names(fs::read_to_string(path).unwrap());
            let mut file = KernelFile::of_one_piece(path.into());
            file.buffer.truncate(1_000);
            assert_eq!((names(content(&mut file)), names(content(&mut file))), (expected, expected), "{path}");
        }
    }

    #[test]
    fn a_table_of_mounts_tells_of_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let exit = std::process::Command::new(program).args(arguments).arg(directory.path()).status().unwrap();
            assert!(exit.success(), "{program}: {exit}");
        };
        let mut file = KernelFile::new("/proc/self/mountinfo".into());
        assert!(file.may_have_news(), "it was never read");
        content(&mut file);
        // Others may mount something meanwhile, though not every time.
        let rests = |file: &KernelFile| (0..100).any(|_| !file.may_have_news());
        assert!(rests(&file));
        run("mount", &["-t", "tmpfs", "none"]);
        assert!(file.may_have_news() && rests(&file));
        run("umount", &[]);
        assert!(file.may_have_news() && rests(&file));
    }

    #[test]
    fn what_the_machine_lacks_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut file = KernelFile::new(path.clone());
        assert!(matches!(file.parse_if_present(|_| Ok(())), Ok(None)));
        fs::write(&path, "one").unwrap();
        assert!(matches!(file.parse_if_present(|_| Ok(())), Ok(None)), "it was looked for a moment ago");
        file.refresh.hasten();
        assert!(matches!(file.parse_if_present(|_| Ok(())), Ok(Some(()))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.parse_if_present(|_| Ok(())), Ok(None)));
        fs::create_dir(&path).unwrap();
        file.refresh.hasten();
        assert!(matches!(file.parse_if_present(|_| Ok(())), Err(CollectError::Read { .. })));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let mut file = KernelFile::new("/dev/zero".into());
        let error = file.parse(|_| Ok(())).unwrap_err().to_string();
        assert_eq!(error, "cannot read /dev/zero: longer than 16777216 bytes");
    }

    #[test]
    fn an_error_names_file_and_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "abc").unwrap();
        let error = KernelFile::new(path).parse(|content| Err::<(), _>(Malformed::new("a number", content)));
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("/file: expected a number, found \"abc\""), "{error}");
    }
}
