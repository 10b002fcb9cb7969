//! Reads Prometheus's text format 0.0.4 and OpenMetrics 1.0, as exporters and scripts write them.
//!
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>. A page is read as a whole or not at all; the first mistake is
//! named with its line.

mod kind;
mod line;
mod order;
mod page;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use kind::owner_of;
pub(crate) use page::{MAX_PAGE_BYTES, MAX_SERIES};
pub use page::{Origin, Page};
pub(crate) use view::compare_series;

/// What is wrong with a page, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    /// For people.
    pub what: String,
}
