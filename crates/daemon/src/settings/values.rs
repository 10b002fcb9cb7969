//! How one value of a settings file or of the environment becomes a typed one, or a sentence about what is allowed.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::Value;
use bytesize::ByteSize;

/// A plugin's parameter, whose type the plugin knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a point or an exponent; may be `inf` or `nan`.
    Float(f64),
    /// A string.
    Text(String),
    /// A list of strings.
    List(Vec<String>),
}

/// A value as it stands in a file or in the environment, where everything is text.
pub(super) enum Raw<'a> {
    File(&'a Value),
    Environment(&'a str),
}

impl<'a> Raw<'a> {
    /// The text of a string, wherever it stands.
    fn text(&self) -> Option<&'a str> {
        match self {
            Raw::File(Value::Text(text)) => Some(text),
            Raw::File(_) => None,
            Raw::Environment(text) => Some(text),
        }
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::File(value) => value.fmt(f),
            Raw::Environment(text) => write!(f, "{text:?}"),
        }
    }
}

pub(super) fn string(raw: &Raw<'_>) -> Result<String, String> {
    raw.text().map(str::to_owned).ok_or_else(|| match raw {
        Raw::File(Value::List(_) | Value::Table(_)) => format!("{raw} is not a string; write one in quotes"),
        _ => format!("{raw} is not a string; put it in quotes: \"{raw}\""),
    })
}

pub(super) fn boolean(raw: &Raw<'_>) -> Result<bool, String> {
    match raw {
        Raw::File(Value::Boolean(value)) => Ok(*value),
        Raw::Environment("true") => Ok(true),
        Raw::Environment("false") => Ok(false),
        _ => Err(format!("{raw} is not a boolean; write true or false, without quotes")),
    }
}

pub(super) fn integer(raw: &Raw<'_>, range: &RangeInclusive<i64>) -> Result<i64, String> {
    let number = match raw {
        Raw::File(Value::Integer(number)) => Some(*number),
        Raw::Environment(text) => text.parse().ok(),
        Raw::File(_) => None,
    };
    let allowed = allowed(range, i64::MAX, i64::to_string);
    let number = number.ok_or_else(|| format!("{raw} is not a whole number; write one without quotes, {allowed}"))?;
    inside(number, range).ok_or_else(|| format!("{raw} is out of range; allowed is a whole number {allowed}"))
}

pub(super) fn duration(raw: &Raw<'_>, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let allowed = allowed(range, Duration::MAX, |limit| in_largest_unit(limit.as_nanos(), &UNITS));
    let duration = raw.text().and_then(|text| humantime::parse_duration(text).ok()).ok_or_else(|| {
        format!("{raw} is not a duration; write a number and a unit, such as \"10s\" or \"5m\", {allowed}")
    })?;
    inside(duration, range).ok_or_else(|| format!("{raw} is out of range; allowed is a duration {allowed}"))
}

pub(super) fn size(raw: &Raw<'_>, range: &RangeInclusive<u64>) -> Result<u64, String> {
    const UNITS: [(u128, &str); 5] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let allowed = allowed(range, u64::MAX, |limit| in_largest_unit(u128::from(*limit), &UNITS));
    let size = raw.text().and_then(|text| text.parse::<ByteSize>().ok()).ok_or_else(|| {
        format!("{raw} is not a size; write a number and a unit, such as \"512KiB\" or \"16MiB\", {allowed}")
    })?;
    inside(size.as_u64(), range).ok_or_else(|| format!("{raw} is out of range; allowed is a size {allowed}"))
}

pub(super) fn scalar(value: &Value) -> Result<Scalar, String> {
    const ALLOWED: &str = "write a string, a number, true, false or a list of strings";
    match value {
        Value::Boolean(value) => Ok(Scalar::Boolean(*value)),
        Value::Integer(number) => Ok(Scalar::Integer(*number)),
        Value::Float(number) => Ok(Scalar::Float(*number)),
        Value::Text(text) => Ok(Scalar::Text(text.clone())),
        Value::List(elements) => {
            let texts = elements.iter().map(|(_, element)| match element {
                Value::Text(text) => Ok(text.clone()),
                other => Err(format!("{other} is not allowed in this list; write strings, each in quotes")),
            });
            texts.collect::<Result<_, _>>().map(Scalar::List)
        }
        Value::Table(_) | Value::Other(_) => Err(format!("{value} is not allowed here; {ALLOWED}")),
    }
}

fn inside<T: PartialOrd>(value: T, range: &RangeInclusive<T>) -> Option<T> {
    range.contains(&value).then_some(value)
}

/// `from A to B`, or `from A` when the type's own maximum is the only bound above.
fn allowed<T: PartialEq>(range: &RangeInclusive<T>, maximum: T, show: impl Fn(&T) -> String) -> String {
    if *range.end() == maximum {
        return format!("from {}", show(range.start()));
    }
    format!("from {} to {}", show(range.start()), show(range.end()))
}

/// An amount in the largest of `units`, which fall to 1, that it is a whole number of.
fn in_largest_unit(amount: u128, units: &[(u128, &str)]) -> String {
    let fitting = units.iter().find(|(size, _)| amount > 0 && amount.is_multiple_of(*size));
    fitting.map_or_else(|| "0".to_owned(), |(size, unit)| format!("{}{unit}", amount / size))
}
