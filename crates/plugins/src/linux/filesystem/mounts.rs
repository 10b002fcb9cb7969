//! The table of mounts: read anew only when the kernel tells another one than before.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::Samples;
use crate::filter::Filter;
use crate::linux::fields::{Malformed, integer, lines, text};

use super::prober::{Answer, Probe};

/// File systems that keep their figures in memory, so that statvfs(2) waits for no disk and no network.
const PROMPT_TYPES: [&str; 6] = ["ext2", "ext3", "ext4", "ramfs", "tmpfs", "xfs"];

/// The mounts that are reported, in the order of the table.
pub(super) struct Mounts {
    rootfs: PathBuf,
    points: Filter,
    types: Filter,
    /// What `mounts` was made from.
    content: Vec<u8>,
    mounts: Vec<Mount>,
}

/// A mount with what it answered last.
pub(super) struct Mount {
    device: String,
    fs_type: String,
    point: String,
    pub(super) is_readonly: bool,
    /// Whether it always answers at once.
    pub(super) is_prompt: bool,
    pub(super) probe: Arc<Probe>,
    pub(super) answer: Answer,
    /// The last answer that failed, and its text.
    failure: Option<(Errno, String)>,
}

/// A line of the table.
struct Entry {
    /// The kernel's number for the mount, its own for as long as it is mounted.
    id: u64,
    point: Vec<u8>,
    is_readonly: bool,
    fs_type: String,
    device: String,
}

impl Mounts {
    /// The mounts below `rootfs` that both filters admit.
    pub(super) fn new(rootfs: &Path, points: Filter, types: Filter) -> Self {
        Self { rootfs: rootfs.to_owned(), points, types, content: Vec::new(), mounts: Vec::new() }
    }

    /// Takes the table as it is now. A mount that stays keeps its probe, which may be at work.
    pub(super) fn update(&mut self, content: &[u8]) -> Result<(), Malformed> {
        if content == self.content {
            return Ok(());
        }
        let entries = lines(content).map(|line| Entry::parse(line?)).collect::<Result<Vec<_>, _>>()?;
        let mut before: HashMap<(u64, PathBuf), Arc<Probe>> =
            self.mounts.drain(..).map(|mount| (mount.probe.key(), mount.probe)).collect();
        // Who is mounted last at a point hides what is below, and answers for it.
        let mut last = HashMap::new();
        let entries: Vec<_> = self.as_the_host_sees(entries);
        let slow: Vec<_> =
            entries.iter().filter(|(entry, _)| !entry.is_prompt()).map(|(_, path)| path.clone()).collect();
        for (index, (entry, _)) in entries.iter().enumerate() {
            last.insert(text(&entry.point).into_owned(), index);
        }
        for (index, (entry, path)) in entries.into_iter().enumerate() {
            let point = text(&entry.point).into_owned();
            if last.get(&point) != Some(&index) || !self.types.admits(&entry.fs_type) || !self.points.admits(&point) {
                continue;
            }
            // The way to it must not lead over another one that may hang.
            let is_prompt = entry.is_prompt() && !slow.iter().any(|slow| path.starts_with(slow));
            let key = (entry.id, path);
            let probe = before.remove(&key).unwrap_or_else(|| Arc::new(Probe::new(key)));
            self.mounts.push(Mount {
                device: entry.device,
                fs_type: entry.fs_type,
                point,
                is_readonly: entry.is_readonly,
                is_prompt,
                probe,
                answer: Answer::Outstanding,
                failure: None,
            });
        }
        self.content.clear();
        self.content.extend_from_slice(content);
        Ok(())
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Mount] {
        &mut self.mounts
    }

    /// Entries with their points as the host names them, and the paths at which this process sees them. In a container
    /// the table is the host's, or its own one with the host below a root.
    fn as_the_host_sees(&self, entries: Vec<Entry>) -> Vec<(Entry, PathBuf)> {
        let root = self.rootfs.as_os_str().as_bytes();
        let is_own = root != b"/" && entries.iter().any(|entry| entry.point == root);
        let seen = |mut entry: Entry| {
            if is_own {
                let path = PathBuf::from(OsStr::from_bytes(&entry.point));
                let below = path.strip_prefix(&self.rootfs).ok()?.as_os_str().as_bytes();
                entry.point = [b"/", below].concat();
                return Some((entry, path));
            }
            let relative = entry.point.strip_prefix(b"/").unwrap_or(&entry.point);
            let path = self.rootfs.join(OsStr::from_bytes(relative));
            Some((entry, path))
        };
        entries.into_iter().filter_map(seen).collect()
    }
}

impl Mount {
    /// Takes over what the probe has answered.
    pub(super) fn take_answer(&mut self) {
        self.answer = self.probe.answer();
        if let Answer::Failed(errno) = self.answer
            && self.failure.as_ref().is_none_or(|(known, _)| *known != errno)
        {
            // The words of strerror(3), which the standard library hands out with the number alone.
            let words = std::io::Error::from(errno).to_string();
            let words = words.split(" (os error").next().unwrap_or_default();
            self.failure = Some((errno, words.to_ascii_lowercase()));
        }
    }

    /// Why it did not answer; empty if it did.
    pub(super) fn error(&self) -> &str {
        match self.answer {
            Answer::Figures(_) => "",
            Answer::Failed(_) => self.failure.as_ref().map_or("", |(_, words)| words),
            Answer::Outstanding => "timeout",
        }
    }

    /// Adds a sample with the labels of this mount.
    pub(super) fn push(&self, samples: &mut Samples, value: f64) {
        let labels = [
            ("device", self.device.as_str()),
            ("device_error", self.error()),
            ("fstype", self.fs_type.as_str()),
            ("mountpoint", self.point.as_str()),
        ];
        // An empty label is none, for Prometheus too.
        match labels {
            [device, (_, ""), fs_type, point] => samples.push(&[device, fs_type, point], value),
            labels => samples.push(&labels, value),
        }
    }
}

