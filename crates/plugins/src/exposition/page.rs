//! A page as families with their series, in memory that the next page uses again.

use std::ops::Range;

use hostwatch_wire::text::Format;
use hostwatch_wire::{MAX_FAMILIES, MAX_HELP_BYTES, MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, Suffix, is_reserved_metric};

use super::Mistake;
use super::kind::{Kind, bound_name};
use super::line::{self, Labels, Line, parse_number, shown, unescape};
use super::table::{NameTable, Span};
use super::view::FamilyView;
use crate::Samples;

/// The most series of a page: with long labels they are a megabyte, which is what a message holds.
pub(crate) const MAX_SERIES: usize = 20_000;
/// The most bytes of a page; a span counts in 32 bits.
pub(crate) const MAX_PAGE_BYTES: usize = 8 << 20;
/// A series that has a label of the server's keeps it under a name with this in front, as Prometheus does it.
const EXPORTED: &str = "exported_";

/// Who wrote a page, and so what is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of a user, as node_exporter reads it: without timestamps, and no series twice.
    File,
    /// An exporter, as Prometheus reads it: timestamps are not looked at, and of two series that are the same the first
    /// stands.
    Exporter(Format),
}

/// The content of a page. Reading another one reuses the memory.
#[derive(Debug, Default)]
pub struct Page {
    /// All names, labels and help texts.
    pub(super) text: String,
    pub(super) families: Vec<Family>,
    pub(super) table: NameTable,
    pub(super) labels: Vec<Label>,
    pub(super) series: Vec<Series>,
    /// The families that have series, by name.
    pub(super) order: Vec<u32>,
    pub(super) left_out: usize,
    /// Why the first of them is.
    pub(super) reason: String,
}

#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) name: Span,
    pub(super) value: Span,
}

#[derive(Debug)]
pub(super) struct Family {
    /// As the page calls it.
    pub(super) declared: Span,
    /// As its series are called.
    pub(super) name: Span,
    pub(super) help: Option<Span>,
    pub(super) kind: Option<Kind>,
    pub(super) line: u32,
    /// Its place in the order, and its series.
    pub(super) rank: u32,
    pub(super) series: Range<u32>,
    pub(super) has_samples: bool,
}

/// A series of a page, in the memory of that page.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) family: u32,
    pub(super) suffix: Suffix,
    /// What `le` or `quantile` says, where it tells the series apart.
    pub(super) bound: f64,
    pub(super) labels: Range<u32>,
    pub(super) value: f64,
    pub(super) line: u32,
}

impl Page {
    /// Reads a page, whatever bytes it has.
    ///
    /// # Errors
    /// The first mistake; the page is empty then.
    pub fn parse(&mut self, content: &[u8], origin: Origin) -> Result<(), Mistake> {
        self.clear();
        let outcome = self.read(content, origin);
        if outcome.is_err() {
            self.clear();
        }
        outcome
    }

    /// How many series were left out because they cannot travel, and why the first one was.
    #[must_use]
    pub fn left_out(&self) -> Option<(usize, &str)> {
        (self.left_out > 0).then_some((self.left_out, self.reason.as_str()))
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Hands every series on.
    pub fn push_to(&self, samples: &mut Samples) {
        for family in self.families() {
            samples.family(family.name(), family.kind(), family.help().unwrap_or_default());
            family.series().for_each(|series| series.push_to(samples));
        }
    }

    /// The families that have series, sorted by name.
    pub(crate) fn families(&self) -> impl ExactSizeIterator<Item = FamilyView<'_>> {
        (0..self.order.len()).map(|index| self.family(index))
    }

