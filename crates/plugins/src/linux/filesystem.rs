//! Size and room of each mounted file system, from /proc/1/mountinfo and statvfs(3). Source: proc_pid_mountinfo(5).
//!
//! The mounts are those of the first process, whose read-only flags are the machine's: a sandbox shows its own.

mod mounts;
mod prober;

use std::time::{Duration, Instant};

use hostwatch_wire::MetricType;

use crate::filter::Filter;
use crate::linux::kernel_file::KernelFile;
use crate::refresh::Refresh;
use crate::{CollectError, Descriptor, Plugin, Samples};

use mounts::{Mount, Mounts};
use prober::{Answer, Figures, Prober};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "filesystem",
    collector: "filesystem",
    about: "size, free room, inodes and read-only flag of each mounted file system, from /proc/1/mountinfo and statvfs",
    on_by_default: true,
    build: |roots, options| {
        let points = Filter::new(options, ["mount_points_include", "mount_points_exclude"], EXCLUDED_POINTS);
        let types = Filter::new(options, ["fs_types_include", "fs_types_exclude"], EXCLUDED_TYPES);
        let timeout = options.float("mount_timeout", 0.01..=60.0).unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        Ok(Box::new(Filesystem {
            files: ["1/mountinfo", "self/mountinfo"].map(|name| KernelFile::new(roots.procfs.join(name))),
            mounts: Mounts::new(&roots.rootfs, points, types),
            prober: Prober::new(),
            timeout: Duration::from_secs_f64(timeout),
            refresh: Refresh::every(TABLE_AGE),
        }))
    },
};

/// What is there for the kernel and for containers, and comes and goes with these.
const EXCLUDED_POINTS: &str = "^/(dev|proc|sys|run/credentials/.+|run/k3s/containerd/.+|var/lib/docker/.+\
                               |var/lib/containers/storage/.+|var/lib/kubelet/pods/.+)($|/)";
/// What holds no files of anybody, or is always full.
const EXCLUDED_TYPES: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs\
                              |iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs\
                              |sysfs|tracefs)$";
/// So long may the mounts that do not answer hold up the others, in the collection in which that begins.
const DEFAULT_TIMEOUT_SECONDS: f64 = 2.0;

/// The table of mounts is read at least so often: the kernel does not tell when a file system turns to reading only because
/// of errors.
const TABLE_AGE: Duration = Duration::from_secs(5);

/// Family, help, and which figure of a file system that answers.
type Family = (&'static str, &'static str, fn(&Figures) -> f64);

const FAMILIES: [Family; 5] = [
    ("node_filesystem_size_bytes", "Size of a file system.", |figures| figures.size),
    ("node_filesystem_free_bytes", "Free room of a file system, root's reserve included.", |figures| figures.free),
    ("node_filesystem_avail_bytes", "Free room of a file system for users other than root.", |figures| figures.avail),
    ("node_filesystem_files", "Inodes that a file system has.", |figures| figures.files),
    ("node_filesystem_files_free", "Inodes of a file system that are free.", |figures| figures.files_free),
];

struct Filesystem {
    /// The mounts of the first process, and of this one where the first is hidden.
    files: [KernelFile; 2],
    mounts: Mounts,
    prober: Prober,
    timeout: Duration,
    refresh: Refresh,
}

impl Filesystem {
    /// Reads the table of mounts if it may be another one than before.
    fn update(&mut self) -> Result<(), CollectError> {
        let Self { files: [first, own], mounts, refresh, .. } = self;
        // Asked before the table is read, so that no change falls between the two.
        if first.may_have_news() && own.may_have_news() {
            refresh.hasten();
        }
        if !refresh.is_due() {
            return Ok(());
        }
        if first.parse_if_present(|content| mounts.update(content))?.is_none() {
            own.parse(|content| mounts.update(content))?;
        }
        refresh.done();
        Ok(())
    }
}

impl Plugin for Filesystem {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.update()?;
        let Self { mounts, prober, timeout, .. } = self;
        let mounts = mounts.as_mut_slice();
        mounts.iter().filter(|mount| mount.is_prompt).for_each(|mount| mount.probe.answer_at_once());
        let others = mounts.iter().filter(|mount| !mount.is_prompt).map(|mount| &mount.probe);
        prober.ask(others, Instant::now() + *timeout)?;
        mounts.iter_mut().for_each(Mount::take_answer);
        if mounts.is_empty() {
            return Ok(());
        }

        for (name, help, figure) in FAMILIES {
            let mut answers = mounts.iter().filter_map(|mount| match &mount.answer {
                Answer::Figures(figures) => Some((mount, figures)),
                Answer::Failed(_) | Answer::Outstanding => None,
            });
            let Some(first) = answers.next() else { break };
            samples.family(name, MetricType::Gauge, help);
            for (mount, figures) in std::iter::once(first).chain(answers) {
                mount.push(samples, figure(figures));
            }
        }
        let help = "Whether a file system is mounted for reading only.";
        samples.family("node_filesystem_readonly", MetricType::Gauge, help);
        mounts.iter().for_each(|mount| mount.push(samples, f64::from(mount.is_readonly)));
        let help = "Whether a file system did not answer, and why.";
        samples.family("node_filesystem_device_error", MetricType::Gauge, help);
        mounts.iter().for_each(|mount| mount.push(samples, f64::from(!mount.error().is_empty())));
        Ok(())
    }
}
