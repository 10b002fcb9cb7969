//! One line of a page: what it says, in slices of the page itself.

use hostwatch_wire::MAX_LABELS;
use hostwatch_wire::text::Format;

/// The most that a message repeats of a line.
const MAX_SHOWN_BYTES: usize = 40;
const BLANK: [char; 2] = [' ', '\t'];

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Nothing: an empty line or a comment.
    Comment,
    /// What a family is for, escaped.
    Help { family: &'a str, text: &'a str },
    /// Of which type a family is.
    Type { family: &'a str, kind: &'a str },
    /// The end of a page in OpenMetrics.
    End,
    /// A value; its labels are in the list that was given.
    Sample { name: &'a str, value: f64, has_timestamp: bool },
}

/// Labels of one series: names, and values that may be escaped.
pub(super) struct Labels<'a> {
    list: [(&'a str, &'a str); MAX_LABELS],
    length: usize,
}

impl<'a> Labels<'a> {
    pub(super) fn new() -> Self {
        Self { list: [("", ""); MAX_LABELS], length: 0 }
    }

    pub(super) fn as_slice(&self) -> &[(&'a str, &'a str)] {
        &self.list[..self.length]
    }

    fn push(&mut self, name: &'a str, value: &'a str) -> Result<(), String> {
        let free = self.list.get_mut(self.length).ok_or_else(|| format!("more than {MAX_LABELS} labels"))?;
        *free = (name, value);
        self.length += 1;
        Ok(())
    }
}

/// Reads a line, without its line feed.
pub(super) fn parse<'a>(line: &'a str, format: Format, labels: &mut Labels<'a>) -> Result<Line<'a>, String> {
    let line = line.trim_start_matches(BLANK);
    match line.strip_prefix('#') {
        Some(comment) => parse_comment(comment.trim_start_matches(BLANK), format),
        None if line.is_empty() => Ok(Line::Comment),
        None => parse_sample(line, format, labels),
    }
}

fn parse_comment(comment: &str, format: Format) -> Result<Line<'_>, String> {
    let (word, rest) = split_word(comment);
    match word {
        "HELP" => {
            let (family, text) = split_word(rest);
            check_metric_name(family)?;
            Ok(Line::Help { family, text })
        }
        "TYPE" => {
            let (family, kind) = split_word(rest);
            check_metric_name(family)?;
            Ok(Line::Type { family, kind: kind.trim_end_matches(BLANK) })
        }
        "EOF" if format == Format::OpenMetrics && rest.is_empty() => Ok(Line::End),
        _ => Ok(Line::Comment),
    }
}

fn parse_sample<'a>(line: &'a str, format: Format, labels: &mut Labels<'a>) -> Result<Line<'a>, String> {
    let (name, rest) = line.split_at(line.find(|c| !is_name_character(c, true)).unwrap_or(line.len()));
    check_metric_name(if name.is_empty() { line } else { name })?;
    labels.length = 0;
    let rest = rest.trim_start_matches(BLANK);
    let rest = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside, labels)?,
        None if rest.len() + name.len() == line.len() && !rest.is_empty() => {
            return Err(format!("{} is no metric name", shown(line)));
        }
        None => rest,
    };
    let (value, rest) = split_word(rest.trim_start_matches(BLANK));
    let value = parse_number(value)?;
    let has_timestamp = match rest {
        "" => false,
        _ if format == Format::OpenMetrics && rest.starts_with('#') => {
            check_exemplar(rest)?;
            false
        }
        _ => {
            let (timestamp, rest) = split_word(rest);
            match format {
                Format::Text => timestamp.parse::<i64>().is_ok(),
                Format::OpenMetrics => timestamp.parse::<f64>().is_ok_and(f64::is_finite),
            }
            .then_some(())
            .ok_or_else(|| format!("{} is no timestamp", shown(timestamp)))?;
            match rest {
                "" => {}
                _ if format == Format::OpenMetrics && rest.starts_with('#') => check_exemplar(rest)?,
                _ => return Err(format!("{} behind the timestamp", shown(rest))),
            }
            true
        }
    };
    Ok(Line::Sample { name, value, has_timestamp })
}

/// Reads what follows an opening brace and returns what follows the closing one.
fn parse_labels<'a>(mut rest: &'a str, labels: &mut Labels<'a>) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start_matches(BLANK);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (name, behind) = rest.split_at(rest.find(|c| !is_name_character(c, false)).unwrap_or(rest.len()));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("expected the name of a label, found {}", shown(rest)));
        }
        let behind = behind.trim_start_matches(BLANK);
        let quoted = behind.strip_prefix('=').map(|behind| behind.trim_start_matches(BLANK));
        let quoted = quoted.and_then(|behind| behind.strip_prefix('"'));
        let quoted = quoted.ok_or_else(|| format!("the label {} has no value in quotes", shown(name)))?;
        let end = closing_quote(quoted).ok_or_else(|| format!("the value of the label {} has no end", shown(name)))?;
        labels.push(name, &quoted[..end])?;
        rest = quoted[end + 1..].trim_start_matches(BLANK);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err(format!("expected a comma or a brace behind a label, found {}", shown(rest))),
        }
    }
}

/// An exemplar says which event a value comes from; it is read to see where the line ends, and is not kept.
fn check_exemplar(text: &str) -> Result<(), String> {
    let labels = text.strip_prefix('#').map(|text| text.trim_start_matches(BLANK));
    let labels = labels.and_then(|labels| labels.strip_prefix('{'));
    let labels = labels.ok_or_else(|| format!("expected an exemplar, found {}", shown(text)))?;
    let rest = parse_labels(labels, &mut Labels::new())?;
    let (value, rest) = split_word(rest.trim_start_matches(BLANK));
    parse_number(value)?;
    let (timestamp, rest) = split_word(rest);
    if !rest.is_empty() || !(timestamp.is_empty() || timestamp.parse::<f64>().is_ok()) {
        return Err(format!("{} behind an exemplar", shown(timestamp)));
    }
    Ok(())
}

/// Appends `text` to `plain` without its escapes. What is no escape stays as it is, as Prometheus has it.
pub(super) fn unescape(text: &str, plain: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let (character, length) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') => ('"', 2),
            _ => ('\\', 1),
        };
        plain.push(character);
        rest = &rest[at + length..];
    }
    plain.push_str(rest);
}

/// Numbers are Go's as Prometheus takes them, which are Rust's.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    if text.is_empty() {
        return Err("no value".to_owned());
    }
    text.parse().map_err(|_| format!("{} is no number", shown(text)))
}

/// As much of a text as a message may repeat, in quotes.
pub(super) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_SHOWN_BYTES);
    if end < text.len() { format!("{:?}…", &text[..end]) } else { format!("{text:?}") }
}

fn check_metric_name(name: &str) -> Result<(), String> {
    let is_one = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| is_name_character(c, true));
    if is_one { Ok(()) } else { Err(format!("{} is no metric name", shown(name))) }
}

fn is_name_character(character: char, of_metric: bool) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || (of_metric && character == ':')
}

/// The first word, and what follows it behind the blanks.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_at(text.find(BLANK).unwrap_or(text.len()));
    (word, rest.trim_start_matches(BLANK))
}

/// Where the value ends that `text` begins with.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}
