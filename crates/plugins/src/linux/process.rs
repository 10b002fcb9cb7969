//! Groups of processes by name or by systemd unit, from /proc. Source: proc_pid_stat(5) and its neighbours.
//!
//! The series have the names that process-exporter gives them.

mod figures;
mod group;

use crate::linux::attributes::Attributes;
use crate::linux::fields::{digits, fields};
use crate::linux::kernel_file::KernelFile;
use crate::names::Names;
use crate::{CollectError, Descriptor, Options, Plugin, Samples};

use figures::{Figures, Reader, Stat};
use group::{Group, Members};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "process",
    collector: "process",
    about: "count, processor time, memory, descriptors, threads and I/O of the processes that have a name (`names`) or \
            run in a systemd unit (`units`), from /proc",
    // Nobody but the administrator knows which processes matter.
    on_by_default: false,
    build: |roots, options| {
        let groups = groups(options);
        Ok(Box::new(Process {
            attributes: Attributes::new(roots.procfs.clone()),
            processes: Names::new(),
            reader: Reader::default(),
            stat: KernelFile::of_short_lines(roots.procfs.join("stat")),
            groups,
        }))
    },
};

struct Process {
    attributes: Attributes,
    processes: Names,
    reader: Reader,
    /// The file that says when the machine booted.
    stat: KernelFile,
    groups: Vec<Group>,
}

impl Plugin for Process {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let boot_time = self.stat.parse_if_present(|content| Ok(boot_time(content)))?.flatten();
        self.attributes.list(&mut self.processes);
        self.processes.retain(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if self.processes.iter().next().is_none() {
            return Ok(());
        }
        self.groups.iter_mut().for_each(Group::begin);
        for process in self.processes.iter() {
            // A process may have ended since it was listed; then it is in no group any more.
            let Some(stat) = self.attributes.bytes(process, "stat").and_then(Stat::parse) else { continue };
            let figures = Figures::new(&stat);
            self.groups.iter_mut().for_each(|group| group.meet(stat.command));
            if !figures.is_of_kernel {
                assign(&mut self.groups, &mut self.attributes, process);
            }
            let (true, Ok(number)) = (self.groups.iter().any(Group::is_met), process.parse()) else { continue };
            let Some(figures) = self.reader.complete(figures, &mut self.attributes, process) else { continue };
            self.groups.iter_mut().filter(|group| group.is_met()).for_each(|group| group.add(number, &figures));
        }
        self.groups.iter_mut().for_each(Group::end);
        group::report(&self.groups, boot_time, samples);
        Ok(())
    }
}

/// Finds the groups of a process that its command alone does not tell, and reads no more than they need.
fn assign(groups: &mut [Group], attributes: &mut Attributes, process: &str) {
    if groups.iter().any(Group::looks_for_program) {
        let line = attributes.bytes(process, "cmdline").unwrap_or_default();
        let program = figures::program(line);
        groups.iter_mut().for_each(|group| group.meet_program(program));
    }
    if groups.iter().any(|group| matches!(group.members, Members::OfUnit)) {
        let content = attributes.bytes(process, "cgroup").unwrap_or_default();
        groups.iter_mut().for_each(|group| group.meet_cgroups(content));
    }
}

/// The groups that the parameters name. A mistake is noted among the options.
fn groups(options: &mut Options<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut is_empty = true;
    for (parameter, members) in [("names", Members::OfName), ("units", Members::OfUnit)] {
        for name in options.list(parameter).unwrap_or_default() {
            is_empty = false;
            let mistake = match (name.is_empty() || name.contains('/'), members) {
                (true, Members::OfName) => "is no name of a process, which is neither empty nor a path",
                (true, Members::OfUnit) => "is no name of a unit",
                (false, Members::OfUnit) if !name.contains('.') => "has no suffix, such as .service",
                _ if groups.iter().any(|group| group.name == *name) => "is there twice",
                _ => {
                    groups.push(Group::new(name.clone(), members));
                    continue;
                }
            };
            options.mistake(parameter, format_args!("{name:?} {mistake}"));
        }
    }
    if is_empty {
        options.mistake("names", "no group at all; list names of processes here, or systemd units under units");
    }
    groups
}

