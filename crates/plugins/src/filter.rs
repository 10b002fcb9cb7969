//! Which devices, mounts or fields a plugin reports: two patterns, of which the service may set either.

use std::cell::RefCell;
use std::collections::HashMap;

use regex_lite::Regex;

use crate::Options;

/// The most names whose verdicts are remembered.
const MAX_KNOWN: usize = 4_096;

/// Admits names by regular expressions, which are not anchored by themselves. The engine is slow and small: each name is
/// matched once.
#[derive(Debug)]
pub(crate) struct Filter {
    include: Option<Regex>,
    exclude: Option<Regex>,
    /// What was found about names before: the same ones come again and again, and to match one takes ten times as long as
    /// to look it up.
    known: RefCell<HashMap<String, bool>>,
}

impl Filter {
    /// Takes the parameters called `include` and `exclude`. Without either, `default_exclude` holds: who says what to
    /// include means just that.
    pub(crate) fn new(options: &mut Options<'_>, [include, exclude]: [&'static str; 2], default_exclude: &str) -> Self {
        let include = pattern(options, include);
        let mut exclude = pattern(options, exclude);
        if include.is_none() && exclude.is_none() && !default_exclude.is_empty() {
            exclude = Some(known(default_exclude));
        }
        Self { include, exclude, known: RefCell::default() }
    }

    /// Takes the parameter `include` alone, which replaces `default`.
    #[cfg(target_os = "linux")]
    pub(crate) fn including(options: &mut Options<'_>, include: &'static str, default: &str) -> Self {
        let include = pattern(options, include).unwrap_or_else(|| known(default));
        Self { include: Some(include), exclude: None, known: RefCell::default() }
    }

    pub(crate) fn admits(&self, name: &str) -> bool {
        let mut known = self.known.borrow_mut();
        if let Some(admits) = known.get(name) {
            return *admits;
        }
        // Names that come and go for ever would fill the memory.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let admits = self.matches(name);
        known.insert(name.to_owned(), admits);
        admits
    }

    fn matches(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(name))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(name))
    }
}

fn pattern(options: &mut Options<'_>, name: &'static str) -> Option<Regex> {
    let pattern = options.text(name)?;
    match Regex::new(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            options.mistake(name, format!("{pattern:?} is no regular expression: {error}"));
            None
        }
    }
}

fn known(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns of this crate are regular expressions, as its tests build every plugin")
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Parameter, Parameters};

    use super::*;

    fn filter(parameters: &[(&str, &str)]) -> Result<Filter, String> {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), Parameter::Text((*value).to_owned()));
        let parameters: Parameters = parameters.iter().map(text).collect();
        let mut options = Options::plain(&parameters);
        let filter = Filter::new(&mut options, ["include", "exclude"], "^loop");
        options.finish().map(|()| filter).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_holds_until_somebody_chooses() {
        let default = filter(&[]).unwrap();
        assert!(default.admits("sda") && !default.admits("loop0"));
        let included = filter(&[("include", "^loop[01]$")]).unwrap();
        assert!(included.admits("loop0") && !included.admits("sda"));
        let both = filter(&[("include", "^loop"), ("exclude", "1$")]).unwrap();
        assert!(both.admits("loop0") && !both.admits("loop1"));
    }

    #[test]
    fn verdicts_are_remembered_within_bounds() {
        let default = filter(&[]).unwrap();
        for round in 0..2 {
            for number in 0..MAX_KNOWN + 9 {
                assert!(
                    !default.admits(&format!("loop{number}")) && default.admits(&format!("sda{number}")),
                    "{round}"
                );
                assert!(default.known.borrow().len() <= MAX_KNOWN);
            }
        }
    }

    #[test]
    fn a_pattern_that_does_not_parse_is_named() {
        let error = filter(&[("exclude", "(")]).unwrap_err();
        assert!(error.starts_with("exclude: \"(\" is no regular expression"), "{error}");
    }
}
