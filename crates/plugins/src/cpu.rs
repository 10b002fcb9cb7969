//! Where each processor spent its time, from /proc/stat. Source: proc_stat(5).

use hostwatch_wire::MetricType;

use crate::fields::{Malformed, fields, integer, lines};
use crate::kernel_file::KernelFile;
use crate::{BuildError, CollectError, Descriptor, Options, Plugin, Roots, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "cpu",
    collector: "cpu",
    about: "time that each processor spent in each mode, from /proc/stat",
    on_by_default: true,
    build,
};

/// Ticks per second in what the kernel tells user space: 100 on every architecture of today.
const USER_HZ: f64 = 100.0;
/// The columns of a processor's line, of which the first eight are modes.
const COLUMNS: usize = 10;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;
const GUEST: usize = 8;
const GUEST_NICE: usize = 9;
/// Idle time that runs back by this much or more, in ticks, means that the processor was unplugged and came back.
const HOTPLUG_TICKS: u64 = 300;

fn build(roots: &Roots, options: &mut Options<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let guest = options.boolean("guest").unwrap_or(true);
    let file = KernelFile::new(roots.procfs.join("stat"));
    Ok(Box::new(Cpu { file, guest, processors: Vec::new(), read: Vec::new() }))
}

struct Cpu {
    file: KernelFile,
    /// Whether the time in guests is reported, which is part of user and nice already.
    guest: bool,
    /// The processors as they were last reported.
    processors: Vec<Processor>,
    /// The processors as they were read, kept for its memory.
    read: Vec<Processor>,
}

/// A processor that is online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Processor {
    number: u32,
    ticks: [u64; COLUMNS],
}

impl Plugin for Cpu {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.file.parse(|content| parse(content, &mut self.read))?;
        for (index, processor) in self.read.iter_mut().enumerate() {
            // They come in the same order, so it is the same index unless one came or went.
            let same = |earlier: &&Processor| earlier.number == processor.number;
            let at_index = self.processors.get(index).filter(same);
            if let Some(earlier) = at_index.or_else(|| self.processors.iter().find(same)) {
                processor.keep_up_with(earlier);
            }
        }
        std::mem::swap(&mut self.processors, &mut self.read);
        self.report(samples);
        Ok(())
    }
}

impl Cpu {
    fn report(&self, samples: &mut Samples) {
        let mut number = itoa::Buffer::new();
        let help = "Seconds that a processor spent in a mode.";
        samples.family("node_cpu_seconds_total", MetricType::Counter, help);
        for processor in &self.processors {
            let cpu = number.format(processor.number);
            for (mode, ticks) in MODES.iter().zip(processor.ticks) {
                samples.push(&[("cpu", cpu), ("mode", mode)], ticks as f64 / USER_HZ);
            }
        }
        if !self.guest {
            return;
        }
        let help = "Seconds that a processor ran guests, which count as user or nice too.";
        samples.family("node_cpu_guest_seconds_total", MetricType::Counter, help);
        for processor in &self.processors {
            let cpu = number.format(processor.number);
            for (mode, column) in [("user", GUEST), ("nice", GUEST_NICE)] {
                samples.push(&[("cpu", cpu), ("mode", mode)], processor.ticks[column] as f64 / USER_HZ);
            }
        }
    }
}

impl Processor {
    /// Keeps each counter from running back by a little, as iowait and idle do in the kernel. After a jump of idle
    /// all of them start anew.
    fn keep_up_with(&mut self, earlier: &Self) {
        if earlier.ticks[IDLE].saturating_sub(self.ticks[IDLE]) >= HOTPLUG_TICKS {
            return;
        }
        for (ticks, earlier) in self.ticks.iter_mut().zip(earlier.ticks) {
            *ticks = earlier.max(*ticks);
        }
    }
}

/// Reads every line of one processor: `cpu0 19041 0 4117 128328 325 0 23 18 0 0`.
fn parse(content: &[u8], processors: &mut Vec<Processor>) -> Result<(), Malformed> {
    processors.clear();
    // Old kernels have fewer columns, but each processor has as many as the others.
    let mut columns = None;
    for line in lines(content) {
        let line = line?;
        let Some(rest) = line.strip_prefix(b"cpu") else { break };
        if rest.starts_with(b" ") {
            // The sum over all processors.
            continue;
        }
        let mut fields = fields(rest);
        let malformed = || Malformed::new("a processor's number and its times", line);
        let number = integer(fields.next().unwrap_or_default())?.try_into().map_err(|_| malformed())?;
        let mut ticks = [0; COLUMNS];
        let mut count = 0;
        for (ticks, field) in ticks.iter_mut().zip(fields) {
            *ticks = integer(field)?;
            count += 1;
        }
        if count <= IDLE || *columns.get_or_insert(count) != count {
            return Err(malformed());
        }
        processors.push(Processor { number, ticks });
    }
    if processors.is_empty() { Err(Malformed::new("a line for each processor", content)) } else { Ok(()) }
}
