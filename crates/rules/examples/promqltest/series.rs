//! Series as the test files write them: `name{label="value"} 0+10x5 _ stale`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hostwatch_rules::{Labels, STALE};

/// A series with a value for each step; none where there is no point.
pub(crate) struct Series {
    /// Its labels.
    pub(crate) labels: Labels,
    /// Its values, from the first step on.
    pub(crate) values: Vec<Option<f64>>,
    /// Whether some of its values are histograms, which are left out.
    pub(crate) has_histograms: bool,
}

impl Series {
    /// Reads a line; one that begins with a number is a scalar, a series without labels.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let (labels, rest) = labels(line)?;
        let mut series = Self { labels, values: Vec::new(), has_histograms: false };
        series.expand(rest).with_context(|| format!("cannot read the values of {line:?}"))?;
        Ok(series)
    }

    /// The expanding notation: `a+bxn` is a, a+b, … up to a+n·b; `axn` is n+1 times a; `_` no point, `_xn` n of them.
    fn expand(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim();
        while !rest.is_empty() {
            if rest.starts_with("{{") {
                rest = self.skip_histogram(rest)?;
                continue;
            }
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            rest = after.trim_start();
            if let Some(count) = word.strip_prefix('_') {
                let count = if count.is_empty() { 1 } else { repetitions(count)? };
                self.values.extend(std::iter::repeat_n(None, count));
            } else if let Some(count) = word.strip_prefix("stale") {
                let count = if count.is_empty() { 0 } else { repetitions(count)? };
                self.values.extend(std::iter::repeat_n(Some(STALE), count + 1));
            } else {
                self.repeat(word)?;
            }
        }
        Ok(())
    }

    fn repeat(&mut self, word: &str) -> Result<()> {
        let Some((value, count)) = word.rsplit_once('x').filter(|(value, _)| !value.is_empty() && *value != "0") else {
            self.values.push(Some(number(word)?));
            return Ok(());
        };
        let count: usize = count.parse()?;
        // The sign of the step is the last one that does not belong to an exponent or begins the number.
        let sign = value
            .char_indices()
            .rev()
            .find(|(at, char)| matches!(char, '+' | '-') && *at > 0 && !value[..*at].ends_with(['e', 'E']))
            .map(|(at, _)| at);
        let (start, step) = match sign {
            Some(at) => (number(&value[..at])?, number(value[at..].trim_start_matches('+'))?),
            None => (number(value)?, 0.0),
        };
        self.values.extend((0..=count).map(|index| Some(start + step * index as f64)));
        Ok(())
    }

    fn skip_histogram<'t>(&mut self, text: &'t str) -> Result<&'t str> {
        self.has_histograms = true;
        let mut end = text.find("}}").context("a histogram has no end")? + 2;
        if text[end..].starts_with(['+', '-']) {
            end += text[end..].find("}}").context("a histogram has no end")? + 2;
        }
        let repeat = text[end..].split(char::is_whitespace).next().unwrap_or_default();
        let count = if repeat.is_empty() { 0 } else { repetitions(repeat)? };
        self.values.extend(std::iter::repeat_n(None, count + 1));
        Ok(text[end + repeat.len()..].trim_start())
    }
}

fn repetitions(text: &str) -> Result<usize> {
    Ok(text.strip_prefix('x').with_context(|| format!("{text:?} is no repetition"))?.parse()?)
}

/// A number as Go reads it.
pub(crate) fn number(text: &str) -> Result<f64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return Ok(u64::from_str_radix(digits, 16)? as f64);
    }
    text.parse().with_context(|| format!("{text:?} is no number"))
}

/// A duration or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::try_from_secs_f64(seconds)?);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u32 = rest[..digits].parse().with_context(|| format!("{text:?} is no duration"))?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => bail!("{text:?} is no duration"),
        };
        rest = &rest[letters..];
        total += Duration::from_millis(millis) * count;
    }
    Ok(total)
}

/// The labels that a line begins with, and what follows them.
fn labels(line: &str) -> Result<(Labels, &str)> {
    let line = line.trim();
    let name_end = line.find(|char: char| !(char.is_ascii_alphanumeric() || "_:".contains(char))).unwrap_or(line.len());
    let name = &line[..name_end];
    let is_number = number(line.split_whitespace().next().unwrap_or_default()).is_ok();
    if is_number || line.starts_with("{{") {
        return Ok((Labels::default(), line));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push(("__name__".into(), name.into()));
    }
    let mut rest = &line[name_end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while let Some(char) = rest.chars().next() {
            match char {
                '}' => break,
                ',' => rest = rest[1..].trim_start(),
                _ => rest = pair(rest, &mut pairs)?,
            }
        }
        rest = rest.strip_prefix('}').with_context(|| format!("{line:?} has no closing brace"))?;
    }
    Ok((Labels::new(pairs), rest))
}

fn pair<'t>(text: &'t str, pairs: &mut Vec<(String, String)>) -> Result<&'t str> {
    let (name, rest) = if text.starts_with(['"', '\'']) {
        quoted(text)?
    } else {
        let end = text.find(['=', ' ']).with_context(|| format!("no label at {text:?}"))?;
        (text[..end].to_owned(), &text[end..])
    };
    let rest = rest.trim_start();
    let Some(rest) = rest.strip_prefix('=') else {
        pairs.push(("__name__".into(), name));
        return Ok(rest);
    };
    let (value, rest) = quoted(rest.trim_start())?;
    pairs.push((name, value));
    Ok(rest.trim_start())
}

/// A quoted string and what follows it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next().context("a string is missing")?;
    let mut value = String::new();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(escaped) => value.push(escaped),
                None => break,
            },
            char if char == quote => return Ok((value, &text[at + quote.len_utf8()..])),
            char => value.push(char),
        }
    }
    bail!("the string at {text:?} has no end")
}