impl Entry {
    /// Reads `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`. One blank is between two
    /// fields, of which a source may be empty.
    fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("a line of a table of mounts", line);
        let mut fields = line.split(|byte| *byte == b' ');
        let id = integer(fields.next().ok_or_else(malformed)?).map_err(|_| malformed())?;
        let point = unescape(fields.nth(3).ok_or_else(malformed)?);
        let options = fields.next().ok_or_else(malformed)?;
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let fs_type = text(&unescape(rest.next().ok_or_else(malformed)?)).into_owned();
        let device = text(&unescape(rest.next().ok_or_else(malformed)?)).into_owned();
        let of_all_mounts = rest.next().ok_or_else(malformed)?;
        let is_readonly = [options, of_all_mounts].iter().any(|options| has_option(options, b"ro"));
        Ok(Self { id, point, is_readonly, fs_type, device })
    }

    fn is_prompt(&self) -> bool {
        PROMPT_TYPES.contains(&self.fs_type.as_str())
    }
}

fn has_option(options: &[u8], wanted: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == wanted)
}

/// Undoes what the kernel does to blanks, ends of lines and backslashes: `\` and three octal digits stand for a byte.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    while let Some((first, rest)) = field.split_first() {
        match rest {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                field = rest;
            }
            _ => {
                bytes.push(*first);
                field = rest;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::Parameters;
    use proptest::prelude::*;

    use super::*;
    use crate::Options;

    fn mounts(rootfs: &str) -> Mounts {
        let parameters = Parameters::new();
        let mut options = Options::plain(&parameters);
        let points = Filter::new(&mut options, ["include", "exclude"], "^/proc($|/)");
        let types = Filter::new(&mut options, ["include", "exclude"], "^(autofs|overlay)$");
        Mounts::new(Path::new(rootfs), points, types)
    }

    fn seen(rootfs: &str, content: &str) -> Vec<(String, PathBuf)> {
        let mut mounts = mounts(rootfs);
        mounts.update(content.as_bytes()).unwrap();
        mounts.mounts.iter().map(|mount| (mount.point.clone(), mount.probe.key().1)).collect()
    }

    fn pair(point: &str, path: &str) -> (String, PathBuf) {
        (point.to_owned(), path.into())
    }

    #[test]
    fn the_table_of_the_host_is_looked_up_below_its_root() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /home\\040x rw - ext4 /dev/sda2 rw\n";
        assert_eq!(seen("/", table), [pair("/", "/"), pair("/home x", "/home x")]);
        assert_eq!(seen("/host", table), [pair("/", "/host"), pair("/home x", "/host/home x")]);
    }

    #[test]
    fn the_table_of_a_container_is_cut_to_what_is_below_the_root() {
        let table = "1 0 0:9 / / rw - overlay overlay rw\n2 1 8:1 / /host rw - ext4 /dev/sda1 rw\n\
                     3 2 8:2 / /host/home rw - ext4 /dev/sda2 rw\n4 1 8:1 / /etc/hosts rw - ext4 /dev/sda1 rw\n";
        assert_eq!(seen("/host", table), [pair("/", "/host"), pair("/home", "/host/home")]);
    }

    #[test]
    fn what_another_mount_hides_is_not_reported() {
        let table = "1 0 8:1 / /a rw - ext4 /dev/sda1 rw\n2 1 0:5 / /b rw - autofs systemd-1 rw\n\
                     3 1 8:2 / /a rw - xfs /dev/sda2 rw\n4 2 8:3 / /b rw - xfs /dev/sda3 rw\n\
                     5 1 8:4 / /c rw - xfs /dev/sda4 rw\n6 5 0:6 / /c rw - overlay overlay rw\n";
        let mut mounts = mounts("/");
        mounts.update(table.as_bytes()).unwrap();
        let devices: Vec<_> = mounts.mounts.iter().map(|mount| mount.device.as_str()).collect();
        assert_eq!(devices, ["/dev/sda2", "/dev/sda3"]);
    }

    #[test]
    fn a_mount_that_stays_keeps_its_probe() {
        let mut mounts = mounts("/");
        mounts.update(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n").unwrap();
        let probe = Arc::clone(&mounts.mounts[0].probe);
        mounts.update(b"9 1 8:9 / /x rw - ext4 /dev/sdb rw\n1 0 8:1 / / ro - ext4 /dev/sda1 rw\n").unwrap();
        assert!(Arc::ptr_eq(&probe, &mounts.mounts[1].probe) && mounts.mounts[1].is_readonly);
        mounts.update(b"2 0 8:1 / / ro - ext4 /dev/sda1 rw\n").unwrap();
        assert!(!Arc::ptr_eq(&probe, &mounts.mounts[0].probe), "it is another mount");
    }

    #[test]
    fn a_source_may_be_empty() {
        let entry = Entry::parse(b"1 0 0:9 / /x rw,ro - tmpfs  rw,size=4k").unwrap();
        assert_eq!((entry.fs_type.as_str(), entry.device.as_str(), entry.is_readonly), ("tmpfs", "", true));
        assert!(Entry::parse(b"1 0 0:9 / /x rw,errors=ro - tmpfs none rw").is_ok_and(|entry| !entry.is_readonly));
    }

    proptest! {
        #[test]
        fn any_content_is_mounts_or_an_error(content in any::<Vec<u8>>()) {
            let _ = mounts("/").update(&content);
        }

        #[test]
        fn any_name_comes_back(name in any::<Vec<u8>>()) {
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                other => vec![*other],
            };
            let escaped: Vec<u8> = name.iter().flat_map(escape).collect();
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
