//! Software RAIDs, their disks and how far they are in step, from /proc/mdstat.
//! Sources: md(4), drivers/md/md.c of the kernel.

use std::ops::Range;

use hostwatch_wire::MetricType::Gauge;

use crate::linux::fields::{Malformed, fields, integer, lines, text};
use crate::linux::kernel_file::KernelFile;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "mdadm",
    collector: "mdadm",
    about: "disks, blocks and state of each software RAID, from /proc/mdstat",
    on_by_default: true,
    build: |roots, _| Ok(Box::new(Mdadm { file: KernelFile::new(roots.procfs.join("mdstat")), arrays: Vec::new() })),
};

const STATES: [&str; 5] = ["active", "inactive", "recovering", "resync", "check"];
const ACTIVE: usize = 0;
const INACTIVE: usize = 1;
/// The words for work in progress, each with its state. While an array is reshaped it stays active.
const WORK: [(&[u8], usize); 3] = [(b"recovery", 2), (b"resync", 3), (b"check", 4)];

struct Mdadm {
    file: KernelFile,
    arrays: Vec<Array>,
}

/// One array, as some lines that belong together tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Array {
    /// Where its name stands in the file.
    name: Range<usize>,
    /// Which one of [`STATES`].
    state: usize,
    active: u64,
    failed: u64,
    spare: u64,
    required: u64,
    blocks: u64,
    /// Blocks that are in step, when a resync or the like is under way.
    synced: Option<u64>,
}

impl Plugin for Mdadm {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { file, arrays } = self;
        file.parse_if_present(|content| {
            parse(content, arrays)?;
            report(content, arrays, samples);
            Ok(())
        })?;
        Ok(())
    }
}

fn report(content: &[u8], arrays: &[Array], samples: &mut Samples) {
    let named = || arrays.iter().map(|array| (text(&content[array.name.clone()]), array));
    for (name, help, value) in [
        ("node_md_blocks", "Blocks of 1024 bytes that an array holds.", (|array| array.blocks) as fn(&Array) -> u64),
        ("node_md_blocks_synced", "Blocks of an array that are in step.", |array| array.synced.unwrap_or(array.blocks)),
        ("node_md_disks_required", "Disks that an array should have.", |array| array.required),
    ] {
        let mut family = samples.sparse(name, Gauge, help);
        named().for_each(|(name, array)| family.push(&[("device", &name)], value(array) as f64));
    }
    let mut family = samples.sparse("node_md_disks", Gauge, "Disks of an array that are in a state.");
    for (name, array) in named() {
        for (state, count) in [("active", array.active), ("failed", array.failed), ("spare", array.spare)] {
            family.push(&[("device", &name), ("state", state)], count as f64);
        }
    }
    let mut family = samples.sparse("node_md_state", Gauge, "Whether an array is in a state (1) or not (0).");
    for (name, array) in named() {
        for (index, state) in STATES.iter().enumerate() {
            family.push(&[("device", &name), ("state", state)], f64::from(u8::from(index == array.state)));
        }
    }
}

/// Reads each array: a line that begins with its name, and those below it that begin with blanks.
fn parse(content: &[u8], arrays: &mut Vec<Array>) -> Result<(), Malformed> {
    arrays.clear();
    let mut start = 0;
    // Whether the line that comes next tells of the last array's blocks.
    let mut is_open = false;
    for line in lines(content) {
        let line = line?;
        let offset = start;
        start += line.len() + 1;
        match line.first() {
            Some(b' ' | b'\t') => {
                let Some(array) = arrays.last_mut() else { continue };
                if std::mem::take(&mut is_open) { array.read_blocks(line)? } else { array.read_work(line)? }
            }
            None => {}
            _ if line.starts_with(b"Personalities") || line.starts_with(b"unused devices") => {}
            _ => {
                arrays.push(Array::new(offset, line)?);
                is_open = true;
            }
        }
    }
    Ok(())
}

