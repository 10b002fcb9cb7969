//! The small files below a directory of sysfs or procfs that has an entry for each device or process. They are opened for
//! each reading, because there may be thousands, but without an allocation; the directory stays open.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};

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

    /// The number of the directory of a device in the file system. The kernel never gives a number twice.
    pub(crate) fn inode(&mut self, device: &str) -> Option<u64> {
        let directory = self.directory()?;
        rustix::fs::statat(directory, device, AtFlags::empty()).ok().map(|stat| stat.st_ino)
    }

    /// Opens the directory of a device of which many files are wanted: the way to it, which is long in sysfs, is then
    /// gone once.
    pub(crate) fn device(&mut self, device: &str) -> Option<Device<'_>> {
        let directory = self.open(device, "", OFlags::PATH | OFlags::DIRECTORY)?;
        Some(Device { directory, buffer: &mut self.buffer })
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
        self.relative.clear();
        self.relative.extend([device, "/", name]);
        self.directory()?;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(self.directory.as_ref()?, self.relative.as_str(), flags, Mode::empty()).ok()
    }

    fn directory(&mut self) -> Option<&OwnedFd> {
        if self.directory.is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.directory = rustix::fs::open(&self.path, flags, Mode::empty()).ok();
        }
        self.directory.as_ref()
    }
}

/// The files of one device; see [`Attributes::device`].
pub(crate) struct Device<'a> {
    directory: OwnedFd,
    buffer: &'a mut [u8],
}

impl Device<'_> {
    /// What the file `name` says, without the blanks around it.
    pub(crate) fn text(&mut self, name: &str) -> Option<&str> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        text(read(file, self.buffer)?)
    }

    /// A number in the file `name`, as [`Attributes::number`] has it.
    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        number(self.text(name)?)
    }
}

fn read(file: OwnedFd, buffer: &mut [u8]) -> Option<&[u8]> {
    let length = rustix::io::read(&file, &mut *buffer).ok()?;
    Some(&buffer[..length])
}

fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().map(str::trim)
}

fn number(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|value| value as f64),
        None => text.parse::<i128>().ok().map(|value| value as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let mut device = attributes.device("d").unwrap();
        assert_eq!(device.text("t"), Some("up"));
        assert_eq!(device.text("raw"), None);
        assert_eq!((device.number("x"), device.number("missing")), (Some(4_099.0), None));
        assert!(attributes.device("d/n").is_none() && attributes.device("e").is_none());
    }
}
