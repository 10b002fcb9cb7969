//! Figures that scripts leave in files `*.prom` of a directory, as for node_exporter's collector of this name.

mod file;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hostwatch_wire::MetricType;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::exposition::{MAX_SERIES, compare_series, owner_of};
use crate::names::Names;
use crate::options::BuildError;
use crate::{CollectError, Descriptor, Plugin, Samples};

use file::TextFile;

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "textfile",
    collector: "textfile",
    about: "what the files *.prom say in a directory that the host's owner allowed under [allow.textfile]",
    on_by_default: true,
    build: |_, options| {
        let Some(directory) = options.allowed_directory("directory", "default") else {
            return Err(BuildError::noted());
        };
        Ok(Box::new(TextFiles::new(directory.path.clone(), directory.is_optional)))
    },
};

const MTIME: &str = "node_textfile_mtime_seconds";
const SCRAPE_ERROR: &str = "node_textfile_scrape_error";
/// More files than anybody writes, and few enough to look at each time.
const MAX_FILES: usize = 1_000;

struct TextFiles {
    path: PathBuf,
    is_optional: bool,
    names: Names,
    /// Sorted by name.
    files: Vec<TextFile>,
    content: Vec<u8>,
    /// The families of all files as (file, family of its page), by name and then by file.
    families: Vec<Member>,
    /// The series of a family that several files have.
    series: Vec<(Member, u32)>,
    remarks: Remarks,
}

/// What is to be told of a collection.
#[derive(Default)]
struct Remarks {
    text: String,
    has_mistake: bool,
}

impl Remarks {
    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        use std::fmt::Write;
        let separator = if self.text.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "{separator}{what}");
    }

    fn mistake(&mut self, what: std::fmt::Arguments<'_>) {
        self.has_mistake = true;
        self.add(what);
    }
}

impl Plugin for TextFiles {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.remarks = Remarks { text: std::mem::take(&mut self.remarks.text), has_mistake: false };
        self.remarks.text.clear();
        self.read_files();
        self.push_files(samples);
        samples.gauge(
            SCRAPE_ERROR,
            "Whether a file or the directory of them could not be read as a whole.",
            f64::from(u8::from(self.remarks.has_mistake)),
        );
        if !self.remarks.text.is_empty() {
            samples.say(&self.remarks.text);
        }
        Ok(())
    }
}

impl TextFiles {
    fn new(path: PathBuf, is_optional: bool) -> Self {
        let (names, remarks) = (Names::new(), Remarks::default());
        let (files, content, families, series) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { path, is_optional, names, files, content, families, series, remarks }
    }

    /// Brings the files up to what the directory has now.
    fn read_files(&mut self) {
        self.names.clear();
        let directory = match self.open() {
            Ok(directory) => directory,
            Err(errno) => {
                self.files.clear();
                if !(self.is_optional && errno == Errno::NOENT) {
                    self.remarks.mistake(format_args!("cannot read {}: {errno}", self.path.display()));
                }
                return;
            }
        };
        self.names.read(&directory);
        self.names.retain(|name| name.ends_with(".prom"));
        self.names.sort_as_text();
        if self.names.iter().count() > MAX_FILES {
            let path = self.path.display();
            self.remarks.mistake(format_args!("{path}: only the first {MAX_FILES} files are read"));
        }
        let mut count = 0;
        for name in self.names.iter().take(MAX_FILES) {
            // What stands before this name is gone.
            let gone = self.files[count..].iter().take_while(|file| file.name() < name).count();
            self.files.drain(count..count + gone);
            if self.files.get(count).is_none_or(|file| file.name() != name) {
                self.files.insert(count, TextFile::new(&self.path, name));
            }
            self.files[count].read(&directory, &mut self.content);
            count += 1;
        }
        self.files.truncate(count);
        for file in &self.files {
            match file.mistake() {
                Some(mistake) => self.remarks.mistake(format_args!("{mistake}")),
                None => {
                    if let Some((count, reason)) = file.page().left_out() {
                        let path = file.path();
                        self.remarks
                            .add(format_args!("{path}: {count} series are left out, the first because of {reason}"));
                    }
                }
            }
        }
    }

