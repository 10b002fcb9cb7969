//! A group of processes: who is in it, what they have used, and what is reported of it.

use std::mem;

use hostwatch_wire::MetricType::{Counter as CounterType, Gauge};

use super::figures::{Counter, Counters, Figures, is_in_unit};
use crate::Samples;
use crate::linux::cpu::USER_HZ;

/// Labels and the letters in the column of states.
const STATES: [(&str, &[u8]); 4] = [("Running", b"R"), ("Sleeping", b"S"), ("Waiting", b"D"), ("Zombie", b"Z")];

/// What makes a process a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    /// Its command, or the base name of its program, is the group's name.
    OfName,
    /// It runs in the systemd unit that has the group's name, or below it.
    OfUnit,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Members,
    /// Whether the process at hand is in it.
    is_met: bool,
    /// Those who were in it when it was last looked at, and now; by their numbers.
    before: Vec<Member>,
    now: Vec<Member>,
    /// What all who ever were in it have used. It never goes back.
    counters: Counters,
    sums: Sums,
    /// Whether every process of the group, when it last had any, let it be seen.
    shows_io: bool,
    shows_descriptors: bool,
}

/// Kept of a process for the next time.
#[derive(Debug)]
struct Member {
    number: u64,
    start: u64,
    counters: Counters,
}

/// Over those who are in the group now.
#[derive(Debug, Default)]
struct Sums {
    count: u64,
    threads: u64,
    /// One for each of `STATES`, and one for any other.
    states: [u64; STATES.len() + 1],
    virtual_bytes: u64,
    resident_bytes: u64,
    swapped_bytes: u64,
    oldest: Option<u64>,
    descriptors: u64,
    worst_ratio: f64,
    /// How many did not let it be seen.
    without_io: u64,
    without_descriptors: u64,
}

impl Group {
    pub(super) fn new(name: String, members: Members) -> Self {
        Self {
            name,
            members,
            is_met: false,
            before: Vec::new(),
            now: Vec::new(),
            counters: Counters::default(),
            sums: Sums::default(),
            shows_io: false,
            shows_descriptors: false,
        }
    }

    pub(super) fn begin(&mut self) {
        mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        self.sums = Sums::default();
    }

    /// Begins with a process, of which this is the command.
    pub(super) fn meet(&mut self, command: &[u8]) {
        self.is_met = self.members == Members::OfName && command == self.name.as_bytes();
    }

    /// Adds what its command line calls its program.
    pub(super) fn meet_program(&mut self, program: &[u8]) {
        self.is_met |= self.members == Members::OfName && program == self.name.as_bytes();
    }

    /// Adds in which control groups it is.
    pub(super) fn meet_cgroups(&mut self, content: &[u8]) {
        self.is_met |= self.members == Members::OfUnit && is_in_unit(content, &self.name);
    }

    pub(super) fn is_met(&self) -> bool {
        self.is_met
    }

    /// Whether the command of a process is not all that matters.
    pub(super) fn looks_for_program(&self) -> bool {
        self.members == Members::OfName && !self.is_met
    }

    /// Takes in the process with this number. They come in the order of their numbers.
    pub(super) fn add(&mut self, number: u64, figures: &Figures) {
        let Figures { start, .. } = *figures;
        let known = self.before.binary_search_by_key(&number, |member| member.number).ok();
        let known = known.map(|index| &self.before[index]).filter(|member| member.start == start);
        let mut counters = known.map(|member| member.counters).unwrap_or_default();
        for ((total, last), now) in self.counters.iter_mut().zip(&mut counters).zip(figures.counters) {
            *total = total.saturating_add(now.saturating_sub(*last));
            *last = now.max(*last);
        }
        self.now.push(Member { number, start, counters });
        self.sums.add(figures);
    }

    pub(super) fn end(&mut self) {
        if self.sums.count > 0 {
            self.shows_io = self.sums.without_io == 0;
            self.shows_descriptors = self.sums.without_descriptors == 0;
        }
    }

    fn counter(&self, counter: Counter) -> f64 {
        self.counters[counter as usize] as f64
    }
}

impl Sums {
    fn add(&mut self, figures: &Figures) {
        self.count += 1;
        let state = STATES.iter().position(|(_, letters)| letters.contains(&figures.state)).unwrap_or(STATES.len());
        self.states[state] += 1;
        for (sum, value) in [
            (&mut self.threads, figures.threads),
            (&mut self.virtual_bytes, figures.virtual_bytes),
            (&mut self.resident_bytes, figures.resident_bytes),
            (&mut self.swapped_bytes, figures.swapped_bytes),
            (&mut self.descriptors, figures.descriptors.unwrap_or_default()),
            (&mut self.without_io, u64::from(!figures.io_is_readable)),
            (&mut self.without_descriptors, u64::from(figures.descriptors.is_none())),
        ] {
            *sum = sum.saturating_add(value);
        }
        self.oldest = Some(self.oldest.map_or(figures.start, |oldest| oldest.min(figures.start)));
        if let (Some(open), Some(limit @ 1..)) = (figures.descriptors, figures.descriptor_limit) {
            self.worst_ratio = self.worst_ratio.max(open as f64 / limit as f64);
        }
    }
}

