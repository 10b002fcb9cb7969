//! Where in its text an expression is wrong. promql-parser names a mistake and not its place; the words of the text with
//! what the grammar lets follow on each other are enough to find it.

use promql_parser::parser;

use crate::error::ParseError;
use crate::function::{Aggregation, Function};
use crate::token::{Kind, Place, Token, duration, is_operator_word};

/// Words before a parenthesis that are no functions.
const KEYWORDS: [&str; 13] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "and",
    "or",
    "unless",
    "atan2",
    "offset",
    "fill",
];

/// Refuses, by name, what promql-parser takes and this crate does not evaluate, and what would make it panic.
pub(crate) fn refuse_unsupported(text: &str, tokens: &[Token<'_>]) -> Result<(), ParseError> {
    let refuse = |token: &Token<'_>, what: String| Err(ParseError::new(text, token.offset, what));
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1);
        let next_is = |sign: &str| next.is_some_and(|next| next.is(sign));
        if token.place == Place::Braces {
            let is_between = next.is_some_and(|next| matches!(next.kind, Kind::Word | Kind::String));
            if token.kind == Kind::Word && token.text.eq_ignore_ascii_case("or") && is_between {
                return refuse(token, "'or' between matchers is not supported".into());
            }
            continue;
        }
        match token.text {
            ":" => return refuse(token, "subqueries are not supported".into()),
            "@" => return refuse(token, "the '@' modifier is not supported".into()),
            _ => {}
        }
        if token.is_word("atan2") {
            return refuse(token, "the operator 'atan2' is not supported".into());
        }
        if ["fill", "fill_left", "fill_right"].iter().any(|word| token.is_word(word)) && next_is("(") {
            return refuse(token, format!("the modifier '{}' is not supported", token.text));
        }
        if ["smoothed", "anchored"].iter().any(|word| token.is_word(word)) && index > 0 && is_end(&tokens[index - 1]) {
            return refuse(token, format!("the modifier '{}' is not supported", token.text));
        }
        let is_after_offset = index > 0 && tokens[index - 1].is_word("offset");
        if is_after_offset && token.is("-") && next.is_some_and(|next| next.kind == Kind::Number) {
            return refuse(token, "a negative offset is not supported: it asks for samples of the future".into());
        }
        // Also one that stands for a number of seconds: promql-parser drops silently what does not fit.
        let is_number = token.text.parse::<f64>().is_ok();
        let is_hexadecimal = token.text.len() > 1 && matches!(token.text.as_bytes()[1], b'x' | b'X');
        let must_be_duration = token.place == Place::Brackets || is_after_offset || !(is_number || is_hexadecimal);
        if token.kind == Kind::Number && must_be_duration && duration(token.text).is_none() {
            let what = format!("'{}' is not a duration from 1ms to 10y, like 5m or 1h30m", token.text);
            return refuse(token, what);
        }
        if is_call(tokens, index) && Aggregation::of(token.text).is_none() && Function::of(token.text).is_none() {
            return refuse(token, format!("the function '{}' is not supported", token.text));
        }
    }
    Ok(())
}

