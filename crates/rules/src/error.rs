//! What can be wrong with an expression, and with an evaluation of a good one.

use std::fmt;

use crate::labels::Labels;

/// Why an expression is refused, and where. Shown with the line of the expression that it is about, and a caret below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    expression: String,
    offset: usize,
    message: String,
}

impl ParseError {
    pub(crate) fn new(expression: &str, offset: usize, message: impl Into<String>) -> Self {
        let mut offset = offset.min(expression.len());
        while !expression.is_char_boundary(offset) {
            offset -= 1;
        }
        Self { expression: expression.to_owned(), offset, message: message.into() }
    }

    /// Where in the expression, in bytes from its begin.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What is wrong, without the expression.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = &self.expression[..self.offset];
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.expression[begin..].lines().next().unwrap_or_default();
        // What stands before the caret has the width of what stands above it, tabs included.
        let blank: String = before[begin..].chars().map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "{}\n  {line}\n  {blank}^", self.message)
    }
}

impl std::error::Error for ParseError {}

/// Why an expression has no result at one time. Whether it has one depends on which series have a sample then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// Several series of one match group on the side of an operator where only one may be.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{first}, {second}]; many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// The labels that are matched on.
        group: Labels,
        /// `left` or `right`.
        side: &'static str,
        /// One of the series.
        first: Labels,
        /// Another one.
        second: Labels,
    },
    /// Several series on the left of an operator for one on its right.
    #[error(
        "multiple matches for labels {group}: [{first}, {second}]; many-to-one matching must be explicit (group_left/group_right)"
    )]
    ManyToOne {
        /// The labels that are matched on.
        group: Labels,
        /// One of the series.
        first: Labels,
        /// Another one.
        second: Labels,
    },
    /// Two series of a result that have the same labels.
    #[error("vector cannot contain metrics with the same labelset: {labels}")]
    DuplicateLabels {
        /// What they have in common.
        labels: Labels,
    },
    /// The expression needs more than [`MAX_SLOTS`](crate::MAX_SLOTS) numbers for these series.
    #[error("the expression needs more than {} values for these series", crate::plan::MAX_SLOTS)]
    TooLarge,
}
