//! What the files below /proc/PID say of one process. Any content is figures or none.

use crate::linux::attributes::Attributes;
use crate::linux::fields::{digits, fields};
use crate::names::Names;

/// The columns of `stat` behind the name of the process, counted from 0.
const STATE: usize = 0;
const FLAGS: usize = 6;
const MINOR_FAULTS: usize = 7;
const MAJOR_FAULTS: usize = 9;
const USER: usize = 11;
const SYSTEM: usize = 12;
const THREADS: usize = 17;
const START: usize = 19;
const VIRTUAL: usize = 20;
const RESIDENT: usize = 21;
const WANTED: [usize; 9] = [FLAGS, MINOR_FAULTS, MAJOR_FAULTS, USER, SYSTEM, THREADS, START, VIRTUAL, RESIDENT];
const COLUMNS: usize = 22;

/// The flag of a process that the kernel runs for itself, which has neither a command line nor a unit.
const OF_KERNEL: u64 = 0x0020_0000;

/// What only grows while a process lives: its place in [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    User,
    System,
    MinorFaults,
    MajorFaults,
    Voluntary,
    Nonvoluntary,
    Read,
    Written,
}

pub(super) type Counters = [u64; 8];

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    pub(super) command: &'a [u8],
    state: u8,
    columns: [u64; COLUMNS],
}

impl<'a> Stat<'a> {
    /// `42 (a name) S 1 42 …`: the name may have anything in it, so the last parenthesis ends it.
    pub(super) fn parse(content: &'a [u8]) -> Option<Self> {
        let start = content.iter().position(|byte| *byte == b'(')? + 1;
        let end = content.iter().rposition(|byte| *byte == b')')?;
        let mut rest = fields(content[end + 1..].trim_ascii());
        let [state] = rest.next()? else { return None };
        let mut columns = [0; COLUMNS];
        for (index, column) in columns.iter_mut().enumerate().skip(STATE + 1) {
            // Some of the others may be negative.
            let text = rest.next()?;
            if WANTED.contains(&index) {
                *column = digits(text)?;
            }
        }
        Some(Self { command: content.get(start..end)?, state: *state, columns })
    }
}

/// One process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) is_of_kernel: bool,
    pub(super) state: u8,
    pub(super) threads: u64,
    /// When it began, in ticks since the boot; together with its number this names it.
    pub(super) start: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) swapped_bytes: u64,
    pub(super) counters: Counters,
    /// Whether the kernel lets the bytes that it read and wrote be seen.
    pub(super) io_is_readable: bool,
    /// None where they may not be seen.
    pub(super) descriptors: Option<u64>,
    /// None where there is no limit.
    pub(super) descriptor_limit: Option<u64>,
}

