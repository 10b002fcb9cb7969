//! What alerts say to people: annotations as minijinja templates, with filters that Prometheus's templates have too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hostwatch_rules::Labels;
use minijinja::value::{Enumerator, Object};
use minijinja::{Environment, UndefinedBehavior, Value, context};

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("percent", percent);
    environment.add_filter("humanize", humanize);
    environment.add_filter("humanize1024", humanize1024);
    environment.add_filter("duration", duration);
    environment
});

/// Instructions that one template may take.
const FUEL: u64 = 20_000;

/// The values that stand in for those of an alert when a template is tried.
const SAMPLE: f64 = 0.5;

/// Tries a template on sample data.
///
/// # Errors
/// What is wrong with it, in one line.
pub(crate) fn check(template: &str) -> Result<(), String> {
    let mut strict = ENVIRONMENT.clone();
    strict.set_undefined_behavior(UndefinedBehavior::Strict);
    let labels = Value::from_object(AnyLabel);
    let rendered = strict.render_str(template, context! { labels, value => SAMPLE });
    rendered.map(drop).map_err(|error| {
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        let known =
            "a template knows labels.NAME and value, and the filters percent, humanize, humanize1024 and duration";
        format!("is not a template: {}{detail}; {known}", error.kind())
    })
}

/// The annotations of one alert. A template that fails nonetheless says why in its place.
#[must_use]
pub(crate) fn render(templates: &BTreeMap<String, String>, labels: &Labels, value: f64) -> BTreeMap<String, String> {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let context = context! { labels, value };
    let rendered = templates.iter().map(|(name, template)| {
        let text = ENVIRONMENT.render_str(template, &context);
        (name.clone(), text.unwrap_or_else(|error| format!("(this annotation failed: {error})")))
    });
    rendered.collect()
}

/// Labels of any name.
#[derive(Debug)]
struct AnyLabel;

impl Object for AnyLabel {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        Some(Value::from(format!("({name})")))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Empty
    }
}

/// `0.125` as `12.5%`.
fn percent(value: f64) -> String {
    format!("{}%", four_digits(value * 100.0))
}

/// With a metric prefix: `12500` as `12.5k`.
fn humanize(value: f64) -> String {
    const LARGE: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    const SMALL: [&str; 9] = ["", "m", "u", "n", "p", "f", "a", "z", "y"];
    let (mut value, mut step) = (value, 0);
    if !value.is_finite() || value == 0.0 {
        return four_digits(value);
    }
    if value.abs() >= 1.0 {
        while value.abs() >= 1_000.0 && step + 1 < LARGE.len() {
            (value, step) = (value / 1_000.0, step + 1);
        }
        return four_digits(value) + LARGE[step];
    }
    while value.abs() < 1.0 && step + 1 < SMALL.len() {
        (value, step) = (value * 1_000.0, step + 1);
    }
    four_digits(value) + SMALL[step]
}

/// With a binary prefix: `2048` as `2ki`.
fn humanize1024(value: f64) -> String {
    const PREFIXES: [&str; 9] = ["", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
    let (mut value, mut step) = (value, 0);
    while value.is_finite() && value.abs() >= 1_024.0 && step + 1 < PREFIXES.len() {
        (value, step) = (value / 1_024.0, step + 1);
    }
    four_digits(value) + PREFIXES[step]
}

/// Seconds as `1h 30m`.
fn duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds.abs()) {
        Ok(duration) => {
            let whole = if seconds.abs() < 1.0 {
                Duration::from_millis(duration.as_millis() as u64)
            } else {
                Duration::from_secs(duration.as_secs())
            };
            format!("{}{}", if seconds < 0.0 { "-" } else { "" }, humantime::format_duration(whole))
        }
        Err(_) => four_digits(seconds),
    }
}

/// Four significant digits, without zeros at the end: Prometheus's `%.4g`.
fn four_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    let mut text = String::new();
    if (-5..=15).contains(&magnitude) {
        let decimals = (3 - magnitude).max(0) as usize;
        let _ = write!(text, "{value:.decimals$}");
        if text.contains('.') {
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        }
    } else {
        let _ = write!(text, "{value:.3e}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(template: &str, value: f64) -> String {
        let templates = BTreeMap::from([("summary".to_owned(), template.to_owned())]);
        render(&templates, &Labels::new([("instance", "web1"), ("mode", "idle")]), value).remove("summary").unwrap()
    }

    #[test]
    fn templates_say_what_is_wrong_with_a_host() {
        assert_eq!(say("{{ labels.instance }} waits ({{ value | percent }})", 0.3125), "web1 waits (31.25%)");
        assert_eq!(say("{{ labels.nothing }}", 1.0), "");
        assert_eq!(say("{{ value | humanize1024 }}B", 3.0 * 1024.0 * 1024.0), "3MiB");
        assert_eq!(say("{{ value | humanize }}", 1_234_567.0), "1.235M");
        assert_eq!(say("{{ value | humanize }}", 0.002), "2m");
        assert_eq!(say("{{ value | duration }}", 5_400.0), "1h 30m");
        assert_eq!(say("{{ value | duration }}", f64::NAN), "NaN");
        assert_eq!(say("{{ value | percent }}", f64::INFINITY), "inf%");
    }

    #[test]
    fn a_template_is_tried_before_it_is_used() {
        assert_eq!(check("{{ labels.instance }}: {{ value | percent }}"), Ok(()));
        for (wrong, said) in [
            ("{{ labels.instance", "syntax error"),
            ("{{ lables.instance }}", "undefined value"),
            ("{{ value | percentage }}", "unknown filter"),
            ("{{ labels.instance | percent }}", "invalid"),
            ("{% for x in range(100000) %}{% endfor %}", "fuel"),
        ] {
            let error = check(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
