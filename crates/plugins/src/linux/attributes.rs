//! The small files below a directory of sysfs or procfs that has an entry for each device or process. They are opened for
//! each reading, because there may be thousands, but without an allocation; the directory stays open. Who reads many files
//! of few devices keeps them open with [`OpenFiles`], which takes a fifth of the time.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use crate::names::Names;

/// An attribute of sysfs is at most a page.
const MAX_BYTES: usize = 4_096;
/// Room for the usual name of a device and of an attribute.
const RELATIVE_BYTES: usize = 128;

/// Reads small files below a directory.
pub(crate) struct Attributes {
    path: PathBuf,
    directory: Option<OwnedFd>,
    relative: String,
    buffer: Vec<u8>,
}

impl Attributes {
    /// Opens nothing yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        let buffer = vec![0; MAX_BYTES];
        Self { path, directory: None, relative: String::with_capacity(RELATIVE_BYTES), buffer }
    }

    /// Reads which devices there are now: none where there is no such directory. It is opened anew, because the kernel
    /// may have taken it away and made another one of the same name.
    pub(crate) fn list(&mut self, devices: &mut Names) {
        devices.clear();
        self.directory = None;
        if let Some(directory) = self.directory() {
            devices.read(directory);
        }
    }

    /// Reads the names in the directory `device/folder`: none where there is no such.
    pub(crate) fn list_below(&mut self, device: &str, folder: &str, names: &mut Names) {
        names.clear();
        if let Some(directory) = self.open(device, folder, OFlags::DIRECTORY) {
            names.read(directory);
        }
    }

    /// How many names there are in the directory `device/folder`; `None` when they cannot be seen. Since Linux 6.2 procfs
    /// tells everybody how many descriptors a process has open, as the size of their directory.
    pub(crate) fn count_below(&mut self, device: &str, folder: &str, names: &mut Names) -> Option<u64> {
        let folder_of_device = self.open(device, folder, OFlags::PATH | OFlags::DIRECTORY)?;
        let size = rustix::fs::fstat(&folder_of_device).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
        let is_procfs = rustix::fs::fstatfs(&folder_of_device).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC);
        if let (Some(count @ 1..), true) = (size, is_procfs) {
            return Some(count);
        }
        names.clear();
        names.read(self.open(device, folder, OFlags::DIRECTORY)?);
        Some(names.len() as u64)
    }

    /// The number of the directory of a device in the file system. The kernel never gives a number twice.
    pub(crate) fn inode(&mut self, device: &str) -> Option<u64> {
        let directory = self.directory()?;
        rustix::fs::statat(directory, device, AtFlags::empty()).ok().map(|stat| stat.st_ino)
    }

    /// Reads the files of a device called `names`, as they are now, and tells `say` the place of each in `names` and its
    /// text. `files` keeps them open.
    pub(crate) fn read<const N: usize>(
        &mut self,
        device: &str,
        names: &[&str; N],
        files: &mut OpenFiles<N>,
        say: impl FnMut(usize, Option<&str>),
    ) -> Reading {
        let inode = self.inode(device);
        if inode.is_none() || inode != files.of {
            files.close();
            // The way to it, which is long in sysfs, is gone once.
            match self.try_open(device, "", OFlags::PATH | OFlags::DIRECTORY) {
                Ok(directory) => files.open(&directory, names, inode),
                Err(Errno::NOENT | Errno::NOTDIR) => return Reading::Absent,
                Err(_) => return Reading::Failed,
            }
        }
        self.read_again(files, say);
        if files.of.is_some() { Reading::Whole } else { Reading::Partial }
    }

    /// Reads files of a device that is known to be the same as when [`Attributes::read`] opened them.
    pub(crate) fn read_again<const N: usize>(
        &mut self,
        files: &OpenFiles<N>,
        mut say: impl FnMut(usize, Option<&str>),
    ) {
        for (index, file) in files.files.iter().enumerate() {
            let length = file.as_ref().and_then(|file| rustix::io::pread(file, &mut *self.buffer, 0).ok());
            say(index, length.and_then(|length| text(&self.buffer[..length])));
        }
    }

    /// The first page of the file `device/name`. What cannot be read is absent: a driver answers with whatever error it
    /// likes when asked for something that its device lacks.
    pub(crate) fn bytes(&mut self, device: &str, name: &str) -> Option<&[u8]> {
        let file = self.open(device, name, OFlags::NONBLOCK)?;
        read(file, &mut self.buffer)
    }

    /// What the file `device/name` says, without the blanks around it.
    pub(crate) fn text(&mut self, device: &str, name: &str) -> Option<&str> {
        text(self.bytes(device, name)?)
    }

    /// Puts what the file `device/name` says into `text`: nothing when it cannot be read.
    pub(crate) fn copy(&mut self, device: &str, name: &str, text: &mut String) {
        text.clear();
        text.push_str(self.text(device, name).unwrap_or_default());
    }

    /// A number in the file `device/name`, decimal or, after `0x`, hexadecimal.
    pub(crate) fn number(&mut self, device: &str, name: &str) -> Option<f64> {
        number(self.text(device, name)?)
    }

    fn open(&mut self, device: &str, name: &str, flags: OFlags) -> Option<OwnedFd> {
        self.try_open(device, name, flags).ok()
    }

    fn try_open(&mut self, device: &str, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.relative.clear();
        self.relative.extend([device, "/", name]);
        let directory = opened(&mut self.directory, &self.path)?;
        rustix::fs::openat(directory, self.relative.as_str(), flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    fn directory(&mut self) -> Option<&OwnedFd> {
        opened(&mut self.directory, &self.path).ok()
    }
}

/// What [`Attributes::read`] has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All files that the device has were read.
    Whole,
    /// Some files could not be opened, which may be otherwise the next time.
    Partial,
    /// Not even the directory of the device could be opened.
    Failed,
    /// There is no such device.
    Absent,
}

