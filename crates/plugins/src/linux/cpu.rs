//! Where each processor spent its time, from /proc/stat. Source: proc_stat(5).

use hostwatch_wire::MetricType;

use crate::linux::fields::{Malformed, fields, integer, lines};
use crate::linux::kernel_file::KernelFile;
use crate::{BuildError, CollectError, Descriptor, Options, Plugin, Roots, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "cpu",
    collector: "cpu",
    about: "time that each processor spent in each mode, from /proc/stat",
    on_by_default: true,
    build,
};

/// Ticks per second in what the kernel tells user space: 100 on every architecture of today.
pub(crate) const USER_HZ: f64 = 100.0;
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
    let file = KernelFile::of_one_piece(roots.procfs.join("stat"));
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A plugin over a /proc/stat that a test writes.
    struct Bench {
        directory: tempfile::TempDir,
        plugin: Box<dyn Plugin>,
        samples: Samples,
    }

    impl Bench {
        fn new(parameters: &hostwatch_wire::Parameters) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let roots = Roots { procfs: directory.path().to_owned(), ..Roots::default() };
            let plugin = DESCRIPTOR.build(&roots.clone().into(), parameters, Duration::MAX).unwrap();
            Self { directory, plugin, samples: Samples::new() }
        }

        /// Collects over `stat`; says whether the layout changed.
        fn collect(&mut self, stat: &str) -> Result<bool, CollectError> {
            fs::write(self.directory.path().join("stat"), stat).unwrap();
            self.samples.begin();
            self.plugin.collect(&mut self.samples)?;
            self.samples.finish()
        }
    }

    #[test]
    fn small_steps_back_are_held() {
        let mut bench = Bench::new(&Default::default());
        bench.collect("cpu0 100 0 0 5000 70 0 0 0 0 0\n").unwrap();
        bench.collect("cpu0 101 0 0 4701 60 0 0 0 0 0\n").unwrap();
        assert_eq!(bench.samples.values()[..5], [1.01, 0.0, 0.0, 50.0, 0.7]);
    }

    #[test]
    fn a_jump_of_idle_starts_anew() {
        let mut bench = Bench::new(&Default::default());
        bench.collect("cpu0 100 0 0 5000 70 0 0 0 0 0\ncpu1 9 0 0 5000 0 0 0 0 0 0\n").unwrap();
        bench.collect("cpu0 10 0 0 4700 6 0 0 0 0 0\ncpu1 8 0 0 5000 0 0 0 0 0 0\n").unwrap();
        assert_eq!(bench.samples.values()[..5], [0.1, 0.0, 0.0, 47.0, 0.06]);
        assert_eq!(bench.samples.values()[8], 0.09);
    }

    #[test]
    fn a_processor_that_was_away_starts_anew_and_the_others_do_not() {
        let mut bench = Bench::new(&Default::default());
        let both = "cpu0 500 0 0 900 0 0 0 0 0 0\ncpu1 500 0 0 900 0 0 0 0 0 0\n";
        assert!(bench.collect(both).unwrap());
        assert!(bench.collect("cpu1 499 0 0 900 0 0 0 0 0 0\n").unwrap());
        assert_eq!(bench.samples.values().len(), COLUMNS);
        assert_eq!(bench.samples.values()[0], 5.0);
        assert!(bench.collect("cpu0 3 0 0 900 0 0 0 0 0 0\ncpu1 498 0 0 900 0 0 0 0 0 0\n").unwrap());
        assert_eq!((bench.samples.values()[0], bench.samples.values()[8]), (0.03, 5.0));
        assert!(!bench.collect(both).unwrap());
    }

    #[test]
    fn a_failed_collection_forgets_nothing() {
        let mut bench = Bench::new(&Default::default());
        bench.collect("cpu0 100 0 0 900 0 0 0 0 0 0\n").unwrap();
        bench.collect("cpu0 200 0 0 900 0 0 0 0 0 0\ncpu1 1 0").unwrap_err();
        assert!(!bench.collect("cpu0 99 0 0 900 0 0 0 0 0 0\n").unwrap());
        assert_eq!(bench.samples.values()[0], 1.0);
    }

    #[test]
    fn a_machine_with_512_processors() {
        let stat: String = (0..512).map(|cpu| format!("cpu{cpu} {cpu} 0 0 0 0 0 0 0 0 0\n")).collect();
        let mut bench = Bench::new(&Default::default());
        assert!(bench.collect(&format!("cpu  9 0 0 0 0 0 0 0 0 0\n{stat}intr 0\n")).unwrap());
        assert_eq!(bench.samples.values().len(), 512 * COLUMNS);
        assert_eq!(bench.samples.values()[511 * MODES.len()], 5.11);
        let last = &bench.samples.layout().families[1].series[1023].labels;
        assert_eq!((last[0].value.as_str(), last[1].value.as_str()), ("511", "nice"));
    }

    #[test]
    fn guests_can_be_left_out() {
        let parameters = [("guest".to_owned(), hostwatch_wire::Parameter::Boolean(false))].into();
        let mut bench = Bench::new(&parameters);
        bench.collect("cpu0 1 2 3 4 5 6 7 8 9 10\n").unwrap();
        assert_eq!(bench.samples.values().len(), MODES.len());
    }

    /// What could stand in a /proc/stat, right and wrong, and so gets further into the parser than any bytes.
    fn stat() -> impl Strategy<Value = String> {
        let field = prop_oneof![Just(String::new()), any::<u64>().prop_map(|n| n.to_string()), "[ -~]{0,3}"];
        let line = ("cpu[0-3]?", prop::collection::vec(field, 0..12), "\n?");
        let line = line.prop_map(|(name, fields, end)| format!("{name} {}{end}", fields.join(" ")));
        prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn any_content_is_processors_or_an_error(content in any::<Vec<u8>>()) {
            let _ = parse(&content, &mut Vec::new());
        }

        #[test]
        fn counters_never_run_back_by_less_than_a_hotplug(stats in prop::collection::vec(stat(), 1..5)) {
            let mut bench = Bench::new(&Default::default());
            for stat in stats {
                let before = bench.samples.values().to_vec();
                if bench.collect(&stat).is_ok_and(|changed| !changed) {
                    for (before, after) in before.chunks(MODES.len()).zip(bench.samples.values().chunks(MODES.len())) {
                        let jumped = after.get(IDLE) < before.get(IDLE);
                        prop_assert!(jumped || after.iter().zip(before).all(|(after, before)| after >= before));
                    }
                }
            }
        }
    }
}
