//! The recent rows of a table of series that are measured together: one time for each row, one value for each column.
//! A sample takes 8 bytes and a row 8 more; the room that is held ahead is at most a quarter of that.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sample::{STALE, Sample, is_stale};

/// The most rows that a [`History`] holds, whatever it is asked to keep; the oldest go first.
pub const MAX_ROWS: usize = 65_536;

/// Stands where a column has no sample in a row. A NaN with a payload like [`STALE`]; no arithmetic makes one.
pub const MISSING: f64 = f64::from_bits(0x7ff0_0000_0000_0003);

/// The recent rows of one service of one host.
#[derive(Clone, Debug)]
pub struct History {
    columns: usize,
    keep: Duration,
    /// Strictly ascending.
    times: VecDeque<i64>,
    /// Row by row, in the order of `times`.
    values: VecDeque<f64>,
}

impl History {
    /// An empty one that keeps rows that are younger than `keep`, seen from the newest row.
    pub fn new(columns: usize, keep: Duration) -> Self {
        Self { columns, keep, times: VecDeque::new(), values: VecDeque::new() }
    }

    /// Puts a row in its place: a late one goes between those that it came too late for; one of a time that is there
    /// already, or one that is too old to keep, is dropped. Times are milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// When there is not one value for each column.
    pub fn push(&mut self, time_ms: i64, values: &[f64]) {
        assert_eq!(values.len(), self.columns, "a row has one value for each column");
        self.insert(time_ms, values.iter().copied());
    }

    /// Ends every column at a time, until the next row.
    pub fn mark_stale(&mut self, time_ms: i64) {
        self.insert(time_ms, std::iter::repeat_n(STALE, self.columns));
    }

    /// Takes new columns: each with the old column that it continues, or none. In older rows a new column has no sample.
    pub fn reshape(&mut self, continued: &[Option<usize>]) {
        let mut values = VecDeque::with_capacity(self.times.len() * continued.len());
        for row in 0..self.times.len() {
            values.extend(continued.iter().map(|old| match old {
                Some(column) if *column < self.columns => self.values[row * self.columns + column],
                _ => MISSING,
            }));
        }
        self.values = values;
        self.columns = continued.len();
    }

    /// Keeps rows for another while from now on.
    pub fn set_keep(&mut self, keep: Duration) {
        self.keep = keep;
        self.expire();
    }

    /// The newest sample of a column in (after, until]; a stale marker there means none.
    pub fn newest(&self, column: usize, after_ms: i64, until_ms: i64) -> Option<Sample> {
        for row in (0..self.rows_until(until_ms)).rev() {
            let time_ms = self.times[row];
            if time_ms <= after_ms {
                return None;
            }
            let value = self.value(row, column)?;
            if is_stale(value) {
                return None;
            }
            if !is_missing(value) {
                return Some(Sample { time_ms, value });
            }
        }
        None
    }

    /// Appends the samples of a column in (after, until], oldest first, without stale markers.
    pub fn range(&self, column: usize, after_ms: i64, until_ms: i64, out: &mut Vec<Sample>) {
        for row in self.rows_until(after_ms)..self.rows_until(until_ms) {
            let Some(value) = self.value(row, column) else { return };
            if !is_stale(value) && !is_missing(value) {
                out.push(Sample { time_ms: self.times[row], value });
            }
        }
    }

    /// The number of rows that are held.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The memory that it holds, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.times.capacity() * size_of::<i64>() + self.values.capacity() * size_of::<f64>()
    }

    fn insert(&mut self, time_ms: i64, values: impl ExactSizeIterator<Item = f64>) {
        let row = self.rows_until(time_ms);
        let is_there = row > 0 && self.times[row - 1] == time_ms;
        let is_full = row == 0 && self.times.len() >= MAX_ROWS;
        if is_there || is_full || self.times.back().is_some_and(|newest| self.is_too_old(time_ms, *newest)) {
            return;
        }
        self.make_room();
        let end = self.times.len();
        self.times.push_back(time_ms);
        self.values.extend(values);
        if row < end {
            self.times.make_contiguous()[row..].rotate_right(1);
            self.values.make_contiguous()[row * self.columns..].rotate_right(self.columns);
        }
        self.expire();
    }

    /// Doubling would hold up to as much room again as the rows need; a quarter costs a few more moves.
    fn make_room(&mut self) {
        if self.times.len() == self.times.capacity() {
            let rows = (self.times.len() / 4).max(8);
            self.times.reserve_exact(rows);
            self.values.reserve_exact(rows * self.columns);
        }
    }

    fn expire(&mut self) {
        let Some(newest) = self.times.back().copied() else { return };
        let too_old = self.times.iter().take_while(|time| self.is_too_old(**time, newest)).count();
        let too_many = self.times.len().saturating_sub(MAX_ROWS);
        let gone = too_old.max(too_many);
        self.times.drain(..gone);
        self.values.drain(..gone * self.columns);
    }

    /// Ranges are open on the left: what is exactly as old as the longest range is not in it.
    fn is_too_old(&self, time_ms: i64, newest_ms: i64) -> bool {
        i128::from(newest_ms) - i128::from(time_ms) >= self.keep.as_millis() as i128 && time_ms != newest_ms
    }

    /// How many rows there are up to a time, that one included.
    fn rows_until(&self, time_ms: i64) -> usize {
        self.times.partition_point(|time| *time <= time_ms)
    }

    fn value(&self, row: usize, column: usize) -> Option<f64> {
        if column >= self.columns {
            return None;
        }
        self.values.get(row * self.columns + column).copied()
    }
}

fn is_missing(value: f64) -> bool {
    value.to_bits() == MISSING.to_bits()
}
