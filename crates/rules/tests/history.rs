//! A history against a list of samples that is kept without any cleverness, and what it costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use hostwatch_rules::{History, MAX_ROWS, STALE, Sample, is_stale};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Action {
    Push(i64, f64),
    MarkStale(i64),
    Reshape(Vec<Option<usize>>),
    Keep(u64),
}

/// Rows with a value for each column, or none.
struct Model {
    columns: usize,
    keep_ms: i64,
    rows: Vec<(i64, Vec<Option<f64>>)>,
}

impl Model {
    fn insert(&mut self, time_ms: i64, values: Vec<Option<f64>>) {
        let newest = self.rows.iter().map(|row| row.0).max().unwrap_or(time_ms).max(time_ms);
        if self.rows.iter().all(|row| row.0 != time_ms) && (time_ms == newest || newest - time_ms < self.keep_ms) {
            self.rows.push((time_ms, values));
            self.rows.sort_by_key(|row| row.0);
        }
        self.expire();
    }

    fn expire(&mut self) {
        let newest = self.rows.last().map_or(0, |row| row.0);
        self.rows.retain(|row| row.0 == newest || newest - row.0 < self.keep_ms);
    }

    fn samples(&self, column: usize, after_ms: i64, until_ms: i64) -> Vec<(i64, f64)> {
        let rows = self.rows.iter().filter(|row| row.0 > after_ms && row.0 <= until_ms);
        rows.filter_map(|row| Some((row.0, row.1[column]?))).collect()
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0..60_i64, -9..9_i32).prop_map(|(time, value)| Action::Push(time, f64::from(value))),
        2 => (0..60_i64).prop_map(Action::MarkStale),
        1 => prop::collection::vec(prop::option::of(0..4_usize), 0..4).prop_map(Action::Reshape),
        1 => (0..50_u64).prop_map(Action::Keep),
    ]
}

proptest! {
    #[test]
    fn holds_what_a_list_of_rows_would(
        actions in prop::collection::vec(action(), 0..80), after in -5..65_i64, length in 0..70_i64,
    ) {
        let mut history = History::new(2, Duration::from_millis(30));
        let mut model = Model { columns: 2, keep_ms: 30, rows: Vec::new() };
        for action in actions {
            match action {
                Action::Push(time, value) => {
                    let values: Vec<f64> = (0..model.columns).map(|column| value + column as f64).collect();
                    history.push(time, &values);
                    model.insert(time, values.into_iter().map(Some).collect());
                }
                Action::MarkStale(time) => {
                    history.mark_stale(time);
                    model.insert(time, vec![Some(STALE); model.columns]);
                }
                Action::Reshape(continued) => {
                    history.reshape(&continued);
                    for row in &mut model.rows {
                        row.1 = continued.iter().map(|old| row.1.get((*old)?).copied().flatten()).collect();
                    }
                    model.columns = continued.len();
                }
                Action::Keep(millis) => {
                    history.set_keep(Duration::from_millis(millis));
                    model.keep_ms = millis as i64;
                    model.expire();
                }
            }
            prop_assert_eq!(history.rows(), model.rows.len());
            for column in 0..model.columns {
                let expected = model.samples(column, after, after + length);
                let newest = expected.last().filter(|sample| !is_stale(sample.1));
                let newest = newest.map(|(time_ms, value)| Sample { time_ms: *time_ms, value: *value });
                prop_assert_eq!(history.newest(column, after, after + length), newest);
                let mut range = Vec::new();
                history.range(column, after, after + length, &mut range);
                let range: Vec<(i64, f64)> = range.iter().map(|sample| (sample.time_ms, sample.value)).collect();
                let expected: Vec<(i64, f64)> = expected.into_iter().filter(|sample| !is_stale(sample.1)).collect();
                prop_assert_eq!(range, expected);
            }
        }
    }
}

#[test]
fn a_sample_costs_about_eight_bytes() {
    let mut history = History::new(50, Duration::from_secs(3600));
    (0..720).for_each(|row| history.push(row * 10_000, &[1.5; 50]));
    assert_eq!(history.rows(), 360);
    let per_sample = history.bytes() as f64 / (360.0 * 50.0);
    assert!(per_sample < 8.0 * 1.25 * 1.05, "{per_sample} bytes");
}

#[test]
fn the_number_of_rows_is_bounded() {
    let mut history = History::new(1, Duration::from_secs(1_000_000));
    let rows = MAX_ROWS as i64 + 10;
    (1..=rows).for_each(|row| history.push(row, &[row as f64]));
    assert_eq!(history.rows(), MAX_ROWS);
    assert_eq!(history.newest(0, 0, 10), None);
    // A late one older than all that is there has no room.
    history.push(5, &[0.0]);
    assert_eq!((history.rows(), history.newest(0, 0, 5)), (MAX_ROWS, None));
    assert_eq!(history.newest(0, 0, rows).unwrap().value, rows as f64);
}
