//! In steady state an evaluation allocates nothing, and neither does a history that is full.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use allocation_counter::measure;
use hostwatch_rules::{Expression, History, LOOKBACK, Labels, Sample, Samples, Scratch};

/// Columns of one history as series.
struct Columns(History);

impl Samples<usize> for Columns {
    fn newest(&self, key: usize, after_ms: i64, until_ms: i64) -> Option<Sample> {
        self.0.newest(key, after_ms, until_ms)
    }

    fn range(&self, key: usize, after_ms: i64, until_ms: i64, out: &mut Vec<Sample>) {
        self.0.range(key, after_ms, until_ms, out);
    }
}

#[test]
fn a_steady_evaluation_allocates_nothing() {
    let labels = |column: usize| {
        let host = format!("h{}", column % 4);
        Labels::new([
            ("__name__".to_owned(), format!("m{}", column / 8)),
            ("cpu".to_owned(), column.to_string()),
            ("host".to_owned(), host),
        ])
    };
    let mut columns = Columns(History::new(16, Duration::from_secs(300)));
    let row = |columns: &mut Columns, second: i64| {
        let values: [f64; 16] = std::array::from_fn(|column| (column as i64 * second) as f64);
        columns.0.push(second * 1000, &values);
    };
    (0..900).step_by(10).for_each(|second| row(&mut columns, second));
    let texts = [
        "avg(rate(m0[5m])) > 0.5",
        "sum by (host) (m0) / on (host) group_left () sum by (host) (m1)",
        "quantile by (host) (0.9, m0) and on (host) (quantile_over_time(0.5, m1[5m]) > 1 or m1)",
        "m0 > bool 5 unless on (cpu) m1 or absent(m2{host=\"x\"}) or vector(scalar(m0) + time())",
        "predict_linear(m0[5m], 3600) < 0 or clamp(-m1, 0, 5) == 3 or stddev(m1) > timestamp(m0)",
    ];
    for text in texts {
        let expression = Expression::parse(text).unwrap();
        let plan = expression.bind((0..16).map(|column| (column, labels(column))));
        let mut scratch = Scratch::default();
        let mut evaluate = || plan.evaluate(890_000, LOOKBACK, &columns, &mut scratch).unwrap().values().count();
        assert!(measure(|| _ = evaluate()).count_total > 0, "the allocations are not counted");
        let steady = measure(|| _ = evaluate());
        assert_eq!(steady.count_total, 0, "{text} allocates {} bytes", steady.bytes_total);
    }
    let steady = measure(|| (900..2000).step_by(10).for_each(|second| row(&mut columns, second)));
    assert_eq!(steady.count_total, 0, "a full history allocates {} bytes", steady.bytes_total);
}
