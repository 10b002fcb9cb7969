//! The names in a directory, read again and again into the same memory.

#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsFd;

#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
#[cfg(target_os = "linux")]
use rustix::fs::RawDir;

/// Room for the entries that the kernel returns at once.
#[cfg(target_os = "linux")]
const ENTRIES_BYTES: usize = 8 << 10;

/// Sorted names, the shorter ones first, so that those that end in numbers come in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Names {
    /// One name behind the other.
    text: String,
    ranges: Vec<Range<usize>>,
    #[cfg(target_os = "linux")]
    entries: Box<[MaybeUninit<u8>]>,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            ranges: Vec::new(),
            #[cfg(target_os = "linux")]
            entries: Box::new_uninit_slice(ENTRIES_BYTES),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ranges.clear();
    }

    /// Takes the names in a directory that was just opened, as far as they can be read. One that is no UTF-8 could
    /// not be a label and is left out.
    pub(crate) fn read(&mut self, directory: impl AsFd) {
        self.clear();
        #[cfg(target_os = "linux")]
        let mut entries = RawDir::new(directory, &mut self.entries);
        #[cfg(not(target_os = "linux"))]
        let Ok(mut entries) = Dir::read_from(directory) else { return };
        while let Some(Ok(entry)) = entries.next() {
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => {
                    let start = self.text.len();
                    self.text.push_str(name);
                    self.ranges.push(start..self.text.len());
                }
            }
        }
        let text = &self.text;
        self.ranges.sort_unstable_by_key(|range| (range.len(), &text[range.clone()]));
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.ranges.retain(|range| keep(&self.text[range.clone()]));
    }

    /// Sorts by the names alone, as a person would look them up.
    pub(crate) fn sort_as_text(&mut self) {
        let text = &self.text;
        self.ranges.sort_unstable_by_key(|range| &text[range.clone()]);
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.ranges.iter().map(|range| &self.text[range.clone()])
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::{self, File};
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn numbers_come_in_their_order_and_nothing_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut names = Names::new();
        for name in ["zone10", "zone2", "zone1", "ü"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::write(directory.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
        names.read(File::open(directory.path()).unwrap());
        assert_eq!(names.iter().collect::<Vec<_>>(), ["ü", "zone1", "zone2", "zone10"]);
        names.retain(|name| name.ends_with('1'));
        assert_eq!(names.iter().collect::<Vec<_>>(), ["zone1"]);
        fs::remove_file(directory.path().join("zone2")).unwrap();
        names.read(File::open(directory.path()).unwrap());
        assert_eq!(names.iter().collect::<Vec<_>>(), ["ü", "zone1", "zone10"]);
    }

    #[test]
    fn a_directory_may_be_larger_than_what_the_kernel_returns_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let expected: Vec<String> = (0..1_000).map(|number| format!("{number}")).collect();
        expected.iter().for_each(|name| fs::write(directory.path().join(name), "").unwrap());
        let mut names = Names::new();
        names.read(File::open(directory.path()).unwrap());
        assert!(names.iter().eq(expected.iter().map(String::as_str)));
    }
}
