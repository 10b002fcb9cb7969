//! How the text files of procfs are taken apart: lines, fields, numbers. Every byte may be anything.

use std::borrow::Cow;

/// The most characters of a file's content that an error quotes.
const MAX_EXCERPT: usize = 80;

/// Content that is not what a file should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) expected: &'static str,
    pub(crate) found: String,
}

impl Malformed {
    pub(crate) fn new(expected: &'static str, found: &[u8]) -> Self {
        let found = String::from_utf8_lossy(found);
        let mut characters = found.chars();
        let mut found: String = characters.by_ref().take(MAX_EXCERPT).collect();
        if characters.next().is_some() {
            found.push('…');
        }
        Self { expected, found }
    }
}

/// The lines of a file without their ends. The kernel ends every line, so a last one without an end was cut off: it
/// comes as an error.
pub(crate) fn lines(content: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    content
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").ok_or_else(|| Malformed::new("a complete line", line)))
}

/// What stands between blanks.
pub(crate) fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

/// A number of decimal digits, up to 2^64 - 1.
pub(crate) fn integer(field: &[u8]) -> Result<u64, Malformed> {
    digits(field).ok_or_else(|| Malformed::new("a whole number below 2^64", field))
}

/// A number as [`integer`] has it, where one that is none is nothing strange and is to cost no memory.
pub(crate) fn digits(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    rest.iter().try_fold(digit(*first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// A number of hexadecimal digits without a prefix, below 2^64.
pub(crate) fn hexadecimal(field: &[u8]) -> Result<u64, Malformed> {
    let malformed = || Malformed::new("a hexadecimal number below 2^64", field);
    if !field.iter().all(u8::is_ascii_hexdigit) {
        return Err(malformed());
    }
    std::str::from_utf8(field).ok().and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(malformed)
}

/// A name that somebody gave to a device: what is no UTF-8 in it comes as U+FFFD.
pub(crate) fn text(field: &[u8]) -> Cow<'_, str> {
    // Nearly everything is UTF-8, which is found out faster by itself.
    std::str::from_utf8(field).map_or_else(|_| String::from_utf8_lossy(field), Cow::Borrowed)
}

/// A number of decimal digits and a point, such as 0.25: neither sign nor exponent.
pub(crate) fn decimal(field: &[u8]) -> Result<f64, Malformed> {
    let malformed = || Malformed::new("a decimal number", field);
    if !field.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return Err(malformed());
    }
    let value = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    value.filter(|value: &f64| value.is_finite()).ok_or_else(malformed)
}

/// What a text of lines such as `E:ID_MODEL=QEMU` assigns to `variable`, of those that begin with `prefix`.
pub(crate) fn assigned<'a>(text: &'a str, prefix: &str, variable: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(variable)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(integer(b"0"), Ok(0));
        assert_eq!(integer(b"18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "-1", "+1", "1.0", "18446744073709551616", "0x1", "é"] {
            assert!(integer(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hexadecimal_numbers() {
        assert_eq!(hexadecimal(b"0001e9F0"), Ok(0x1e9f0));
        assert_eq!(hexadecimal(b"ffffffffffffffff"), Ok(u64::MAX));
        for bad in ["", "-1", "+1", "0x1", "10000000000000000", "g"] {
            assert!(hexadecimal(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn decimal_numbers() {
        assert_eq!(decimal(b"0.25"), Ok(0.25));
        for bad in ["", ".", "-1.0", "1e3", "nan", "inf", "1.2.3", &"9".repeat(400)] {
            assert!(decimal(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn assignments() {
        let text = "S:disk\nE:ID=1\nE:ID_MODEL=A=B\nID_PATH=x\nE:EMPTY=\n";
        assert_eq!(assigned(text, "E:", "ID"), Some("1"));
        assert_eq!(assigned(text, "E:", "ID_MODEL"), Some("A=B"));
        assert_eq!(assigned(text, "E:", "EMPTY"), Some(""));
        assert_eq!(assigned(text, "E:", "ID_PATH"), None);
    }

    #[test]
    fn a_line_that_was_cut_off_is_an_error() {
        let lines: Vec<_> = lines(b"a\n\nb").collect();
        assert_eq!(lines, [Ok(b"a".as_slice()), Ok(b""), Err(Malformed::new("a complete line", b"b"))]);
    }

    #[test]
    fn an_error_quotes_little() {
        let malformed = Malformed::new("anything", &[0xff; 10_000]);
        assert_eq!(malformed.found.chars().count(), MAX_EXCERPT + 1);
    }
}
