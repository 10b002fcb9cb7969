//! What a check prints: text, and behind a `|` its performance data.

/// What a check has printed, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Output {
    /// The first line and the long text below it.
    pub(super) message: String,
    /// All performance data.
    pub(super) figures: String,
}

/// One figure: `'label'=value[UOM];[warn];[crit];[min];[max]`. The thresholds are the check's affair.
#[derive(Debug, PartialEq)]
pub(super) struct Value {
    pub(super) label: String,
    /// In seconds and bytes, whatever unit the check has written.
    pub(super) number: f64,
    /// `seconds`, `bytes`, `percent`, `count` for what only grows, or nothing.
    pub(super) unit: &'static str,
}

impl Output {
    /// The first line may have performance data; so may the text below it, from its first `|` to the end.
    pub(super) fn parse(text: &str) -> Self {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let [(first, figures), (long, more)] = [first, rest].map(|part| part.split_once('|').unwrap_or((part, "")));
        let message = format!("{}\n{}", first.trim(), long.trim());
        Self { message: message.trim().to_owned(), figures: format!("{figures} {more}") }
    }
}

/// The figures in performance data. What is none, or unknown to the check itself, is left out.
pub(super) fn values(mut text: &str) -> impl Iterator<Item = Value> {
    std::iter::from_fn(move || {
        loop {
            text = text.trim_start();
            if text.is_empty() {
                return None;
            }
            let (label, rest) = label(text);
            let (figure, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            text = rest;
            if let Some(value) = label.and_then(|label| value(label, figure)) {
                return Some(value);
            }
        }
    })
}

/// The label at the beginning of `text`, and what stands behind its `=`. In quotes, two quotes stand for one.
fn label(text: &str) -> (Option<String>, &str) {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut label = String::new();
        let mut rest = quoted;
        while let Some((part, behind)) = rest.split_once('\'') {
            label.push_str(part);
            rest = behind;
            match rest.strip_prefix('\'') {
                Some(more) => {
                    label.push('\'');
                    rest = more;
                }
                None => break,
            }
        }
        return match rest.strip_prefix('=') {
            Some(rest) => (Some(label), rest),
            None => (None, rest),
        };
    }
    let end = text.find(|character: char| character == '=' || character.is_whitespace()).unwrap_or(text.len());
    match text[end..].strip_prefix('=') {
        Some(rest) => (Some(text[..end].to_owned()), rest),
        None => (None, &text[end..]),
    }
}

fn value(label: String, figure: &str) -> Option<Value> {
    let figure = figure.split(';').next()?;
    let end = figure.find(|character: char| !matches!(character, '0'..='9' | '.' | '-' | '+')).unwrap_or(figure.len());
    let number: f64 = figure[..end].parse().ok()?;
    let (unit, factor) = match &figure[end..] {
        "" => ("", 1.0),
        "%" => ("percent", 1.0),
        "c" => ("count", 1.0),
        "s" => ("seconds", 1.0),
        "ms" => ("seconds", 1e-3),
        "us" => ("seconds", 1e-6),
        // The checks of Monitoring Plugins mean powers of 1,024.
        "B" => ("bytes", 1.0),
        "KB" | "kB" | "KiB" => ("bytes", 1_024.0),
        "MB" | "MiB" => ("bytes", 1_024.0 * 1_024.0),
        "GB" | "GiB" => ("bytes", 1_024.0 * 1_024.0 * 1_024.0),
        "TB" | "TiB" => ("bytes", 1_024.0 * 1_024.0 * 1_024.0 * 1_024.0),
        _ => return None,
    };
    (!label.is_empty() && number.is_finite()).then_some(Value { label, number: number * factor, unit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<(String, f64, &'static str)> {
        values(text).map(|value| (value.label, value.number, value.unit)).collect()
    }

    #[test]
    fn figures_of_every_kind() {
        let text =
            "time=0.25s;;;0.0 'C: used'=3GB;10;20 'it''s'=-1.5 rate=17c load=5ms;1 none=U =3 bad x=12parsec y=1e3";
        let expected = [
            ("time", 0.25, "seconds"),
            ("C: used", 3.0 * 1_073_741_824.0, "bytes"),
            ("it's", -1.5, ""),
            ("rate", 17.0, "count"),
            ("load", 0.005, "seconds"),
        ];
        assert_eq!(found(text), expected.map(|(label, number, unit)| (label.to_owned(), number, unit)));
    }

    #[test]
    fn text_without_figures() {
        let expected = Output { message: "OK".to_owned(), figures: " ".to_owned() };
        assert_eq!(Output::parse("OK\n"), expected);
        assert_eq!(Output::parse("").message, "");
    }

    proptest! {
        #[test]
        fn any_output_is_read_to_its_end(text in any::<String>()) {
            let output = Output::parse(&text);
            prop_assert!(values(&output.figures).all(|value| value.number.is_finite() && !value.label.is_empty()));
        }

        #[test]
        fn any_label_comes_back(label in "[^\\pC]{1,20}", number in -1_000_000i32..1_000_000) {
            let text = format!(" 'a'=1 '{}'={number}%;1;2", label.replace('\'', "''"));
            prop_assert_eq!(found(&text).pop(), Some((label, f64::from(number), "percent")));
        }
    }
}
