//! What an evaluation says of each slot: a value, or which of two reasons there is for having none. Whoever raises alerts has to
//! tell a condition that does not hold from one that nothing is known of.

use crate::labels::Labels;
use crate::plan::{Operation, Plan, Step};

/// What became of one slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// There is a result.
    Value(f64),
    /// There is data, and a comparison or a set operator left it out.
    Filtered,
    /// There is nothing that a result could be made of: no sample, or too few of them.
    Missing,
}

/// All results of one evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Outcomes<'a, K> {
    pub(crate) plan: &'a Plan<K>,
    pub(crate) slots: &'a [Option<f64>],
}

impl<'a, K: Copy> Outcomes<'a, K> {
    /// What there is, with its labels.
    pub fn values(&self) -> impl Iterator<Item = (&'a Labels, f64)> + use<'a, K> {
        let Self { plan, slots } = *self;
        plan.result.clone().filter_map(move |slot| Some((&plan.labels[slot], slots[slot]?)))
    }

    /// Every slot, with its labels. Two slots can have the same labels when never more than one of them can have a value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Labels, Outcome)> + use<'a, K> {
        let outcomes = *self;
        self.plan.result.clone().map(move |slot| (&outcomes.plan.labels[slot], outcomes.outcome(slot)))
    }

    fn outcome(&self, slot: usize) -> Outcome {
        match self.slots[slot] {
            Some(value) => Outcome::Value(value),
            None if self.is_grounded(slot) => Outcome::Filtered,
            None => Outcome::Missing,
        }
    }

    /// Whether there was data for a slot, whatever became of it. As deep as the expression is.
    fn is_grounded(&self, slot: usize) -> bool {
        let steps = &self.plan.steps;
        let Step { operation, out, .. } = &steps[steps.partition_point(|step| step.out.end <= slot)];
        let index = slot - out.start;
        let any = |slots: &[usize]| slots.iter().any(|slot| self.is_grounded(*slot));
        match operation {
            Operation::Number(_) | Operation::Time | Operation::Absent(_) | Operation::AbsentOverTime { .. } => true,
            Operation::Newest { .. } | Operation::Timestamp { .. } | Operation::Range { .. } => {
                self.slots[slot].is_some()
            }
            Operation::Copy(scalar) => self.is_grounded(*scalar),
            // Without exactly one series it is NaN, which compares to nothing.
            Operation::Single(vector) => vector.clone().any(|slot| self.is_grounded(slot)),
            Operation::Map { operand, .. } => self.is_grounded(operand.start + index),
            Operation::Aggregate { groups, .. } => any(&groups[index]),
            Operation::ScalarLeft { left, right, .. } => {
                self.is_grounded(*left) && self.is_grounded(right.start + index)
            }
            Operation::ScalarRight { left, right, .. } => {
                self.is_grounded(left.start + index) && self.is_grounded(*right)
            }
            Operation::Match(matches) => {
                let (many, ones) = matches.sources(index);
                self.is_grounded(many) && any(&ones)
            }
            Operation::Set(set) => self.is_grounded(set.source(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Expression, LOOKBACK, Sample, Samples, Scratch};

    /// The newest value of each series.
    struct Newest(HashMap<&'static str, f64>);

    impl Samples<&'static str> for Newest {
        fn newest(&self, key: &'static str, _: i64, until_ms: i64) -> Option<Sample> {
            self.0.get(key).map(|value| Sample { time_ms: until_ms, value: *value })
        }

        fn range(&self, _: &'static str, _: i64, _: i64, _: &mut Vec<Sample>) {}
    }

    /// What becomes of `expression` over `a`, `b{x="1"}` and `b{x="2"}`, of which some have values.
    fn outcomes(expression: &str, values: &[(&'static str, f64)]) -> Vec<Outcome> {
        let series = [
            ("a", Labels::new([("__name__", "a")])),
            ("b1", Labels::new([("__name__", "b"), ("x", "1")])),
            ("b2", Labels::new([("__name__", "b"), ("x", "2")])),
        ];
        let plan = Expression::parse(expression).unwrap().bind(series);
        let (mut scratch, samples) = (Scratch::default(), Newest(values.iter().copied().collect()));
        let outcomes = plan.evaluate(0, LOOKBACK, &samples, &mut scratch).unwrap();
        outcomes.iter().map(|(_, outcome)| outcome).collect()
    }

    #[test]
    fn what_is_left_out_is_told_from_what_is_missing() {
        use Outcome::{Filtered, Missing, Value};
        for (expression, values, expected) in [
            ("a > 1", &[("a", 2.0)][..], &[Value(2.0)][..]),
            ("a > 1", &[("a", 1.0)], &[Filtered]),
            ("a > 1", &[], &[Missing]),
            ("b > 1", &[("b1", 0.0)], &[Filtered, Missing]),
            ("rate(a[5m]) > 1", &[("a", 1.0)], &[Missing]),
            ("sum(b) > 1", &[("b1", 0.5)], &[Filtered]),
            ("sum(b > 1)", &[("b1", 0.5)], &[Filtered]),
            ("sum(b) > 1", &[], &[Missing]),
            ("a > on () sum(b)", &[("a", 1.0), ("b1", 2.0)], &[Filtered]),
            ("a > on () sum(b)", &[("a", 1.0)], &[Missing]),
            ("a > on () sum(b)", &[("b1", 1.0)], &[Missing]),
            ("a > scalar(sum(b))", &[("a", 1.0)], &[Missing]),
            ("a > scalar(sum(b))", &[("a", 1.0), ("b2", 2.0)], &[Filtered]),
            ("2 < a", &[("a", 1.0)], &[Filtered]),
            ("a and on () b", &[("a", 1.0)], &[Filtered]),
            ("a and on () b", &[("b1", 1.0)], &[Missing]),
            ("a unless on () b", &[("a", 1.0), ("b1", 1.0)], &[Filtered]),
            ("a or b", &[("b2", 3.0)], &[Missing, Missing, Value(3.0)]),
            ("absent(a)", &[("a", 1.0)], &[Filtered]),
            ("absent(a)", &[], &[Value(1.0)]),
            ("abs(a) > 5", &[("a", -1.0)], &[Filtered]),
            ("abs(a) > 5", &[], &[Missing]),
        ] {
            assert_eq!(outcomes(expression, values), expected, "{expression} over {values:?}");
        }
    }
}