    /// One of the families that have series.
    pub(crate) fn family(&self, index: usize) -> FamilyView<'_> {
        FamilyView { page: self, family: &self.families[self.order[index] as usize] }
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.families.clear();
        self.table.clear();
        self.labels.clear();
        self.series.clear();
        self.order.clear();
        self.left_out = 0;
        self.reason.clear();
    }

    fn read(&mut self, content: &[u8], origin: Origin) -> Result<(), Mistake> {
        let at = |line: usize, what: String| Mistake { line: line + 1, what };
        if content.len() > MAX_PAGE_BYTES {
            return Err(at(0, format!("the page is longer than {MAX_PAGE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(content).map_err(|error| {
            let line = content[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            at(line, "not UTF-8".to_owned())
        })?;
        let format = match origin {
            Origin::File => Format::Text,
            Origin::Exporter(format) => format,
        };
        let (mut labels, mut has_ended, mut last) = (Labels::new(), false, 0);
        for (number, line) in text.split_terminator('\n').enumerate() {
            if has_ended {
                return Err(at(number, "there is something behind # EOF".to_owned()));
            }
            let parsed = line::parse(line, format, &mut labels);
            let outcome = parsed.and_then(|line| match line {
                Line::Comment => Ok(()),
                Line::Help { family, text } => self.help(family, text, number),
                Line::Type { family, kind } => self.kind(family, kind, format, number),
                Line::Sample { has_timestamp: true, .. } if origin == Origin::File => {
                    Err("timestamps are not allowed: a file is as old as its last change".to_owned())
                }
                Line::Sample { name, value, .. } => self.sample(name, labels.as_slice(), value, format, number),
                Line::End => {
                    has_ended = true;
                    Ok(())
                }
            });
            outcome.map_err(|what| at(number, what))?;
            last = number;
        }
        if format == Format::OpenMetrics && !has_ended {
            return Err(at(last, "the page has no # EOF, so that its end is missing".to_owned()));
        }
        self.sort(origin).map_err(|(line, what)| at(line as usize, what))
    }

    fn help(&mut self, name: &str, text: &str, line: usize) -> Result<(), String> {
        let family = self.find_or_insert(name, line)?;
        if self.families[family].help.is_some() {
            return Err(format!("a second HELP of {}", shown(name)));
        }
        let start = self.text.len();
        unescape(text, &mut self.text);
        let longest = self.text.floor_char_boundary(start + MAX_HELP_BYTES);
        self.text.truncate(longest);
        self.families[family].help = Some(self.span_from(start));
        Ok(())
    }

    fn kind(&mut self, name: &str, word: &str, format: Format, line: usize) -> Result<(), String> {
        let kind = Kind::parse(word, format).ok_or_else(|| format!("{} is no type", shown(word)))?;
        let family = self.find_or_insert(name, line)?;
        if self.families[family].kind.is_some() {
            return Err(format!("a second TYPE of {}", shown(name)));
        }
        if self.families[family].has_samples {
            return Err(format!("the TYPE of {} stands behind its samples", shown(name)));
        }
        if !kind.ending().is_empty() {
            let start = self.text.len();
            self.text.push_str(name);
            self.text.push_str(kind.ending());
            self.families[family].name = self.span_from(start);
        }
        self.families[family].kind = Some(kind);
        Ok(())
    }

    fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
        format: Format,
        line: usize,
    ) -> Result<(), String> {
        let (family, suffix) = self.owner(name, format, line)?;
        self.families[family].has_samples = true;
        let kind = self.families[family].kind.unwrap_or(Kind::Unknown).metric_type();
        let bound = bound_name(kind, suffix);
        let number = match bound.map(|bound| (bound, labels.iter().find(|(name, _)| *name == bound))) {
            None => f64::NAN,
            Some((bound, None)) => {
                return Err(format!("no label {bound} in a series of a {}", kind.text_format_name()));
            }
            Some((_, Some((_, value)))) => parse_number(value)?,
        };
        let (text, first) = (self.text.len(), self.labels.len());
        let taken = self.take_labels(labels, bound)?;
        let own = self.text(&self.families[family].name);
        let obstacle = match taken {
            Err(obstacle) => Some(obstacle),
            Ok(()) if is_reserved_metric(own) => Some("the name is reserved"),
            Ok(()) if own.len() > MAX_NAME_BYTES => Some("the name is too long"),
            Ok(()) => None,
        };
        if let Some(obstacle) = obstacle {
            self.text.truncate(text);
            self.labels.truncate(first);
            self.leave_out(line, name, obstacle);
            return Ok(());
        }
        if self.series.len() == MAX_SERIES {
            return Err(format!("more than {MAX_SERIES} series"));
        }
        let labels = first as u32..self.labels.len() as u32;
        self.series.push(Series { family: family as u32, suffix, bound: number, labels, value, line: line as u32 });
        Ok(())
    }

    /// Keeps the labels of a series, sorted by name; the inner result says why the series cannot travel.
    fn take_labels(
        &mut self,
        labels: &[(&str, &str)],
        bound: Option<&str>,
    ) -> Result<Result<(), &'static str>, String> {
        let first = self.labels.len();
        for (name, value) in labels {
            if name.starts_with("__") {
                return Ok(Err("a label whose name begins with __ is reserved"));
            }
            let start = self.text.len();
            if matches!(*name, "instance" | "job") {
                self.text.push_str(EXPORTED);
                while labels.iter().any(|(other, _)| other.strip_suffix(name) == Some(&self.text[start..])) {
                    self.text.push_str(EXPORTED);
                }
            }
            self.text.push_str(name);
            let value = if bound == Some(name) { without_fraction(value) } else { value };
            let name = self.span_from(start);
            let start = self.text.len();
            unescape(value, &mut self.text);
            let value = self.span_from(start);
            if name.len() > MAX_NAME_BYTES || value.len() > MAX_LABEL_VALUE_BYTES {
                return Ok(Err("a label is too long"));
            }
            self.labels.push(Label { name, value });
        }
        let text = &self.text;
        let name = |label: &Label| &text[label.name.start as usize..label.name.end as usize];
        let kept = &mut self.labels[first..];
        kept.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        match kept.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            Some(pair) => Err(format!("the label {} twice", shown(name(&pair[0])))),
            None => Ok(Ok(())),
        }
    }

    /// The family that a series of this name belongs to, which is made if there is none.
    fn owner(&mut self, name: &str, format: Format, line: usize) -> Result<(usize, Suffix), String> {
        if let Some(family) = self.find(name) {
            return match self.families[family].kind {
                Some(kind @ (Kind::Histogram | Kind::GaugeHistogram | Kind::Total | Kind::Info)) => {
                    let kind = format!("{kind:?}").to_lowercase();
                    Err(format!("{} is the name of a {kind}, whose series are called otherwise", shown(name)))
                }
                _ => Ok((family, Suffix::None)),
            };
        }
        for suffix in [Suffix::Bucket, Suffix::Sum, Suffix::Count] {
            let base = name.strip_suffix(suffix.as_str()).and_then(|base| self.find(base));
            let Some(family) = base else { continue };
            let kind = self.families[family].kind;
            if matches!((kind, suffix), (Some(Kind::Histogram), _) | (Some(Kind::Summary), Suffix::Sum | Suffix::Count))
            {
                return Ok((family, suffix));
            }
        }
        if format == Format::OpenMetrics {
            for kind in [Kind::Total, Kind::Info] {
                let base = name.strip_suffix(kind.ending()).and_then(|base| self.find(base));
                if let Some(family) = base.filter(|family| self.families[*family].kind == Some(kind)) {
                    return Ok((family, Suffix::None));
                }
            }
        }
        let family = self.find_or_insert(name, line)?;
        // When something was created is a point in time.
        let created = name.strip_suffix("_created").and_then(|base| self.find(base));
        if format == Format::OpenMetrics && created.is_some() {
            self.families[family].kind = Some(Kind::Gauge);
        }
        Ok((family, Suffix::None))
    }

    fn find(&self, name: &str) -> Option<usize> {
        let declared = |number: u32| self.text(&self.families[number as usize].declared);
        self.table.find(name, declared).map(|number| number as usize)
    }

    fn find_or_insert(&mut self, name: &str, line: usize) -> Result<usize, String> {
        if let Some(family) = self.find(name) {
            return Ok(family);
        }
        if self.families.len() == MAX_FAMILIES {
            return Err(format!("more than {MAX_FAMILIES} families"));
        }
        let start = self.text.len();
        self.text.push_str(name);
        let (declared, number) = (self.span_from(start), self.families.len());
        let name = declared.clone();
        let (line, series) = (line as u32, 0..0);
        let family = Family { declared, name, help: None, kind: None, line, rank: 0, series, has_samples: false };
        self.families.push(family);
        let (families, text) = (&self.families, &self.text);
        self.table.insert(number as u32, |number| {
            let declared = &families[number as usize].declared;
            &text[declared.start as usize..declared.end as usize]
        });
        Ok(number)
    }

    pub(super) fn leave_out(&mut self, line: usize, name: &str, obstacle: &str) {
        use std::fmt::Write;
        if self.left_out == 0 {
            let end = name.floor_char_boundary(MAX_NAME_BYTES);
            let _ = write!(self.reason, "line {}: {}: {obstacle}", line + 1, &name[..end]);
        }
        self.left_out += 1;
    }

    pub(super) fn labels_of(&self, series: &Series) -> &[Label] {
        &self.labels[series.labels.start as usize..series.labels.end as usize]
    }

    pub(super) fn bound_of(&self, series: &Series) -> Option<&'static str> {
        let kind = self.families[series.family as usize].kind.unwrap_or(Kind::Unknown);
        bound_name(kind.metric_type(), series.suffix)
    }

    pub(super) fn name_of(&self, family: u32) -> &str {
        self.text(&self.families[family as usize].name)
    }

    pub(super) fn text(&self, span: &Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn span_from(&self, start: usize) -> Span {
        start as u32..self.text.len() as u32
    }
}

/// A bound as text format 0.0.4 writes it: OpenMetrics has `1.0` where it has `1`.
fn without_fraction(bound: &str) -> &str {
    let whole = bound.strip_suffix(".0").filter(|whole| whole.bytes().all(|byte| byte.is_ascii_digit()));
    whole.filter(|whole| !whole.is_empty()).unwrap_or(bound)
}