/// Some files of one device that stay open; see [`Attributes::read`].
#[derive(Debug)]
pub(crate) struct OpenFiles<const N: usize> {
    /// The inode of the directory that they are in, once all are open that there are.
    of: Option<u64>,
    files: [Option<OwnedFd>; N],
}

impl<const N: usize> OpenFiles<N> {
    /// Opens nothing yet.
    pub(crate) fn new() -> Self {
        Self { of: None, files: [const { None }; N] }
    }

    /// Whether all are open that the device has.
    pub(crate) fn are_open(&self) -> bool {
        self.of.is_some()
    }

    /// Closes them, so that the next reading opens them again.
    pub(crate) fn close(&mut self) {
        *self = Self::new();
    }

    fn open(&mut self, directory: &OwnedFd, names: &[&str; N], inode: Option<u64>) {
        self.of = inode;
        for (file, name) in self.files.iter_mut().zip(names) {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            *file = match rustix::fs::openat(directory, *name, flags, Mode::empty()) {
                Ok(file) => Some(file),
                // What a device lacks, it lacks for its life.
                Err(Errno::NOENT) => None,
                // Too many open files, for example.
                Err(_) => {
                    self.of = None;
                    None
                }
            };
        }
    }
}

fn opened<'a>(directory: &'a mut Option<OwnedFd>, path: &Path) -> Result<&'a OwnedFd, Errno> {
    if let Some(open) = directory {
        return Ok(open);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(directory.insert(rustix::fs::open(path, flags, Mode::empty())?))
}

fn read(file: OwnedFd, buffer: &mut [u8]) -> Option<&[u8]> {
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    Some(&buffer[..length])
}

fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().map(str::trim)
}

/// A number, decimal or, after `0x`, hexadecimal.
pub(crate) fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|value| value as f64),
        None => text.parse::<i128>().ok().map(|value| value as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn attributes_of_every_kind() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        for (name, text) in [("n", "-1\n"), ("x", "0x1003\n"), ("t", " up \n"), ("e", ""), ("b", "\u{fffd}12")] {
            fs::write(root.path().join("d").join(name), text).unwrap();
        }
        fs::write(root.path().join("d/raw"), [0xff, 0x31]).unwrap();
        fs::write(root.path().join("d/huge"), "9".repeat(3 * MAX_BYTES)).unwrap();
        let mut attributes = Attributes::new(root.path().to_owned());
        assert_eq!(attributes.number("d", "n"), Some(-1.0));
        assert_eq!(attributes.number("d", "x"), Some(4_099.0));
        assert_eq!(attributes.text("d", "t"), Some("up"));
        for name in ["t", "e", "b", "raw", "huge", "missing"] {
            assert_eq!(attributes.number("d", name), None, "{name}");
        }
        assert_eq!(attributes.text("d", "raw"), None);
    }

    #[test]
    fn open_files_are_those_of_the_device_that_has_the_name_now() {
        let root = tempfile::tempdir().unwrap();
        let write =
            |device: &str, name: &str, text: &str| fs::write(root.path().join(device).join(name), text).unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        write("d", "a", "1\n");
        let mut attributes = Attributes::new(root.path().to_owned());
        let mut files = OpenFiles::new();
        let mut said = || {
            let mut said = Vec::new();
            let reading = attributes.read("d", &["a", "b"], &mut files, |_, text| said.push(text.map(str::to_owned)));
            assert_eq!(files.are_open(), reading == Reading::Whole);
            (reading, said.into_iter().flatten().collect::<Vec<_>>())
        };
        assert_eq!(said(), (Reading::Whole, vec!["1".to_owned()]));
        write("d", "a", "2\n");
        assert_eq!(said(), (Reading::Whole, vec!["2".to_owned()]));
        fs::rename(root.path().join("d"), root.path().join("other")).unwrap();
        assert_eq!(said(), (Reading::Absent, vec![]));
        // A link to itself cannot be opened.
        symlink("d", root.path().join("d")).unwrap();
        assert_eq!(said(), (Reading::Failed, vec![]));
        fs::remove_file(root.path().join("d")).unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        write("d", "a", "3\n");
        symlink("b", root.path().join("d/b")).unwrap();
        assert_eq!(said(), (Reading::Partial, vec!["3".to_owned()]));
        fs::remove_file(root.path().join("d/b")).unwrap();
        write("d", "b", "4\n");
        assert_eq!(said(), (Reading::Whole, vec!["3".to_owned(), "4".to_owned()]));
    }
}
