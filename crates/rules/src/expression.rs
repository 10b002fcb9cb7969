//! A checked expression, and the selectors in it.

use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::bind;
use crate::compile::{self, Node};
use crate::error::ParseError;
use crate::labels::Labels;
use crate::plan::Plan;

/// How old the newest sample of a series may be, where nothing else is said: as in Prometheus.
pub const LOOKBACK: Duration = Duration::from_secs(5 * 60);

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number without labels.
    Scalar,
    /// A number for each of some series.
    InstantVector,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::InstantVector => "instant vector",
        })
    }
}

/// An expression of PromQL of which every part is supported.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    root: Node,
    value_type: ValueType,
    selectors: Vec<Selector>,
}

impl Expression {
    /// Checks an expression.
    ///
    /// # Errors
    /// When it is no PromQL, when its types do not fit, and when it uses what is not supported, which is named.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let compiled = compile::compile(text)?;
        let compile::Compiled { root, value_type, selectors } = compiled;
        Ok(Self { text: text.to_owned(), root, value_type, selectors })
    }

    /// The text that it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its selectors, in the order of the text.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// What it evaluates to.
    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// How far back its selectors read, at most: [`Selector::range`].
    pub fn longest_range(&self) -> Option<Duration> {
        self.selectors.iter().filter_map(Selector::range).max()
    }

    /// Binds it to a set of series: all work on labels is done here, once for each set.
    pub fn bind<K: Copy>(&self, series: impl IntoIterator<Item = (K, Labels)>) -> Plan<K> {
        bind::bind(&self.root, &self.selectors, series.into_iter().collect())
    }
}

/// Which series an expression reads at one of its places, and how far back.
#[derive(Clone, Debug)]
pub struct Selector {
    pub(crate) name: Option<String>,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) window: Option<Duration>,
    pub(crate) offset: Duration,
}

impl Selector {
    /// Whether it selects the series with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.name.as_deref().is_none_or(|name| labels.name() == Some(name))
            && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// The name of the metric, when the selector begins with one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How far back it reads beyond the newest sample: its range and its offset, or [`LOOKBACK`] and its offset.
    /// Nothing when the newest sample is all that it reads.
    pub fn range(&self) -> Option<Duration> {
        match self.window {
            Some(window) => Some(window + self.offset),
            None if self.offset.is_zero() => None,
            None => Some(LOOKBACK + self.offset),
        }
    }
}

/// A condition on one label; a missing label has an empty value.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) test: Test,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Equal(String),
    NotEqual(String),
    Regex(Regex),
    NotRegex(Regex),
}

impl Matcher {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).unwrap_or_default();
        match &self.test {
            Test::Equal(text) => value == text,
            Test::NotEqual(text) => value != text,
            Test::Regex(regex) => regex.is_match(value),
            Test::NotRegex(regex) => !regex.is_match(value),
        }
    }
}