impl Array {
    /// `md0 : active raid1 sdb1[1] sda1[0](F)`; a read-only array says so behind its state.
    fn new(offset: usize, line: &[u8]) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("an array's name, a colon and its state", line);
        let mut words = fields(line);
        let name = words.next().ok_or_else(malformed)?;
        let colon = words.next().ok_or_else(malformed)?;
        let state = match words.next() {
            Some(b"active") if colon == b":" => ACTIVE,
            Some(b"inactive") if colon == b":" => INACTIVE,
            _ => return Err(malformed()),
        };
        let mut array = Self {
            name: offset..offset + name.len(),
            state,
            active: 0,
            failed: 0,
            spare: 0,
            required: 0,
            blocks: 0,
            synced: None,
        };
        let (mut disks, mut is_redundant) = (0, true);
        for word in words {
            match word {
                b"raid0" | b"linear" => is_redundant = false,
                word if word.contains(&b'[') => {
                    disks += 1;
                    array.failed += u64::from(word.ends_with(b"(F)"));
                    array.spare += u64::from(word.ends_with(b"(S)"));
                }
                _ => {}
            }
        }
        // Without redundancy all disks are there, or the array is not: no line tells how many.
        if !is_redundant {
            (array.required, array.active) = (disks, disks);
        }
        Ok(array)
    }

    /// `1046528 blocks super 1.2 [2/1] [_U]`: those that should be there, and those that are.
    fn read_blocks(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let mut words = fields(line);
        self.blocks = integer(words.next().unwrap_or_default())?;
        let counts = words.find_map(|word| {
            let (required, active) = split(word.strip_prefix(b"[")?.strip_suffix(b"]")?)?;
            Some((integer(required), integer(active)))
        });
        if let Some((required, active)) = counts {
            (self.required, self.active) = (required?, active?);
        }
        Ok(())
    }

    /// `[==>....]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec`, or `resync=PENDING`.
    fn read_work(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let mut words = fields(line).skip_while(|word| word.starts_with(b"["));
        let first = words.next().unwrap_or_default();
        let Some((word, state)) = WORK.iter().find(|(word, _)| first.starts_with(word)) else { return Ok(()) };
        match &first[word.len()..] {
            b"" | b"=" => {
                let counts = words.find_map(|word| split(word.strip_prefix(b"(")?.strip_suffix(b")")?));
                let (synced, _) = counts.ok_or_else(|| Malformed::new("how many blocks are in step", line))?;
                self.synced = Some(integer(synced)?);
            }
            b"=PENDING" | b"=DELAYED" | b"=REMOTE" => self.synced = Some(0),
            _ => return Ok(()),
        }
        self.state = *state;
        Ok(())
    }
}

/// The parts of `2/1`.
fn split(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = word.iter().position(|byte| *byte == b'/')?;
    Some((&word[..slash], &word[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words that could stand in the file, in any order, and so get further into the parser than any bytes.
    fn mdstat() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just(" ".to_owned()),
            Just("md0 : active raid1 sda1[0](F) sdb1[1]\n".to_owned()),
            Just("resync = 1% (".to_owned()),
            Just("recovery=PENDING\n".to_owned()),
            any::<u64>().prop_map(|number| format!("      {number} blocks [2/")),
            "[ -~]{0,4}\n?",
        ];
        prop::collection::vec(word, 0..9).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_content_is_arrays_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content, &mut Vec::new());
        }

        #[test]
        fn anything_alike_is_arrays_or_an_error(content in mdstat()) {
            let _ = parse(content.as_bytes(), &mut Vec::new());
        }

        #[test]
        fn any_numbers_are_read(blocks in any::<u64>(), required in any::<u64>(), active in any::<u64>()) {
            let content = format!("mdü : active raid5 a[0]\n      {blocks} blocks level 5 [{required}/{active}] [U_]\n");
            let mut arrays = Vec::new();
            parse(content.as_bytes(), &mut arrays).unwrap();
            prop_assert_eq!(&content[arrays[0].name.clone()], "mdü");
            prop_assert_eq!((arrays[0].blocks, arrays[0].required, arrays[0].active), (blocks, required, active));
        }
    }
}
