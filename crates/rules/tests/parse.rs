//! What is refused, with its name and its place; and that nothing makes parsing panic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hostwatch_rules::{Expression, MAX_LENGTH, MAX_OPERATORS};
use proptest::prelude::*;

/// The expression, below it the place of the mistake, and what has to be said of it.
const REFUSED: [(&str, usize, &str); 30] = [
    ("sum(topk(3, x))", 4, "'topk' is not supported"),
    ("label_replace(x, \"a\", \"\", \"b\", \"\")", 0, "'label_replace' is not supported"),
    ("1 + no_such(x)", 4, "'no_such' is not supported"),
    ("rate(x[5m:1m])", 9, "subqueries are not supported"),
    ("x @ 5", 2, "'@' modifier is not supported"),
    ("x offset -5m", 9, "negative offset is not supported"),
    ("x{a=\"b\" or c=\"d\"}", 8, "'or' between matchers is not supported"),
    ("x atan2 y", 2, "'atan2' is not supported"),
    ("x + fill (0) y", 4, "'fill' is not supported"),
    ("rate(x[1e300])", 7, "not a duration"),
    ("rate(x[1h99999999999s])", 7, "not a duration"),
    ("x offset 99999999999s", 9, "not a duration"),
    ("x + 99999999999s", 4, "not a duration"),
    ("x[5m]", 1, "range vector can only be"),
    ("\"text\"", 0, "a string is no result"),
    ("1 + exp(NaN)", 4, "expected type instant vector"),
    ("a + avg(rate(x))", 8, "expected type matrix in call to function 'rate'"),
    ("a + sum(1)", 4, "expected type vector"),
    ("1 == 1", 2, "must use BOOL"),
    ("x and 1", 2, "set operator"),
    ("a + {b=~\".*\"}", 5, "at least one non-empty matcher"),
    ("a{b=~\"(\"}", 5, "not valid or too large"),
    ("a{b=~\"x{1000}{1000}\"}", 5, "not valid or too large"),
    ("x y", 2, "unexpected \"y\""),
    ("sum(x y)", 6, "unexpected \"y\""),
    ("x +", 3, "unexpected end"),
    ("x + * y", 4, "unexpected \"*\""),
    ("x ; y", 2, "unexpected character ';'"),
    ("x{a=\"b}", 4, "the string has no end"),
    ("", 0, ""),
];

#[test]
fn what_is_refused_is_named_with_its_place() {
    for (text, place, what) in REFUSED {
        let error = Expression::parse(text).unwrap_err();
        assert!(error.message().contains(what), "{text}: {}", error.message());
        assert_eq!(error.offset(), place, "{error}");
    }
}

#[test]
fn the_caret_is_below_the_place_in_the_right_line() {
    let error = Expression::parse("sum(\n\tx\n\t+ topk(1, y) # ö\n)").unwrap_err();
    assert_eq!(error.to_string(), "the function 'topk' is not supported\n  \t+ topk(1, y) # ö\n  \t  ^");
}

#[test]
fn what_is_deep_or_long_is_refused() {
    let parse = |text: String| Expression::parse(&text);
    let depth = MAX_OPERATORS / 2;
    assert!(parse("(".repeat(depth) + "x" + &")".repeat(depth)).is_ok());
    assert!(parse("x".to_owned() + &"+x".repeat(MAX_OPERATORS)).is_ok());
    assert!(parse("-".repeat(MAX_OPERATORS) + "x").is_ok());
    for open in ["(", "-", "sum(", "abs("] {
        assert!(parse(open.repeat(MAX_OPERATORS + 1)).unwrap_err().message().contains("more than"));
    }
    assert!(parse("x".to_owned() + &"+x".repeat(MAX_OPERATORS + 1)).unwrap_err().message().contains("more than"));
    assert!(parse(" ".repeat(MAX_LENGTH) + "x").unwrap_err().message().contains("more than"));
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,60}") {
        check(&text);
    }

    #[test]
    fn no_words_make_parsing_panic(words in prop::collection::vec(word(), 0..14)) {
        check(&words.concat());
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "x",
        "rate",
        "sum",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "5m",
        "1e9",
        "0x",
        "1h1",
        ":",
        "@",
        "offset ",
        "-",
        "+",
        "*",
        " and ",
        " or ",
        " on",
        " by ",
        "bool ",
        " group_left",
        ",",
        "=",
        "=~",
        "!~",
        "\"a\"",
        "'",
        "`",
        "\\",
        "#",
        "\n",
        " ",
        "inf",
        "nan",
        "start()",
        ">=",
        "0",
        "é",
    ])
}

fn check(text: &str) {
    match Expression::parse(text) {
        Ok(expression) => {
            let plan = expression.bind([((), hostwatch_rules::Labels::new([("__name__", "x")]))]);
            assert!(plan.labels().len() <= 4, "{text}");
        }
        Err(error) => assert!(error.offset() <= text.len() && error.to_string().contains('^'), "{text}"),
    }
}
