//! The mistakes of one run over all settings files, gathered so that an administrator sees every one of them at once.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::path::Path;

use super::Place;

/// Gathers mistakes while settings are read and checked; shared by reference among the readers of one run.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<(Place, String)>>);

impl Mistakes {
    /// Adds a mistake at `place`; `what` says what is wrong and what is allowed there.
    pub fn add(&self, place: &Place, what: impl fmt::Display) {
        // Parsers of other languages answer in several lines; here a mistake is one line, so that it can be grepped.
        let what = what.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        self.0.borrow_mut().push((place.clone(), what));
    }

    /// Adds a mistake that `excerpt` shows: lines that stand indented below it, such as an expression and a caret.
    pub fn add_excerpt(&self, place: &Place, what: impl fmt::Display, excerpt: &str) {
        let excerpt = excerpt.lines().map(|line| format!("\n    {line}")).collect::<String>();
        self.0.borrow_mut().push((place.clone(), format!("{what}{excerpt}")));
    }

    /// Adds a mistake that concerns `file` as a whole, such as that it cannot be read.
    pub fn add_file(&self, file: &Path, what: impl fmt::Display) {
        self.add(&Place::line_of_file(file.into(), 0), what);
    }

    /// Whether no mistake was found so far.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Ends the run.
    ///
    /// # Errors
    /// All mistakes, sorted by file and line, when there are any.
    pub fn into_result(self) -> Result<(), MistakeList> {
        let mut mistakes = self.0.into_inner();
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort_by(|(left, _), (right, _)| left.cmp(right));
        Err(MistakeList { lines: mistakes.iter().map(|(place, what)| format!("{place}: {what}")).collect() })
    }
}

/// All mistakes of one run, at least one. Displays as one line each, `FILE:LINE: KEY: what is wrong and what is allowed`,
/// and below some an excerpt, indented.
#[derive(Debug)]
pub struct MistakeList {
    lines: Vec<String>,
}

impl MistakeList {
    /// The mistakes, one line each apart from excerpts, sorted by file and line.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

impl fmt::Display for MistakeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl Error for MistakeList {}
