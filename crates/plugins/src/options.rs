//! A plugin's parameters with their types. Every mistake in them is noted, and all are reported together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::{Parameter, Parameters};

use crate::{Access, Directory, Ledger, Target};

/// What a service tells its plugin. Each getter also marks its parameter as known.
#[derive(Debug)]
pub struct Options<'a> {
    parameters: &'a Parameters,
    access: &'a Access,
    timeout: Duration,
    known: Vec<&'static str>,
    mistakes: Vec<String>,
}

/// Parameters that a plugin refuses: one text for each, which names the parameter and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct BuildError(pub Vec<String>);

impl BuildError {
    /// For a plugin that cannot be made because of a mistake that its options have noted.
    pub(crate) fn noted() -> Self {
        Self(Vec::new())
    }
}

impl<'a> Options<'a> {
    /// With nothing allowed and no hurry.
    #[cfg(test)]
    pub(crate) fn plain(parameters: &'a Parameters) -> Self {
        static NOTHING: std::sync::LazyLock<Access> = std::sync::LazyLock::new(Access::default);
        Self::new(parameters, &NOTHING, Duration::MAX)
    }

    pub(crate) fn new(parameters: &'a Parameters, access: &'a Access, timeout: Duration) -> Self {
        Self { parameters, access, timeout, known: Vec::new(), mistakes: Vec::new() }
    }