fn boot_time(content: &[u8]) -> Option<u64> {
    let line = content.split_inclusive(|byte| *byte == b'\n').find(|line| line.starts_with(b"btime "))?;
    digits(fields(line.strip_suffix(b"\n")?).nth(1)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use hostwatch_wire::{Parameter, Parameters};

    use super::*;
    use crate::{Access, Roots};

    fn build(root: &Path, parameters: &[(&str, &[&str])]) -> Result<Box<dyn Plugin>, String> {
        let list = |list: &[&str]| Parameter::List(list.iter().map(|text| (*text).to_owned()).collect());
        let parameters: Parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), list(value))).collect();
        let access = Access::from(Roots { procfs: root.to_owned(), ..Roots::default() });
        DESCRIPTOR.build(&access, &parameters, Duration::MAX).map_err(|error| error.to_string())
    }

    fn process(root: &Path, pid: u32, name: &str, start: u64, seconds: u64) {
        let directory = root.join(pid.to_string());
        fs::create_dir_all(directory.join("fd")).unwrap();
        let ticks = 100 * seconds;
        let stat = format!("{pid} ({name}) S 1 1 1 0 -1 64 5 0 6 0 {ticks} 7 0 0 20 0 3 0 {start} 4096 1 0\n");
        fs::write(directory.join("stat"), stat).unwrap();
    }

    /// The series of a page and their values, of those whose name contains `word`.
    fn figures(plugin: &mut dyn Plugin, samples: &mut Samples, word: &str) -> Vec<f64> {
        samples.begin();
        plugin.collect(samples).unwrap();
        samples.finish().unwrap();
        let families = samples.layout().families.iter();
        let names = families.flat_map(|family| family.series.iter().map(|_| family.name.as_str()));
        names.zip(samples.values()).filter(|(name, _)| name.contains(word)).map(|(_, value)| *value).collect()
    }

    #[test]
    fn a_counter_keeps_what_a_process_that_ended_has_used() {
        let root = tempfile::tempdir().unwrap();
        let mut plugin = build(root.path(), &[("names", &["job"])]).unwrap();
        let mut samples = Samples::new();
        let mut seconds = |count: f64| {
            assert_eq!(figures(&mut *plugin, &mut samples, "num_procs"), [count]);
            figures(&mut *plugin, &mut samples, "cpu_seconds")[1]
        };
        process(root.path(), 1, "init", 1, 1_000);
        assert_eq!(seconds(0.0), 0.0);
        process(root.path(), 7, "job", 50, 10);
        process(root.path(), 8, "job", 60, 20);
        assert_eq!(seconds(2.0), 30.0);
        fs::remove_dir_all(root.path().join("7")).unwrap();
        assert_eq!(seconds(1.0), 30.0);
        // The number is given to another process.
        process(root.path(), 8, "job", 70, 3);
        assert_eq!(seconds(1.0), 33.0);
        process(root.path(), 8, "job", 70, 4);
        assert_eq!(seconds(1.0), 34.0);
        // The kernel corrects itself: what was counted stays.
        process(root.path(), 8, "job", 70, 3);
        assert_eq!(seconds(1.0), 34.0);
        process(root.path(), 8, "job", 70, 4);
        assert_eq!(seconds(1.0), 34.0);
        fs::remove_dir_all(root.path().join("8")).unwrap();
        assert_eq!(seconds(0.0), 34.0);
    }

    #[test]
    fn what_is_wrong_with_the_groups_is_named() {
        let root = Path::new("/nonexistent");
        let nothing = "names: no group at all; list names of processes here, or systemd units under units";
        assert_eq!(build(root, &[]).err().unwrap(), nothing);
        assert_eq!(build(root, &[("names", &[]), ("units", &[])]).err().unwrap(), nothing);
        assert_eq!(
            build(root, &[("names", &["a", "/bin/a", "a"]), ("units", &["ssh", "", "ssh.service"])]).err().unwrap(),
            "names: \"/bin/a\" is no name of a process, which is neither empty nor a path; names: \"a\" is there twice; \
             units: \"ssh\" has no suffix, such as .service; units: \"\" is no name of a unit"
        );
    }

    #[test]
    fn boot_times() {
        assert_eq!(boot_time(b"cpu 1\nbtime 99\nctxt 1\n"), Some(99));
        assert_eq!(boot_time(b"btime x\n"), None);
        assert_eq!(boot_time(b"btime 99"), None);
    }
}