/// Where the calls of functions and the aggregations are, in the order of the text.
pub(crate) fn calls(tokens: &[Token<'_>]) -> Vec<usize> {
    (0..tokens.len()).filter(|index| is_call(tokens, *index)).map(|index| tokens[index].offset).collect()
}

/// Finds the place of what promql-parser complains about.
pub(crate) fn locate(text: &str, tokens: &[Token<'_>], message: &str) -> ParseError {
    if message == "invalid promql query" {
        return unexpected(text, tokens);
    }
    if let Some(pattern) = message.strip_prefix("illegal regex for ") {
        let place = tokens.iter().find(|token| token.kind == Kind::String && token.text.contains(pattern));
        let message = format!("the regular expression {pattern:?} is not valid or too large");
        return ParseError::new(text, place.map_or(0, |token| token.offset), message);
    }
    // The smallest part that is wrong in the same way is the place.
    let mut parts: Vec<(usize, usize)> = (0..tokens.len()).filter_map(|index| part(tokens, index)).collect();
    parts.sort_by_key(|(begin, end)| end - begin);
    let (begin, end) = parts
        .into_iter()
        .find(|(begin, end)| parser::parse(&text[*begin..*end]).is_err_and(|error| error == message))
        .unwrap_or((0, text.len()));
    let inside = tokens.iter().filter(|token| (begin..end).contains(&token.offset));
    let place = match message {
        _ if message.contains("between scalars") => {
            inside.into_iter().find(|token| ["==", "!=", "<", "<=", ">", ">="].iter().any(|sign| token.is(sign)))
        }
        _ if message.contains("set operator") => inside.into_iter().find(|token| is_operator_word(token)),
        _ => inside.into_iter().find(|token| token.kind != Kind::Sign),
    };
    ParseError::new(text, place.map_or(begin, |token| token.offset), message)
}

/// The part of the text that begins at a call, a parenthesis or a selector.
fn part(tokens: &[Token<'_>], index: usize) -> Option<(usize, usize)> {
    let token = tokens.get(index)?;
    let opened = index + usize::from(is_call(tokens, index));
    let end = match tokens.get(opened) {
        Some(bracket) if bracket.is("(") => closed(tokens, opened, "(", ")")?,
        Some(bracket) if bracket.is("{") => closed(tokens, opened, "{", "}")?,
        _ => return None,
    };
    let named = index > 0 && token.is("{") && tokens[index - 1].kind == Kind::Word;
    let begin = if named { tokens[index - 1].offset } else { token.offset };
    Some((begin, tokens[end].offset + tokens[end].text.len()))
}

fn closed(tokens: &[Token<'_>], opened: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(opened) {
        depth += usize::from(token.is(open));
        if token.is(close) {
            depth -= 1;
            if depth == 0 {
                return Some(index);
            }
        }
    }
    None
}

fn is_call(tokens: &[Token<'_>], index: usize) -> bool {
    let token = &tokens[index];
    token.kind == Kind::Word
        && token.place != Place::Braces
        && tokens.get(index + 1).is_some_and(|next| next.is("("))
        && !KEYWORDS.iter().any(|keyword| token.is_word(keyword))
}

/// Whether an operand can end with a word.
fn is_end(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Number | Kind::String) || [")", "]", "}"].iter().any(|sign| token.is(sign))
}

/// The first word that cannot follow the words before it: operands and operators take turns.
fn unexpected(text: &str, tokens: &[Token<'_>]) -> ParseError {
    let mut wants_operand = true;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let after = if wants_operand { operand(tokens, index) } else { operator(tokens, index) };
        match after {
            Some((next, wants)) => (index, wants_operand) = (next, wants),
            None => {
                let what = format!("unexpected {:?}, expected {}", token.text, expected(wants_operand));
                return ParseError::new(text, token.offset, what);
            }
        }
    }
    let what = match wants_operand {
        true => format!("unexpected end of the expression, expected {}", expected(wants_operand)),
        false => "the expression is not valid PromQL".into(),
    };
    ParseError::new(text, text.trim_end().len(), what)
}

fn expected(operand: bool) -> &'static str {
    if operand { "a selector, a number, a function or '('" } else { "an operator or the end" }
}

/// Past what stands at the place of an operand, and whether one is wanted still.
fn operand(tokens: &[Token<'_>], index: usize) -> Option<(usize, bool)> {
    let token = &tokens[index];
    match token.kind {
        Kind::Sign if ["+", "-", "("].iter().any(|sign| token.is(sign)) => Some((index + 1, true)),
        Kind::Sign if token.is(")") && index > 0 && tokens[index - 1].is("(") => Some((index + 1, false)),
        Kind::Sign if token.is("{") => Some((closed(tokens, index, "{", "}")? + 1, false)),
        Kind::Sign => None,
        Kind::Word if is_grouping(token) && next_is_list(tokens, index) => {
            Some((closed(tokens, index + 1, "(", ")")? + 1, true))
        }
        Kind::Word if is_call(tokens, index) => Some((index + 2, true)),
        // An aggregation with its labels in front.
        Kind::Word if Aggregation::of(token.text).is_some() && tokens.get(index + 1).is_some_and(is_grouping) => {
            Some((closed(tokens, index + 2, "(", ")")? + 1, true))
        }
        Kind::Word | Kind::Number | Kind::String => Some((index + 1, false)),
    }
}

/// Past what stands behind an operand, and whether one is wanted now.
fn operator(tokens: &[Token<'_>], index: usize) -> Option<(usize, bool)> {
    let token = &tokens[index];
    let next = tokens.get(index + 1);
    match token.kind {
        Kind::Sign if token.is(")") => Some((index + 1, false)),
        Kind::Sign if token.is("[") => Some((closed(tokens, index, "[", "]")? + 1, false)),
        Kind::Sign if token.is("{") && index > 0 && tokens[index - 1].kind == Kind::Word => {
            Some((closed(tokens, index, "{", "}")? + 1, false))
        }
        Kind::Sign if ["{", "(", "]", "}", "=", "=~", "!~", ":"].iter().any(|sign| token.is(sign)) => None,
        Kind::Sign => Some((index + 1 + usize::from(next.is_some_and(|next| next.is_word("bool"))), true)),
        Kind::Word if is_operator_word(token) => Some((index + 1, true)),
        Kind::Word if token.is_word("offset") => {
            let has_sign = next.is_some_and(|next| next.is("+") || next.is("-"));
            let duration = index + 1 + usize::from(has_sign);
            tokens.get(duration).is_none_or(|token| token.kind == Kind::Number).then_some((duration + 1, false))
        }
        Kind::Word if is_grouping(token) && next_is_list(tokens, index) => {
            Some((closed(tokens, index + 1, "(", ")")? + 1, false))
        }
        _ => None,
    }
}

fn is_grouping(token: &Token<'_>) -> bool {
    ["by", "without", "on", "ignoring", "group_left", "group_right"].iter().any(|word| token.is_word(word))
}

fn next_is_list(tokens: &[Token<'_>], index: usize) -> bool {
    tokens.get(index + 1).is_some_and(|next| next.is("("))
}