impl Figures {
    /// What `stat` alone tells.
    pub(super) fn new(stat: &Stat<'_>) -> Self {
        let Stat { state, columns, .. } = *stat;
        let mut counters = Counters::default();
        for (counter, column) in [
            (Counter::User, USER),
            (Counter::System, SYSTEM),
            (Counter::MinorFaults, MINOR_FAULTS),
            (Counter::MajorFaults, MAJOR_FAULTS),
        ] {
            counters[counter as usize] = columns[column];
        }
        Self {
            is_of_kernel: columns[FLAGS] & OF_KERNEL != 0,
            state,
            threads: columns[THREADS],
            start: columns[START],
            virtual_bytes: columns[VIRTUAL],
            resident_bytes: columns[RESIDENT].saturating_mul(rustix::param::page_size() as u64),
            swapped_bytes: 0,
            counters,
            io_is_readable: false,
            descriptors: None,
            descriptor_limit: None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn take_status(&mut self, content: &[u8]) {
        let value = |name| named(content, name).unwrap_or_default();
        self.swapped_bytes = value("VmSwap:").saturating_mul(1_024);
        self.counters[Counter::Voluntary as usize] = value("voluntary_ctxt_switches:");
        self.counters[Counter::Nonvoluntary as usize] = value("nonvoluntary_ctxt_switches:");
    }

    fn take_io(&mut self, content: &[u8]) {
        if let (Some(read), Some(written)) = (named(content, "read_bytes:"), named(content, "write_bytes:")) {
            self.io_is_readable = true;
            self.counters[Counter::Read as usize] = read;
            self.counters[Counter::Written as usize] = written;
        }
    }
}

/// Reads what is wanted of a process that is in a group.
pub(super) struct Reader {
    descriptors: Names,
}

impl Default for Reader {
    fn default() -> Self {
        Self { descriptors: Names::new() }
    }
}

impl Reader {
    /// Adds to what `stat` said. None when the process has ended meanwhile.
    pub(super) fn complete(
        &mut self,
        mut figures: Figures,
        attributes: &mut Attributes,
        process: &str,
    ) -> Option<Figures> {
        figures.take_status(attributes.bytes(process, "status").unwrap_or_default());
        figures.take_io(attributes.bytes(process, "io").unwrap_or_default());
        if figures.has_ended() {
            // Its parent has not heard of it yet.
            figures.descriptors = Some(0);
        } else {
            figures.descriptors = attributes.count_below(process, "fd", &mut self.descriptors);
            let limits = attributes.bytes(process, "limits").unwrap_or_default();
            figures.descriptor_limit = named(limits, "Max open files");
        }
        // What may not be read is left out. What cannot be read because there is nothing any more would look the same.
        let is_complete = figures.io_is_readable && figures.descriptors.is_some();
        (is_complete || attributes.inode(process).is_some()).then_some(figures)
    }
}

/// The base name of what a command line calls its program.
pub(super) fn program(line: &[u8]) -> &[u8] {
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    first.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether a process with this content of `cgroup` is in a unit or below it: `0::/system.slice/ssh.service`.
pub(super) fn is_in_unit(content: &[u8], unit: &str) -> bool {
    content.split(|byte| matches!(byte, b'\n' | b'/')).any(|part| part == unit.as_bytes())
}

/// The number behind a name at the beginning of a line.
fn named(content: &[u8], name: &str) -> Option<u64> {
    let mut lines = content.split(|byte| *byte == b'\n');
    let rest = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
    digits(fields(rest).next()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn programs() {
        for (line, expected) in [
            ("/usr/sbin/nginx\0-g\0daemon off;\0", "nginx"),
            ("nginx: worker process\0", "nginx: worker process"),
            ("-bash\0", "-bash"),
            ("a b\0c/d\0", "a b"),
            ("/usr/bin/\0", ""),
            ("", ""),
            ("\0\0", ""),
        ] {
            assert_eq!(program(line.as_bytes()), expected.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn units() {
        for (content, unit, expected) in [
            ("0::/system.slice/ssh.service\n", "ssh.service", true),
            ("0::/system.slice/ssh.service\n", "system.slice", true),
            ("0::/system.slice/ssh.service\n", "sh.service", false),
            ("0::/system.slice/ssh.service\n", "ssh", false),
            ("0::/user.slice/user-0.slice/user@0.service/app.slice/a.service\n", "user@0.service", true),
            ("12:pids:/system.slice/ssh.service\n1:name=systemd:/system.slice/ssh.service\n", "ssh.service", true),
            ("0::/../../system.slice/ssh.service\n", "ssh.service", true),
            ("0::/\n", "ssh.service", false),
            ("", "ssh.service", false),
        ] {
            assert_eq!(is_in_unit(content.as_bytes(), unit), expected, "{content:?} {unit}");
        }
    }

    #[test]
    fn numbers_behind_names() {
        let limits =
            b"Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288  files\n";
        assert_eq!(named(limits, "Max open files"), Some(1_024));
        assert_eq!(named(b"Max open files  unlimited  unlimited  files\n", "Max open files"), None);
        assert_eq!(named(b"VmSwap:\t      12 kB\n", "VmSwap:"), Some(12));
        assert_eq!(named(b"cancelled_write_bytes: 3\nwrite_bytes: 4\n", "write_bytes:"), Some(4));
    }

    proptest! {
        #[test]
        fn any_content_is_figures_or_none(content in any::<Vec<u8>>()) {
            let _ = (Stat::parse(&content), program(&content), is_in_unit(&content, "a.service"));
            let content = [b"1 (", content.as_slice(), b") S 1 1 1 -1 1 "].concat();
            let _ = Stat::parse(&content);
            let line = "1 (a) S 1 1 1 -1 1 64 1 1 1 1 1 1 1 1 20 0 1 0 1 4096 1";
            let mut figures = Figures::new(&Stat::parse(line.as_bytes()).unwrap());
            figures.take_status(&content);
            figures.take_io(&content);
        }

        #[test]
        fn any_process_is_read(name in any::<String>(), numbers in any::<[u64; 8]>()) {
            let [minor, major, user, system, threads, start, bytes, pages] = numbers;
            let content = format!(
                "7 ({name}) S 1 7 7 0 -1 64 {minor} 0 {major} 0 {user} {system} 0 0 20 0 {threads} 0 {start} {bytes} {pages} 1\n"
            );
            let stat = Stat::parse(content.as_bytes()).unwrap();
            prop_assert_eq!(stat.command, name.as_bytes());
            let figures = Figures::new(&stat);
            prop_assert_eq!(&figures.counters[..4], [user, system, minor, major]);
            prop_assert_eq!((figures.threads, figures.start, figures.virtual_bytes), (threads, start, bytes));
        }
    }
}