    fn open(&self) -> rustix::io::Result<OwnedFd> {
        rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Hands on all files as one page.
    fn push_files(&mut self, samples: &mut Samples) {
        let mut left = MAX_SERIES;
        for file in &mut self.files {
            if file.page().len() > left {
                self.remarks
                    .mistake(format_args!("{}: all files together have more than {MAX_SERIES} series", file.path()));
                file.leave_out();
            }
            left -= file.page().len();
        }
        let files = self.files.iter().zip(0..);
        self.families.clear();
        self.families.extend(
            files.flat_map(|(file, number)| {
                (0..file.page().families().len() as u32).map(move |family| (number, family))
            }),
        );
        let view = |&(file, family): &Member| self.files[file as usize].page().family(family as usize);
        self.families.sort_unstable_by(|a, b| view(a).name().cmp(view(b).name()).then(a.cmp(b)));

        let mut rest = self.families.as_slice();
        while let Some(first) = rest.first() {
            let name = view(first).name();
            let same = rest.iter().take_while(|other| view(other).name() == name).count();
            let (group, behind) = rest.split_at(same);
            rest = behind;
            if matches!(name, MTIME | SCRAPE_ERROR) {
                let path = self.files[first.0 as usize].path();
                self.remarks.mistake(format_args!("{path}:{}: {name} is not for files to say", view(first).line()));
                continue;
            }
            let owner = owner_of(name, |base| {
                let found = self.families.partition_point(|other| view(other).name() < base);
                let found = self.families.get(found).filter(|other| view(other).name() == base)?;
                Some((found, view(found).kind()))
            });
            if let Some(owner) = owner {
                let (path, line) = (self.files[first.0 as usize].path(), view(first).line());
                let other = self.files[owner.0 as usize].path();
                self.remarks.mistake(format_args!("{path}:{line}: {name} is a series of a family in {other}"));
                continue;
            }
            push_group(&self.files, group, &mut self.series, &mut self.remarks, samples);
        }
        self.push_times(samples);
    }

    fn push_times(&mut self, samples: &mut Samples) {
        let mut sparse = samples.sparse(MTIME, MetricType::Gauge, "When a file was changed last.");
        for file in self.files.iter().filter(|file| file.mistake().is_none()) {
            sparse.push(&[("file", file.path())], file.changed_at());
        }
    }
}

/// A family of a file, by the numbers of both.
type Member = (u32, u32);

/// Hands on a family that one or more files have. What does not agree with an earlier file is left out.
fn push_group(
    files: &[TextFile],
    group: &[Member],
    series: &mut Vec<(Member, u32)>,
    remarks: &mut Remarks,
    samples: &mut Samples,
) {
    let family = |(file, family): Member| files[file as usize].page().family(family as usize);
    let Some((&first, others)) = group.split_first() else { return };
    let kind = family(first).kind();
    let help = group.iter().find_map(|member| family(*member).help()).unwrap_or_default();
    samples.family(family(first).name(), kind, help);
    if others.is_empty() {
        return family(first).series().for_each(|series| series.push_to(samples));
    }
    let mut disagree = |earlier: Member, later: Member, what: &str| {
        let (path, other) = (files[later.0 as usize].path(), files[earlier.0 as usize].path());
        let (line, name) = (family(later).line(), family(later).name());
        remarks.mistake(format_args!("{path}:{line}: {name}: {what} {other}"));
    };
    series.clear();
    for member in group {
        if family(*member).kind() != kind {
            disagree(first, *member, "the type is another one in");
        } else if family(*member).help().is_some_and(|other| other != help) {
            disagree(first, *member, "the help is another one in");
        } else {
            series.extend((0..family(*member).series().len() as u32).map(|index| (*member, index)));
        }
    }
    let view = |&(member, index): &(Member, u32)| family(member).series_at(index as usize);
    series.sort_unstable_by(|a, b| compare_series(view(a), view(b)).then(a.cmp(b)));
    let mut last: Option<&(Member, u32)> = None;
    for row in series.iter() {
        match last.filter(|last| compare_series(view(last), view(row)).is_eq()) {
            Some(same) => disagree(same.0, row.0, "a series stands already in"),
            None => {
                view(row).push_to(samples);
                last = Some(row);
            }
        }
    }
}
