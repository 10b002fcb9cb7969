//! A strict reader of the Prometheus text format 0.0.4: it refuses whatever the format does not allow.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// The labels of a sample, by name.
pub type Labels = BTreeMap<String, String>;

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, with the suffix of a histogram or summary: `…_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// What a page says of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram`, `summary` or `untyped`; none if the page has no TYPE line.
    pub kind: Option<String>,
    /// The text of the HELP line.
    pub help: Option<String>,
}

/// A whole page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// All samples, in the page's order.
    pub samples: Vec<Sample>,
    /// The families by name.
    pub families: BTreeMap<String, Family>,
}

/// What is wrong with a page, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageError {
    line: usize,
    text: String,
    what: String,
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// At the first line that is malformed, repeats a series, comes back to an earlier family, or types it too late.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let mut reader = Reader::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let outcome = match line.strip_suffix('\n') {
                Some(line) => reader.line(line),
                None => Err("the last line has no line feed".to_owned()),
            };
            outcome.map_err(|what| PageError { line: index + 1, text: line.trim_end().to_owned(), what })?;
        }
        Ok(reader.page)
    }

    /// The samples of a name.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The value of the one sample with this name and at least these labels.
    ///
    /// # Panics
    /// When there are several: then the test asks for less than it means.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.series(name).filter(|sample| sample.has(labels));
        let first = found.next()?;
        if let Some(second) = found.next() {
            panic!("{name} with {labels:?} is not one series: {:?} and {:?}", first.labels, second.labels);
        }
        Some(first.value)
    }

    /// The type of a family, if the page has such a family and names its type.
    pub fn kind(&self, family: &str) -> Option<&str> {
        self.families.get(family)?.kind.as_deref()
    }
}

impl Sample {
    /// Whether it has these labels, among others.
    pub fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == Some(*value))
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page, line {}: {}: {:?}", self.line, self.what, self.text)
    }
}

impl std::error::Error for PageError {}

/// A page being read, with what the rules about order need.
#[derive(Default)]
struct Reader {
    page: Page,
    /// The family to which the last line belonged.
    current: String,
    /// The families that had samples and are over, or have samples now.
    sampled: HashSet<String>,
    seen: HashSet<(String, Labels)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            Ok(())
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            self.help(rest)
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            self.kind(rest)
        } else if line.starts_with('#') {
            Ok(())
        } else {
            self.sample(line)
        }
    }

    fn help(&mut self, rest: &str) -> Result<(), String> {
        let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
        let help = unescape(help, false)?;
        let family = self.describe(name)?;
        if family.help.replace(help).is_some() {
            return Err("a second HELP line of this family".to_owned());
        }
        Ok(())
    }

    fn kind(&mut self, rest: &str) -> Result<(), String> {
        let (name, kind) = rest.split_once(' ').ok_or("a TYPE line without a type")?;
        if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
            return Err(format!("{kind:?} is no type"));
        }
        let family = self.describe(name)?;
        if family.kind.replace(kind.to_owned()).is_some() {
            return Err("a second TYPE line of this family".to_owned());
        }
        Ok(())
    }

    /// A line about a family itself has to stand before its samples.
    fn describe(&mut self, name: &str) -> Result<&mut Family, String> {
        if !is_metric_name(name) {
            return Err(format!("{name:?} is no metric name"));
        }
        if self.sampled.contains(name) {
            return Err("this family has samples already".to_owned());
        }
        if self.current != name && self.page.families.contains_key(name) {
            return Err("the lines of this family are not together".to_owned());
        }
        name.clone_into(&mut self.current);
        Ok(self.page.families.entry(name.to_owned()).or_default())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let sample = parse_sample(line)?;
        let family = self.family_of(&sample)?;
        if self.current != family && self.page.families.contains_key(&family) {
            return Err("the lines of this family are not together".to_owned());
        }
        if !self.seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err("this series is on the page already".to_owned());
        }
        self.page.families.entry(family.clone()).or_default();
        self.sampled.insert(family.clone());
        self.current = family;
        self.page.samples.push(sample);
        Ok(())
    }

    /// The family that a sample belongs to: histograms and summaries own names with suffixes beside their own.
    fn family_of(&self, sample: &Sample) -> Result<String, String> {
        for (suffix, kinds, label) in [
            ("_bucket", &["histogram"][..], Some("le")),
            ("_sum", &["histogram", "summary"], None),
            ("_count", &["histogram", "summary"], None),
            ("", &["summary"], Some("quantile")),
        ] {
            let Some(base) = sample.name.strip_suffix(suffix) else { continue };
            if !self.page.kind(base).is_some_and(|kind| kinds.contains(&kind)) {
                continue;
            }
            if let Some(label) = label {
                let bound = sample.label(label).ok_or_else(|| format!("no label {label:?}"))?;
                number(bound).map_err(|what| format!("label {label:?}: {what}"))?;
            }
            return Ok(base.to_owned());
        }
        if self.page.kind(&sample.name) == Some("histogram") {
            return Err("a histogram has no sample of its bare name".to_owned());
        }
        Ok(sample.name.clone())
    }
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ', '\t']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_metric_name(name) {
        return Err(format!("{name:?} is no metric name"));
    }
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = parse_labels(inside, &mut labels)?;
    }
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next().ok_or("no value")?)?;
    if let Some(timestamp) = words.next() {
        timestamp.parse::<i64>().map_err(|_| format!("{timestamp:?} is no timestamp"))?;
    }
    match words.next() {
        Some(word) => Err(format!("{word:?} behind the timestamp")),
        None => Ok(Sample { name: name.to_owned(), labels, value }),
    }
}

/// Reads what follows an opening brace and hands out what follows the closing one.
fn parse_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (name, quoted) = rest.split_once('=').ok_or("a label without a value")?;
        let name = name.trim_end_matches([' ', '\t']);
        if !is_label_name(name) {
            return Err(format!("{name:?} is no label name"));
        }
        let quoted = quoted.trim_start_matches([' ', '\t']).strip_prefix('"').ok_or("a label value without quotes")?;
        let end = closing_quote(quoted).ok_or("a label value that does not end")?;
        if labels.insert(name.to_owned(), unescape(&quoted[..end], true)?).is_some() {
            return Err(format!("label {name:?} twice"));
        }
        rest = quoted[end + 1..].trim_start_matches([' ', '\t']);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("no comma between two labels".to_owned()),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// Label values escape a quote beside the backslash and the line feed; HELP texts do not.
fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => plain.push('\\'),
            Some('n') => plain.push('\n'),
            Some('"') if quotes => plain.push('"'),
            other => return Err(format!("an unknown escape: \\{}", other.map(String::from).unwrap_or_default())),
        }
    }
    Ok(plain)
}

/// Rust's numbers are those of the format, except that the format has no `infinity`.
fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no number");
    if text.to_ascii_lowercase().contains("infinity") {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && is_word(name, ":")
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && is_word(name, "")
}

fn is_word(name: &str, also: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || also.contains(c))
}
