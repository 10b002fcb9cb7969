//! A test file: what it loads, what it evaluates and what should come of it. Range queries and histograms are read and
//! counted as unsupported; annotations (`expect warn`, `expect info`) are read and not compared.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hostwatch_rules::{Expression, LOOKBACK, Labels, Sample, Samples, Scratch, ValueType, is_stale};

use super::series::{Series, duration};

/// How far a value may be from what is expected, as in Prometheus's own tests.
const TOLERANCE: f64 = 1e-6;

/// What came of an evaluation.
pub(crate) enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise than expected.
    Failed(String),
    /// It needs what is not supported.
    Unsupported(String),
}

impl Outcome {
    /// The place in counts of passed, failed and unsupported ones.
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Passed => 0,
            Self::Failed(_) => 1,
            Self::Unsupported(_) => 2,
        }
    }
}

/// A test file.
pub(crate) struct Script {
    commands: Vec<(usize, Command)>,
}

enum Command {
    Clear,
    Load { step: Duration, series: Vec<Series>, unsupported: Option<String> },
    Eval(Eval),
}

struct Eval {
    /// Nothing for a range query.
    at: Option<Duration>,
    expression: String,
    fails: bool,
    /// The text that the error must have.
    message: Option<String>,
    is_string: bool,
    expected: Vec<Series>,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not in the format: with the number of the line.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut commands: Vec<(usize, Command)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let word = line.split_whitespace().next().unwrap_or_default();
            let command = match word {
                "clear" => Ok(Some(Command::Clear)),
                _ if word.starts_with("load") => load(line).map(Some),
                "eval" | "eval_fail" | "eval_warn" | "eval_info" | "eval_ordered" => eval(line).map(Some),
                _ => argument(line, commands.last_mut().map(|(_, command)| command)).map(|()| None),
            };
            if let Some(command) = command.with_context(|| format!("line {}", index + 1))? {
                commands.push((index + 1, command));
            }
        }
        Ok(Self { commands })
    }

    /// Runs all of it: each evaluation with the number of its line.
    pub(crate) fn run(&self) -> Vec<(usize, Outcome)> {
        let mut store = Store::default();
        let mut outcomes = Vec::new();
        for (line, command) in &self.commands {
            match command {
                Command::Clear => store = Store::default(),
                Command::Load { step, series, unsupported } => store.load(*step, series, unsupported.as_deref()),
                Command::Eval(eval) => outcomes.push((*line, eval.run(&store))),
            }
        }
        outcomes
    }
}

fn load(line: &str) -> Result<Command> {
    let (word, step) = line.split_once(char::is_whitespace).context("load has no step")?;
    let unsupported = (word != "load").then(|| format!("'{word}' makes histograms"));
    Ok(Command::Load { step: duration(step.trim())?, series: Vec::new(), unsupported })
}

fn eval(line: &str) -> Result<Command> {
    let (word, rest) = line.split_once(char::is_whitespace).context("eval has no arguments")?;
    let rest = rest.trim();
    let mut eval = Eval {
        at: None,
        expression: rest.to_owned(),
        fails: word == "eval_fail",
        message: None,
        is_string: false,
        expected: Vec::new(),
    };
    if let Some(rest) = rest.strip_prefix("instant at ") {
        let (at, expression) = rest.trim_start().split_once(char::is_whitespace).context("no expression")?;
        eval.at = Some(duration(at)?);
        eval.expression = expression.trim().to_owned();
    } else if !rest.starts_with("range from ") {
        bail!("neither 'instant at' nor 'range from'");
    }
    Ok(Command::Eval(eval))
}

/// A line that belongs to the command before it.
fn argument(line: &str, command: Option<&mut Command>) -> Result<()> {
    match command {
        Some(Command::Load { series, .. }) => series.push(Series::parse(line)?),
        Some(Command::Eval(eval)) => {
            if let Some(expectation) = line.strip_prefix("expect ").or_else(|| line.strip_prefix("expected_fail_")) {
                expect(eval, expectation.trim());
            } else {
                eval.expected.push(Series::parse(line)?);
            }
        }
        _ => bail!("{line:?} belongs to nothing"),
    }
    Ok(())
}

fn expect(eval: &mut Eval, expectation: &str) {
    if expectation == "string" || expectation.starts_with("string ") {
        eval.is_string = true;
    }
    if let Some(rest) = expectation.strip_prefix("fail") {
        eval.fails = true;
        eval.message = rest.trim().strip_prefix("msg:").map(|message| message.trim().trim_matches('"').to_owned());
    }
    if let Some(message) = expectation.strip_prefix("message ") {
        eval.message = Some(message.trim().to_owned());
    }
}

