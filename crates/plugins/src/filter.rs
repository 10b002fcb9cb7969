//! Which devices, mounts or fields a plugin reports: two patterns, of which the service may set either.

use std::cell::RefCell;

use regex_lite::Regex;

use crate::Options;

/// The most names whose verdicts are remembered.
const MAX_KNOWN: usize = 4_096;
/// So many names may have gone before the next one is taken for a new one.
const MAX_GONE: usize = 8;

/// Admits names by regular expressions, which are not anchored by themselves. The engine is slow and small: each name is
/// matched once.
#[derive(Debug)]
pub(crate) struct Filter {
    include: Option<Regex>,
    exclude: Option<Regex>,
    known: RefCell<Known>,
}

/// What was found about names before. The same ones come again and again and in the same order, so that the next one is the
/// one that came next the last time. One that comes out of order may stand here twice.
#[derive(Debug, Default)]
struct Known {
    /// One name behind the other, in the order in which they come.
    text: String,
    /// Of each name its length and whether it is admitted.
    verdicts: Vec<(usize, bool)>,
    next: Place,
}

/// Where a name begins in the text, and which one it is.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    offset: usize,
    index: usize,
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
        known.find(name).unwrap_or_else(|| {
            let admits = self.matches(name);
            known.insert(name, admits);
            admits
        })
    }

    fn matches(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(name))
            && !self.exclude.as_ref().is_some_and(|exclude| exclude.is_match(name))
    }
}

impl Known {
    /// The verdict about a name, if it comes about where it is expected, or first again.
    fn find(&mut self, name: &str) -> Option<bool> {
        self.find_from(self.next, name).or_else(|| self.find_from(Place::default(), name))
    }

    fn find_from(&mut self, Place { mut offset, index }: Place, name: &str) -> Option<bool> {
        for (index, (length, admits)) in self.verdicts.iter().enumerate().skip(index).take(MAX_GONE) {
            let end = offset + length;
            if self.text.as_bytes()[offset..end] == *name.as_bytes() {
                self.next = Place { offset: end, index: index + 1 };
                return Some(*admits);
            }
            offset = end;
        }
        None
    }

    /// Adds a name where it is expected.
    fn insert(&mut self, name: &str, admits: bool) {
        // Names that come and go for ever would fill the memory.
        if self.verdicts.len() >= MAX_KNOWN {
            *self = Self::default();
        }
        let Place { offset, index } = self.next;
        self.text.insert_str(offset, name);
        self.verdicts.insert(index, (name.len(), admits));
        self.next = Place { offset: offset + name.len(), index: index + 1 };
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
                assert!(default.known.borrow().verdicts.len() <= MAX_KNOWN);
            }
        }
    }

    #[test]
    fn names_that_come_and_go_are_matched_once() {
        let default = filter(&[]).unwrap();
        let mut sequences: Vec<Vec<String>> = Vec::new();
        let all: Vec<_> = (0..30).map(|number| format!("{}{number}", ["sd", "loop"][number % 2])).collect();
        for left_out in 0..30 {
            sequences
                .push(all.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, name)| name.clone()).collect());
        }
        sequences.push(all[20..].iter().chain(&all[..20]).cloned().collect());
        for round in 0..9 {
            for name in sequences.iter().flatten() {
                assert_eq!(default.admits(name), name.starts_with("sd"), "{name}");
            }
            let known = default.known.borrow().verdicts.len();
            assert!(known < 60, "{known} after round {round}");
        }
    }

    #[test]
    fn a_pattern_that_does_not_parse_is_named() {
        let error = filter(&[("exclude", "(")]).unwrap_err();
        assert!(error.starts_with("exclude: \"(\" is no regular expression"), "{error}");
    }
}
