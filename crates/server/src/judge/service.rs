//! What the judge knows of one service of one host: its newest values, and the histories of the series that some expression
//! ranges over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_rules::{History, MISSING, Sample};

use super::binding::{Shape, Tracked};
use crate::directory::SeriesBlock;
use crate::layouts::PreparedLayout;

/// How far back a value may lie that still counts as the newest, as in Prometheus; longer for services that run seldom.
const LOOKBACK: Duration = Duration::from_mins(5);
/// So many of its own intervals a service may miss before there is no data.
const MISSED_INTERVALS: i64 = 3;
/// How late a report may be without having missed its interval.
const LATENESS_MS: i64 = 500;
/// When the values of a service were collected that has never shown any.
const NEVER_MS: i64 = i64::MIN;

/// One service. All times are in milliseconds since 1970.
pub(super) struct ServiceData {
    pub(super) shape: Shape,
    pub(super) interval_ms: i64,
    values: Arc<[f64]>,
    /// When the values were collected.
    at_ms: i64,
    /// Whether the service still has these series, as it said last.
    present: bool,
    memory: Memory,
}

/// Histories, for the columns of one layout.
struct Memory {
    layout: Arc<PreparedLayout>,
    tracked: Tracked,
    history: History,
    /// Room for one row.
    row: Vec<f64>,
}

impl ServiceData {
    /// A service of which something came for the first time. It has no values yet.
    pub(super) fn new(shape: Shape, interval_ms: u64) -> Self {
        let memory = Memory {
            layout: Arc::clone(&shape.layout),
            tracked: Tracked::default(),
            history: History::new(0, Duration::ZERO),
            row: Vec::new(),
        };
        Self { shape, interval_ms: interval_ms as i64, values: Arc::default(), at_ms: NEVER_MS, present: false, memory }
    }

    /// Takes the newest values; true when they are of another shape than the ones before.
    pub(super) fn show(&mut self, block: &SeriesBlock, at_ms: i64) -> bool {
        (self.values, self.at_ms, self.present) = (Arc::clone(&block.values), at_ms, true);
        self.take_shape(block)
    }

    /// Values came late. As long as there were no others, the next ones are likely to have their shape; true when that is
    /// another one.
    pub(super) fn foresee(&mut self, block: &SeriesBlock) -> bool {
        self.at_ms == NEVER_MS && self.take_shape(block)
    }

    fn take_shape(&mut self, block: &SeriesBlock) -> bool {
        let same = Arc::ptr_eq(&self.shape.layout, &block.layout) && self.shape.hidden == block.hidden;
        if !same {
            self.shape.layout = Arc::clone(&block.layout);
            self.shape.hidden = Arc::clone(&block.hidden);
        }
        !same
    }

    /// The service is silent for too long: it has no series until it shows some again.
    pub(super) fn hide(&mut self, at_ms: i64) {
        if self.present {
            self.fail(at_ms);
        }
    }

    /// The service said that it has no series, so that those of the past are over, too.
    pub(super) fn fail(&mut self, at_ms: i64) {
        if self.present || self.at_ms == NEVER_MS {
            (self.present, self.at_ms) = (false, at_ms);
            self.memory.history.mark_stale(at_ms);
        }
    }

    /// Whether its last values still count.
    pub(super) fn is_fresh(&self, now_ms: i64) -> bool {
        self.present && now_ms < self.stale_at_ms()
    }

    /// When its last values cease to count.
    pub(super) fn stale_at_ms(&self) -> i64 {
        self.at_ms.saturating_add(MISSED_INTERVALS * self.interval_ms).saturating_add(LATENESS_MS)
    }

    /// How far back a value of it may lie.
    pub(super) fn lookback(&self) -> Duration {
        LOOKBACK.max(Duration::from_millis((MISSED_INTERVALS * self.interval_ms).unsigned_abs()))
    }

    /// Remembers from now on what `tracked` says. Series that were remembered before keep their past, whatever their column.
    pub(super) fn track(&mut self, tracked: &Tracked) {
        let memory = &mut self.memory;
        let same_layout = Arc::ptr_eq(&memory.layout, &self.shape.layout);
        if !same_layout || memory.tracked.columns != tracked.columns {
            let origins = memory.origins(&self.shape.layout, &tracked.columns);
            memory.history.reshape(&origins);
            memory.layout = Arc::clone(&self.shape.layout);
        }
        memory.history.set_keep(tracked.keep);
        memory.tracked = tracked.clone();
    }

    /// Enters the newest values in the histories.
    pub(super) fn record(&mut self) {
        self.memory.push(self.at_ms, |column| self.values[column as usize]);
    }

    /// Enters values that came late in the histories, in their place.
    pub(super) fn remember(&mut self, block: &SeriesBlock, at_ms: i64) {
        if Arc::ptr_eq(&self.memory.layout, &block.layout) {
            self.memory.push(at_ms, |column| block.values[column as usize]);
        } else {
            let values: HashMap<&[u8], f64> = series_texts(&block.layout).zip(block.values.iter().copied()).collect();
            let layout = Arc::clone(&self.memory.layout);
            let texts: Vec<&[u8]> = series_texts(&layout).collect();
            self.memory.push(at_ms, |column| values.get(texts[column as usize]).copied().unwrap_or(MISSING));
        }
    }

    /// The value of a column, if it still counts and lies in `(after_ms, until_ms]`.
    pub(super) fn newest(&self, column: u32, after_ms: i64, until_ms: i64) -> Option<Sample> {
        if self.present && self.at_ms > after_ms && self.at_ms <= until_ms {
            return Some(Sample { time_ms: self.at_ms, value: self.values[column as usize] });
        }
        let place = self.memory.tracked.place(column)?;
        self.memory.history.newest(place, after_ms, until_ms)
    }

    /// Appends the samples of a column in `(after_ms, until_ms]`.
    pub(super) fn range(&self, column: u32, after_ms: i64, until_ms: i64, samples: &mut Vec<Sample>) {
        if let Some(place) = self.memory.tracked.place(column) {
            self.memory.history.range(place, after_ms, until_ms, samples);
        }
    }
}

impl Memory {
    fn push(&mut self, at_ms: i64, value: impl Fn(u32) -> f64) {
        let Self { tracked, history, row, .. } = self;
        if !tracked.columns.is_empty() {
            row.clear();
            row.extend(tracked.columns.iter().map(|column| value(*column)));
            history.push(at_ms, row);
        }
    }

    /// For each of `columns` of `layout` the place where the same series stands in the history.
    fn origins(&self, layout: &PreparedLayout, columns: &[u32]) -> Vec<Option<usize>> {
        if std::ptr::eq(&*self.layout, layout) {
            return columns.iter().map(|column| self.tracked.place(*column)).collect();
        }
        let before: Vec<&[u8]> = series_texts(&self.layout).collect();
        let tracked = self.tracked.columns.iter().enumerate();
        let places: HashMap<&[u8], usize> = tracked.map(|(place, column)| (before[*column as usize], place)).collect();
        let now: Vec<&[u8]> = series_texts(layout).collect();
        columns.iter().map(|column| places.get(now[*column as usize]).copied()).collect()
    }
}

/// The text of every series of a layout, in the order of the values.
fn series_texts(layout: &PreparedLayout) -> impl Iterator<Item = &[u8]> {
    layout.families().iter().flat_map(|family| family.series_texts())
}
