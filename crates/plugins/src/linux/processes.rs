//! How many processes and threads there are in which state, from /proc. Source: proc_pid_stat(5).

use hostwatch_wire::MetricType::Gauge;

use crate::linux::attributes::Attributes;
use crate::linux::fields::{fields, integer};
use crate::linux::kernel_file::KernelFile;
use crate::linux::sysctl;
use crate::names::Names;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "processes",
    collector: "processes",
    about: "processes and threads by state, and their limits, from /proc",
    // It reads a file for each thread of the machine.
    on_by_default: false,
    build: |roots, _| {
        let limit = |name| KernelFile::of_short_lines(roots.procfs.join("sys/kernel").join(name));
        Ok(Box::new(Processes {
            attributes: Attributes::new(roots.procfs.clone()),
            processes: Names::new(),
            threads: Names::new(),
            path: String::new(),
            max_processes: limit("pid_max"),
            max_threads: limit("threads-max"),
        }))
    },
};

/// The states that are reported even when nobody is in them, so that the series do not come and go.
const USUAL_STATES: &[u8] = b"DIRSTZt";
/// The columns behind the name of a process, counted from 0.
const STATE: usize = 0;
const THREADS: usize = 17;

struct Processes {
    attributes: Attributes,
    processes: Names,
    threads: Names,
    /// The path to the file of a thread, kept for its memory.
    path: String,
    max_processes: KernelFile,
    max_threads: KernelFile,
}

/// How many are in each state, which is a letter.
struct States([u64; 128]);

/// What is read of a process or a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
}

impl Plugin for Processes {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let Self { attributes, processes, threads, path, max_processes, max_threads } = self;
        attributes.list(processes);
        processes.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let (mut process_states, mut thread_states) = (States([0; 128]), States([0; 128]));
        let (mut process_count, mut thread_count) = (0_u64, 0_u64);
        for process in processes.iter() {
            // A process may have ended since it was listed, and so may a thread.
            let Some(stat) = attributes.bytes(process, "stat").and_then(parse) else { continue };
            process_count += 1;
            thread_count = thread_count.saturating_add(stat.threads);
            process_states.count(stat);
            attributes.list_below(process, "task", threads);
            for thread in threads.iter() {
                path.clear();
                path.extend(["task/", thread, "/stat"]);
                if let Some(stat) = attributes.bytes(process, path).and_then(parse) {
                    thread_states.count(stat);
                }
            }
        }
        if process_count == 0 {
            return Ok(());
        }
        if let Some(limit) = sysctl::number(max_processes)? {
            samples.gauge("node_processes_max_processes", "The highest number that a process may get.", limit);
        }
        if let Some(limit) = sysctl::number(max_threads)? {
            samples.gauge("node_processes_max_threads", "How many threads there may be.", limit);
        }
        samples.gauge("node_processes_pids", "Processes that there are.", process_count as f64);
        process_states.report(samples, ("node_processes_state", "Processes that are in a state."), "state");
        samples.gauge("node_processes_threads", "Threads that there are.", thread_count as f64);
        thread_states.report(samples, ("node_processes_threads_state", "Threads that are in a state."), "thread_state");
        Ok(())
    }
}

impl States {
    fn count(&mut self, stat: Stat) {
        self.0[usize::from(stat.state)] += 1;
    }

    fn report(&self, samples: &mut Samples, (name, help): (&str, &str), label: &str) {
        samples.family(name, Gauge, help);
        for (letter, count) in (0_u8..).zip(self.0) {
            if count > 0 || USUAL_STATES.contains(&letter) {
                let mut buffer = [0; 4];
                samples.push(&[(label, char::from(letter).encode_utf8(&mut buffer))], count as f64);
            }
        }
    }
}

/// `42 (a name) S 1 42 …`: the name may have anything in it, so the last parenthesis ends it.
fn parse(content: &[u8]) -> Option<Stat> {
    let end = content.iter().rposition(|byte| *byte == b')')?;
    let mut columns = fields(content[end + 1..].trim_ascii());
    let state = columns.nth(STATE)?;
    let threads = integer(columns.nth(THREADS - STATE - 1)?).ok()?;
    match state {
        [state] if state.is_ascii_alphabetic() => Some(Stat { state: *state, threads }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_a_process_or_none(content in any::<Vec<u8>>()) {
            let _ = parse(&content);
        }

        #[test]
        fn any_process_is_read(name in any::<String>(), state in "[A-Za-z]", threads in any::<u64>()) {
            let content = format!("7 ({name}) {state} 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 99 1\n");
            let state = state.as_bytes()[0];
            prop_assert_eq!(parse(content.as_bytes()), Some(Stat { state, threads }));
        }
    }
}
