//! Any text is an expression or an error with a place; and what is accepted can be bound and evaluated.

#![no_main]

use std::sync::LazyLock;

use hostwatch_rules::{Expression, LOOKBACK, Labels, Sample, Samples, Scratch};
use libfuzzer_sys::fuzz_target;

/// Three series, of which two have the same labels but for their names.
static SERIES: LazyLock<[Labels; 3]> = LazyLock::new(|| {
    [
        Labels::new([("__name__", "x"), ("a", "b")]),
        Labels::new([("__name__", "y"), ("a", "b")]),
        Labels::new([("__name__", "x"), ("a", "c")]),
    ]
});

struct Numbers;

impl Samples<usize> for Numbers {
    fn newest(&self, key: usize, _after_ms: i64, until_ms: i64) -> Option<Sample> {
        Some(Sample { time_ms: until_ms, value: key as f64 })
    }

    fn range(&self, key: usize, _after_ms: i64, until_ms: i64, out: &mut Vec<Sample>) {
        out.extend((0..key as i64).rev().map(|ago| Sample { time_ms: until_ms - ago, value: ago as f64 }));
    }
}

fuzz_target!(|text: &str| match Expression::parse(text) {
    Ok(expression) => {
        let plan = expression.bind(SERIES.iter().cloned().enumerate());
        let mut scratch = Scratch::default();
        if let Ok(outcomes) = plan.evaluate(1_000_000, LOOKBACK, &Numbers, &mut scratch) {
            assert!(outcomes.iter().count() == plan.labels().len());
        }
    }
    Err(error) => {
        assert!(error.offset() <= text.len());
        assert!(error.to_string().contains('^'));
    }
});