/// Reports all groups, family by family.
pub(super) fn report(groups: &[Group], boot_time: Option<u64>, samples: &mut Samples) {
    samples.family(
        "namedprocess_namegroup_context_switches_total",
        CounterType,
        "Context switches of the first thread of each process of a group.",
    );
    for group in groups {
        for (kind, counter) in [("nonvoluntary", Counter::Nonvoluntary), ("voluntary", Counter::Voluntary)] {
            samples.push(&[("ctxswitchtype", kind), ("groupname", &group.name)], group.counter(counter));
        }
    }
    samples.family("namedprocess_namegroup_cpu_seconds_total", CounterType, "Processor time that a group has used.");
    for group in groups {
        for (mode, counter) in [("system", Counter::System), ("user", Counter::User)] {
            samples.push(&[("groupname", &group.name), ("mode", mode)], group.counter(counter) / USER_HZ);
        }
    }
    each(
        groups,
        samples,
        CounterType,
        "namedprocess_namegroup_major_page_faults_total",
        "Page faults of a group that had to wait for a disk.",
        |group| Some(group.counter(Counter::MajorFaults)),
    );
    samples.family(
        "namedprocess_namegroup_memory_bytes",
        Gauge,
        "Memory of a group; what its processes share counts for each of them.",
    );
    for group in groups {
        let Sums { resident_bytes, swapped_bytes, virtual_bytes, .. } = group.sums;
        for (kind, bytes) in [("resident", resident_bytes), ("swapped", swapped_bytes), ("virtual", virtual_bytes)] {
            samples.push(&[("groupname", &group.name), ("memtype", kind)], bytes as f64);
        }
    }
    each(
        groups,
        samples,
        CounterType,
        "namedprocess_namegroup_minor_page_faults_total",
        "Page faults of a group that needed no disk.",
        |group| Some(group.counter(Counter::MinorFaults)),
    );
    each(groups, samples, Gauge, "namedprocess_namegroup_num_procs", "Processes that are in a group.", |group| {
        Some(group.sums.count as f64)
    });
    each(
        groups,
        samples,
        Gauge,
        "namedprocess_namegroup_num_threads",
        "Threads of the processes of a group.",
        |group| Some(group.sums.threads as f64),
    );
    each(
        groups,
        samples,
        Gauge,
        "namedprocess_namegroup_oldest_start_time_seconds",
        "When the oldest process of a group was started, in Unix time.",
        |group| Some(boot_time? as f64 + (group.sums.oldest? as f64 / USER_HZ)),
    );
    each(
        groups,
        samples,
        Gauge,
        "namedprocess_namegroup_open_filedesc",
        "Descriptors that a group has open.",
        |group| group.shows_descriptors.then_some(group.sums.descriptors as f64),
    );
    each(
        groups,
        samples,
        CounterType,
        "namedprocess_namegroup_read_bytes_total",
        "Bytes that a group has made the disks read.",
        |group| group.shows_io.then(|| group.counter(Counter::Read)),
    );
    samples.family("namedprocess_namegroup_states", Gauge, "Processes of a group that are in a state.");
    for group in groups {
        let labels = STATES.iter().map(|(label, _)| *label).chain(["Other"]);
        for (state, count) in labels.zip(group.sums.states) {
            samples.push(&[("groupname", &group.name), ("state", state)], count as f64);
        }
    }
    each(
        groups,
        samples,
        Gauge,
        "namedprocess_namegroup_worst_fd_ratio",
        "Open descriptors divided by their limit, of the process of a group that is nearest to it.",
        |group| group.shows_descriptors.then_some(group.sums.worst_ratio),
    );
    each(
        groups,
        samples,
        CounterType,
        "namedprocess_namegroup_write_bytes_total",
        "Bytes that a group has made the disks write.",
        |group| group.shows_io.then(|| group.counter(Counter::Written)),
    );
}

/// A family of one series for each group, of those that have a value.
fn each(
    groups: &[Group],
    samples: &mut Samples,
    kind: hostwatch_wire::MetricType,
    name: &str,
    help: &str,
    value: impl Fn(&Group) -> Option<f64>,
) {
    let mut family = samples.sparse(name, kind, help);
    for group in groups {
        if let Some(value) = value(group) {
            family.push(&[("groupname", &group.name)], value);
        }
    }
}
