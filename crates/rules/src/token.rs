//! The words of an expression with their places, which promql-parser does not tell; and the bounds that keep its
//! recursion and ours shallow.

use std::time::Duration;

use crate::error::ParseError;

/// The longest expression that is accepted, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// How many operators, parentheses and other signs an expression may have outside of braces: none can be nested deeper
/// than that, and a thread's usual stack (2 MiB) is enough for the recursion of a build without optimization.
pub const MAX_OPERATORS: usize = 250;

/// The longest range or offset, ten years: nobody means more, and no sum of two overflows.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword, colons included.
    Word,
    /// A number or a duration.
    Number,
    String,
    /// An operator or a bracket.
    Sign,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) offset: usize,
    pub(crate) text: &'a str,
    pub(crate) place: Place,
}

/// Brackets of which kind are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// None but parentheses.
    Outside,
    /// `{}`, in which keywords are names.
    Braces,
    /// `[]`, in which a colon is no part of a name.
    Brackets,
}

impl Token<'_> {
    pub(crate) fn is(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    /// Whether it is this keyword, in whatever case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.place != Place::Braces && self.text.eq_ignore_ascii_case(word)
    }
}

/// Cuts an expression into words. Refuses what is too large, and what no word begins with.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(ParseError::new("", 0, format!("the expression has more than {MAX_LENGTH} bytes")));
    }
    let mut tokens = Vec::new();
    let mut offset = 0;
    let mut place = Place::Outside;
    let mut operators = 0;
    while let Some(first) = text[offset..].chars().next() {
        let rest = &text[offset..];
        if first.is_ascii_whitespace() {
            offset += 1;
            continue;
        }
        if first == '#' {
            offset += rest.find(['\r', '\n']).unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = token(rest, first, place).map_err(|message| ParseError::new(text, offset, message))?;
        let token = Token { kind, offset, text: &rest[..length], place };
        place = match token.text {
            "{" if kind == Kind::Sign => Place::Braces,
            "[" if kind == Kind::Sign => Place::Brackets,
            "}" | "]" if kind == Kind::Sign => Place::Outside,
            _ => place,
        };
        if place != Place::Braces && (kind == Kind::Sign || is_operator_word(&token)) {
            operators += 1;
            if operators > MAX_OPERATORS {
                let message = format!("the expression has more than {MAX_OPERATORS} operators and brackets");
                return Err(ParseError::new(text, offset, message));
            }
        }
        tokens.push(token);
        offset += length;
    }
    Ok(tokens)
}

/// Whether a word is an operator between two operands.
pub(crate) fn is_operator_word(token: &Token<'_>) -> bool {
    ["and", "or", "unless", "atan2"].iter().any(|word| token.is_word(word))
}

/// Reads a duration as PromQL writes it (`1h30m`, or seconds as a number): more than nothing, and at most ten years.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let millis = match text.parse::<f64>() {
        Ok(seconds) => seconds * 1000.0,
        Err(_) => written_duration_ms(text)?,
    };
    let limit = MAX_DURATION.as_secs_f64() * 1000.0;
    (millis >= 1.0 && millis <= limit).then(|| Duration::from_millis(millis as u64))
}

fn written_duration_ms(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("ms", 1.0), ("y", 31_536e6), ("w", 604_800e3), ("d", 86_400e3), ("h", 3_600e3), ("m", 60e3), ("s", 1e3)];
    let mut rest = text;
    let mut millis = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, size) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        millis += count * size;
    }
    Some(millis)
}

fn token(rest: &str, first: char, place: Place) -> Result<(Kind, usize), String> {
    let bytes = rest.as_bytes();
    let second = bytes.get(1).copied().unwrap_or(b' ');
    match first {
        'a'..='z' | 'A'..='Z' | '_' | ':' if first != ':' || place != Place::Brackets => {
            Ok((Kind::Word, bytes.iter().take_while(|byte| is_word_byte(**byte)).count()))
        }
        '0'..='9' => Ok((Kind::Number, number_length(bytes))),
        '.' if second.is_ascii_digit() => Ok((Kind::Number, number_length(bytes))),
        '"' | '\'' | '`' => string_length(bytes).map(|length| (Kind::String, length)),
        '=' | '!' | '<' | '>' => {
            let both = matches!((first, second), (_, b'=') | ('=' | '!', b'~'));
            if first == '!' && !both { Err("unexpected '!'".into()) } else { Ok((Kind::Sign, 1 + usize::from(both))) }
        }
        '+' | '-' | '*' | '/' | '%' | '^' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | '@' | ':' => Ok((Kind::Sign, 1)),
        other => Err(format!("unexpected character {other:?}")),
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// The length of a number or a duration: digits, letters and points, and a sign after an exponent that is not
/// a hexadecimal digit. promql-parser says whether it is a good one.
fn number_length(bytes: &[u8]) -> usize {
    let is_hexadecimal = matches!(bytes, [b'0', b'x' | b'X', ..]);
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let after_exponent =
            !is_hexadecimal && index > 0 && matches!(bytes[index - 1], b'e' | b'E') && matches!(byte, b'+' | b'-');
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || after_exponent) {
            break;
        }
        length = index + 1;
    }
    length
}

fn string_length(bytes: &[u8]) -> Result<usize, String> {
    let quote = bytes[0];
    let mut index = 1;
    while let Some(byte) = bytes.get(index) {
        match *byte {
            b'\\' if quote != b'`' => index += 2,
            byte if byte == quote => return Ok(index + 1),
            b'\n' if quote != b'`' => break,
            _ => index += 1,
        }
    }
    Err("the string has no end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_their_places() {
        let text = "sum by (a) (rate(x{or=~\"b\\\"\"}[5m:1m])) >= 1e-3 # end\n or b";
        let words: Vec<(usize, &str)> = tokens(text).unwrap().iter().map(|token| (token.offset, token.text)).collect();
        assert!(words.iter().all(|(offset, word)| text[*offset..].starts_with(word)), "{words:?}");
        let only: Vec<&str> = words.into_iter().map(|(_, word)| word).collect();
        let expected = "sum by ( a ) ( rate ( x { or =~ \"b\\\"\" } [ 5m : 1m ] ) ) >= 1e-3 or b";
        assert_eq!(only.join(" "), expected);
    }

    #[test]
    fn durations() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("0.5"), Some(Duration::from_millis(500)));
        for bad in ["0s", "1e300", "99999999999s", "1h99999999999s", "NaN", "-1", "5", "x", "5m5"] {
            assert_eq!(duration(bad).is_some(), bad == "5", "{bad}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(tokens(&"x".repeat(MAX_LENGTH + 1)).is_err());
        let chain = |operators: usize| "-".repeat(operators) + "x";
        assert!(tokens(&chain(MAX_OPERATORS)).is_ok());
        let error = tokens(&chain(MAX_OPERATORS + 1)).unwrap_err();
        assert_eq!(error.offset(), MAX_OPERATORS);
    }
}
