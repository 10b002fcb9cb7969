//! Where a value stands: a line and a key of a file, or a variable of the environment.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A value together with the place that it was read from, so that a later check can still point there.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// What was read.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// What is said counts, wherever it stands.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Located<T> {
    /// The same place with a value made from this one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: make(self.value), place: self.place }
    }
}

/// Where a value stands. Displays as `FILE:LINE: KEY` or as `environment: VARIABLE`; orders by file, then line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Origin);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// `line` counts from 1 and is 0 where there is none to name, as for the file as a whole.
    File {
        file: Arc<Path>,
        line: usize,
        key: String,
    },
    Environment {
        variable: String,
    },
}

impl Place {
    pub(super) fn line_of_file(file: Arc<Path>, line: usize) -> Self {
        Self(Origin::File { file, line, key: String::new() })
    }

    pub(super) fn environment(variable: String) -> Self {
        Self(Origin::Environment { variable })
    }

    /// The place of `key` below this one, on a line of its own where it has one.
    pub(super) fn child(&self, key: &str, own_line: Option<usize>) -> Self {
        let key = if is_bare(key) { key.to_owned() } else { format!("{key:?}") };
        self.below(own_line, |parent| if parent.is_empty() { key } else { format!("{parent}.{key}") })
    }

    /// The place of a list's element: `match[0]`.
    pub(super) fn element(&self, index: usize, line: usize) -> Self {
        self.below(Some(line), |parent| format!("{parent}[{index}]"))
    }

    fn below(&self, own_line: Option<usize>, key_below: impl FnOnce(&str) -> String) -> Self {
        match &self.0 {
            Origin::File { file, line, key } => {
                Self(Origin::File { file: file.clone(), line: own_line.unwrap_or(*line), key: key_below(key) })
            }
            Origin::Environment { .. } => self.clone(),
        }
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::File { file, line, key } => {
                write!(f, "{}", file.display())?;
                if *line > 0 {
                    write!(f, ":{line}")?;
                }
                if !key.is_empty() {
                    write!(f, ": {key}")?;
                }
                Ok(())
            }
            Origin::Environment { variable } => write!(f, "environment: {variable}"),
        }
    }
}