    /// How long one collection may take before it is given up.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What the client knows of itself.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.access.ledger)
    }

    /// A command that the host's owner allowed, by its name.
    pub fn allowed_command(&mut self, name: &'static str) -> Option<(&'a str, &'a [String])> {
        let (name, command) = self.allowed(name, None, "exec", &self.access.allowed.exec)?;
        Some((name, command.as_slice()))
    }

    /// A directory that the host's owner allowed, by its name; `default` if the service names none.
    pub fn allowed_directory(&mut self, name: &'static str, default: &'static str) -> Option<&'a Directory> {
        self.allowed(name, Some(default), "textfile", &self.access.allowed.textfile).map(|(_, directory)| directory)
    }

    /// An exporter that the host's owner allowed, by its name.
    pub fn allowed_target(&mut self, name: &'static str) -> Option<(&'a str, &'a Target)> {
        self.allowed(name, None, "scrape", &self.access.allowed.scrape)
    }

    /// What the host's owner calls as the parameter `name` says.
    fn allowed<T>(
        &mut self,
        name: &'static str,
        default: Option<&'static str>,
        table: &str,
        allowed: &'a BTreeMap<String, T>,
    ) -> Option<(&'a str, &'a T)> {
        let is_given = self.parameters.contains_key(name);
        let wanted = self.text(name).or(default.filter(|_| !is_given));
        let names = || match allowed.keys().map(String::as_str).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "nothing".to_owned(),
            names => names,
        };
        match wanted.map(|wanted| (wanted, allowed.get_key_value(wanted))) {
            Some((_, Some((name, found)))) => return Some((name, found)),
            Some((wanted, None)) => self.mistake(
                name,
                format_args!("{wanted:?} is not allowed on this host, whose [allow.{table}] has {}", names()),
            ),
            None if is_given => {}
            None => {
                self.mistake(
                    name,
                    format_args!("missing; name one of the host's [allow.{table}], which has {}", names()),
                );
            }
        }
        None
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.get(name)? {
            Parameter::Boolean(value) => Some(*value),
            other => self.wrong(name, "true or false", other),
        }
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        match self.get(name)? {
            Parameter::Integer(value) if range.contains(value) => Some(*value),
            other => self.wrong(name, &format!("a whole number from {} to {}", range.start(), range.end()), other),
        }
    }

    /// A number within `range`; a whole one will do.
    pub fn float(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let given = self.get(name)?;
        let value = match given {
            Parameter::Float(value) => Some(*value),
            Parameter::Integer(value) => Some(*value as f64),
            _ => None,
        };
        match value {
            Some(value) if range.contains(&value) => Some(value),
            _ => self.wrong(name, &format!("a number from {} to {}", range.start(), range.end()), given),
        }
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        match self.get(name)? {
            Parameter::Text(value) => Some(value),
            other => self.wrong(name, "a text", other),
        }
    }

    /// A list of texts.
    pub fn list(&mut self, name: &'static str) -> Option<&'a [String]> {
        match self.get(name)? {
            Parameter::List(value) => Some(value),
            other => self.wrong(name, "a list of texts", other),
        }
    }

    /// Notes what else is wrong with a parameter, for example that a pattern does not parse.
    pub fn mistake(&mut self, name: &str, what: impl std::fmt::Display) {
        self.mistakes.push(format!("{name}: {what}"));
    }

    /// What was noted, and every parameter that no getter asked for.
    pub(crate) fn finish(mut self) -> Result<(), BuildError> {
        let allowed = match self.known.as_slice() {
            [] => "this plugin takes none".to_owned(),
            known => format!("allowed here: {}", known.join(", ")),
        };
        for name in self.parameters.keys().filter(|name| !self.known.contains(&name.as_str())) {
            self.mistakes.push(format!("{name}: unknown parameter; {allowed}"));
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(BuildError(self.mistakes)) }
    }

    /// What was asked for.
    pub(crate) fn known(self) -> Vec<&'static str> {
        self.known
    }

    fn get(&mut self, name: &'static str) -> Option<&'a Parameter> {
        self.known.push(name);
        self.parameters.get(name)
    }

    fn wrong<T>(&mut self, name: &str, expected: &str, found: &Parameter) -> Option<T> {
        let found = match found {
            Parameter::Boolean(value) => value.to_string(),
            Parameter::Integer(value) => value.to_string(),
            Parameter::Float(value) => value.to_string(),
            Parameter::Text(value) => format!("the text {value:?}"),
            Parameter::List(value) => format!("a list of {}", value.len()),
        };
        self.mistake(name, format_args!("expected {expected}, found {found}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        Parameters::from([
            ("flag".to_owned(), Parameter::Boolean(true)),
            ("count".to_owned(), Parameter::Integer(3)),
            ("ratio".to_owned(), Parameter::Float(0.5)),
            ("word".to_owned(), Parameter::Text("yes".to_owned())),
            ("words".to_owned(), Parameter::List(vec!["a".to_owned()])),
        ])
    }

    #[test]
    fn right_parameters() {
        let parameters = parameters();
        let mut options = Options::plain(&parameters);
        assert_eq!(options.boolean("flag"), Some(true));
        assert_eq!(options.integer("count", 1..=3), Some(3));
        assert_eq!(options.float("ratio", 0.0..=1.0), Some(0.5));
        assert_eq!(options.text("word"), Some("yes"));
        assert_eq!(options.list("words"), Some(["a".to_owned()].as_slice()));
        assert_eq!(options.float("absent", 0.0..=1.0), None);
        assert_eq!(options.finish(), Ok(()));
    }

    #[test]
    fn a_whole_number_is_a_number() {
        let parameters = Parameters::from([("ratio".to_owned(), Parameter::Integer(1))]);
        let mut options = Options::plain(&parameters);
        assert_eq!(options.float("ratio", 0.0..=1.0), Some(1.0));
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let parameters = parameters();
        let mut options = Options::plain(&parameters);
        assert_eq!(options.boolean("word"), None);
        assert_eq!(options.integer("count", 4..=5), None);
        assert_eq!(options.text("flag"), None);
        assert_eq!(options.list("ratio"), None);
        options.mistake("count", "must be even");
        let error = options.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "word: expected true or false, found the text \"yes\"; \
             count: expected a whole number from 4 to 5, found 3; \
             flag: expected a text, found true; \
             ratio: expected a list of texts, found 0.5; \
             count: must be even; \
             words: unknown parameter; allowed here: word, count, flag, ratio"
        );
    }

    #[test]
    fn nan_is_in_no_range() {
        let parameters = Parameters::from([("ratio".to_owned(), Parameter::Float(f64::NAN))]);
        let mut options = Options::plain(&parameters);
        assert_eq!(options.float("ratio", f64::MIN..=f64::MAX), None);
    }
}