impl Eval {
    fn run(&self, store: &Store) -> Outcome {
        let Some(at) = self.at else { return Outcome::Unsupported("a range query".into()) };
        if self.is_string {
            return Outcome::Unsupported("a string".into());
        }
        let expression = match Expression::parse(&self.expression) {
            Ok(expression) => expression,
            Err(error) if error.message().contains("not supported") || error.message().contains("duration") => {
                return Outcome::Unsupported(error.message().to_owned());
            }
            Err(_) if self.fails => return Outcome::Passed,
            Err(error) => return Outcome::Failed(format!("does not parse: {error}")),
        };
        if let Some(why) = store.unsupported(&expression) {
            return Outcome::Unsupported(why);
        }
        if self.expected.iter().any(|series| series.has_histograms) {
            return Outcome::Unsupported("a histogram".into());
        }
        let at_ms = at.as_millis() as i64;
        let plan = expression.bind(store.series.iter().enumerate().map(|(key, series)| (key, series.labels.clone())));
        let mut scratch = Scratch::default();
        let result = plan.evaluate(at_ms, LOOKBACK, store, &mut scratch);
        let result = match result {
            Ok(result) => result.values().map(|(labels, value)| (labels.clone(), value)).collect(),
            Err(error) if self.fails => return self.check_message(&error.to_string()),
            Err(error) => return Outcome::Failed(format!("{}: {error}", self.expression)),
        };
        if self.fails {
            return Outcome::Failed(format!("{}: expected an error, got {result:?}", self.expression));
        }
        self.compare(expression.value_type(), result)
    }

    fn check_message(&self, error: &str) -> Outcome {
        match &self.message {
            Some(message) if !error.contains(message.as_str()) => {
                Outcome::Failed(format!("{}: expected the error {message:?}, got {error:?}", self.expression))
            }
            _ => Outcome::Passed,
        }
    }

    fn compare(&self, value_type: ValueType, result: Vec<(Labels, f64)>) -> Outcome {
        let fail = |why: String| Outcome::Failed(format!("{}: {why}", self.expression));
        let mut result: BTreeMap<Labels, f64> = result.into_iter().collect();
        for series in &self.expected {
            let Some(expected) = series.values.first().copied().flatten() else {
                return fail(format!("no value is expected of {}", series.labels));
            };
            match result.remove(&series.labels) {
                None => return fail(format!("{} {expected} is missing, there are {result:?}", series.labels)),
                Some(value) if !is_close(value, expected) => {
                    return fail(format!("{} is {value}, not {expected} ({value_type})", series.labels));
                }
                Some(_) => {}
            }
        }
        match result.first_key_value() {
            Some((labels, value)) => fail(format!("{labels} {value} is not expected")),
            None => Outcome::Passed,
        }
    }
}

fn is_close(value: f64, expected: f64) -> bool {
    value == expected
        || (value.is_nan() && expected.is_nan())
        || (value - expected).abs() <= TOLERANCE * value.abs().max(expected.abs())
}

#[derive(Default)]
struct Store {
    series: Vec<Stored>,
    /// Why what was loaded may not be all that there is.
    unsupported: Option<String>,
}

struct Stored {
    labels: Labels,
    samples: BTreeMap<i64, f64>,
    has_histograms: bool,
}

impl Store {
    fn load(&mut self, step: Duration, series: &[Series], unsupported: Option<&str>) {
        if let Some(why) = unsupported {
            self.unsupported = Some(why.to_owned());
        }
        for series in series {
            let known = self.series.iter().position(|stored| stored.labels == series.labels);
            let index = known.unwrap_or_else(|| {
                let labels = series.labels.clone();
                self.series.push(Stored { labels, samples: BTreeMap::new(), has_histograms: false });
                self.series.len() - 1
            });
            let stored = &mut self.series[index];
            stored.has_histograms |= series.has_histograms;
            for (index, value) in series.values.iter().enumerate() {
                if let Some(value) = value {
                    stored.samples.insert((step.as_millis() * index as u128) as i64, *value);
                }
            }
        }
    }

    fn unsupported(&self, expression: &Expression) -> Option<String> {
        let reads = |stored: &Stored| expression.selectors().iter().any(|selector| selector.matches(&stored.labels));
        if self.series.iter().any(|stored| stored.has_histograms && reads(stored)) {
            return Some("a histogram".into());
        }
        self.unsupported.clone()
    }
}

impl Samples<usize> for Store {
    fn newest(&self, key: usize, after_ms: i64, until_ms: i64) -> Option<Sample> {
        if after_ms >= until_ms {
            return None;
        }
        let mut between = self.series[key].samples.range(after_ms + 1..=until_ms);
        let (time_ms, value) = between.next_back()?;
        (!is_stale(*value)).then_some(Sample { time_ms: *time_ms, value: *value })
    }

    fn range(&self, key: usize, after_ms: i64, until_ms: i64, out: &mut Vec<Sample>) {
        if after_ms >= until_ms {
            return;
        }
        let between = self.series[key].samples.range(after_ms + 1..=until_ms).filter(|(_, value)| !is_stale(**value));
        out.extend(between.map(|(time_ms, value)| Sample { time_ms: *time_ms, value: *value }));
    }
}
