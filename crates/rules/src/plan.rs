//! An expression that is bound to a set of series: steps over one row of slots, each a number that is there or not.
//! Which labels a slot has is fixed; only what is there changes, so that no evaluation touches a string.

use std::ops::Range;
use std::time::Duration;

use crate::binary::{Match, Operator, Set};
use crate::error::EvaluationError;
use crate::function::{Aggregation, MapFunction, RangeFunction};
use crate::labels::Labels;
use crate::outcome::Outcomes;
use crate::range::Window;
use crate::sample::{Sample, Samples, is_stale};

/// How many numbers an evaluation may need. Only the labels that `group_left` and `group_right` add can multiply what
/// comes in; an expression that would need more fails at every evaluation.
pub const MAX_SLOTS: usize = 4 * 1024 * 1024;

/// An expression bound to a set of series that are known by keys.
#[derive(Debug)]
pub struct Plan<K> {
    pub(crate) steps: Vec<Step<K>>,
    /// Of all slots.
    pub(crate) labels: Vec<Labels>,
    pub(crate) result: Range<usize>,
    pub(crate) keys: Vec<PlanKey<K>>,
    pub(crate) is_too_large: bool,
}

/// A series that a plan reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanKey<K> {
    /// The series.
    pub key: K,
    /// How far back it is read beyond its newest sample, if it is.
    pub range: Option<Duration>,
}

/// Room for evaluations, of one plan or of many after each other; what it grew to is used again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) slots: Vec<Option<f64>>,
    samples: Vec<Sample>,
    values: Vec<f64>,
}

#[derive(Debug)]
pub(crate) struct Step<K> {
    pub(crate) operation: Operation<K>,
    /// Where the results go; operands are before it.
    pub(crate) out: Range<usize>,
    /// Results that have the same labels: one of each list can be there at a time.
    pub(crate) same: Vec<Vec<usize>>,
}

#[derive(Debug)]
pub(crate) enum Operation<K> {
    Number(f64),
    Time,
    Newest { keys: Vec<K>, offset_ms: i64 },
    Timestamp { keys: Vec<K>, offset_ms: i64 },
    Range { function: RangeFunction, keys: Vec<K>, reach: Reach, parameter: Option<usize> },
    AbsentOverTime { keys: Vec<K>, reach: Reach },
    Map { function: MapFunction, operand: Range<usize>, parameters: [Option<usize>; 2] },
    Copy(usize),
    Single(Range<usize>),
    Absent(Range<usize>),
    Aggregate { aggregation: Aggregation, groups: Vec<Vec<usize>>, parameter: Option<usize> },
    ScalarLeft { operator: Operator, left: usize, right: Range<usize> },
    ScalarRight { operator: Operator, left: Range<usize>, right: usize },
    Match(Match),
    Set(Set),
}

/// Where a range lies before the time of an evaluation, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(crate) range_ms: i64,
    pub(crate) offset_ms: i64,
}

/// The time of an evaluation, and how old the newest sample may be.
#[derive(Clone, Copy)]
struct Moment {
    at_ms: i64,
    lookback_ms: i64,
}

impl<K: Copy> Plan<K> {
    /// The labels of what an evaluation can result in, slot by slot. Two slots can have the same labels when never
    /// more than one of them can be there.
    pub fn labels(&self) -> &[Labels] {
        &self.labels[self.result.clone()]
    }

    /// The series that it reads, each once.
    pub fn keys(&self) -> &[PlanKey<K>] {
        &self.keys
    }

    /// What the expression is at a time (milliseconds since the Unix epoch). A sample older than `lookback` is not the newest
    /// of a series, but none.
    ///
    /// # Errors
    /// When what is there cannot be matched, or would have the same labels twice.
    pub fn evaluate<'a>(
        &'a self,
        at_ms: i64,
        lookback: Duration,
        samples: &impl Samples<K>,
        scratch: &'a mut Scratch,
    ) -> Result<Outcomes<'a, K>, EvaluationError> {
        if self.is_too_large {
            return Err(EvaluationError::TooLarge);
        }
        let moment = Moment { at_ms, lookback_ms: millis(lookback) };
        scratch.slots.clear();
        scratch.slots.resize(self.labels.len(), None);
        for step in &self.steps {
            let (inputs, outputs) = scratch.slots[..step.out.end].split_at_mut(step.out.start);
            let room = (&mut scratch.samples, &mut scratch.values);
            step.operation.evaluate(moment, samples, &self.labels, inputs, outputs, room)?;
            for slots in &step.same {
                if slots.iter().filter(|slot| scratch.slots[**slot].is_some()).count() > 1 {
                    return Err(EvaluationError::DuplicateLabels { labels: self.labels[slots[0]].clone() });
                }
            }
        }
        Ok(Outcomes { plan: self, slots: &scratch.slots })
    }
}

impl<K: Copy> Operation<K> {
    fn evaluate(
        &self,
        moment: Moment,
        from: &impl Samples<K>,
        labels: &[Labels],
        inputs: &[Option<f64>],
        out: &mut [Option<f64>],
        (samples, values): (&mut Vec<Sample>, &mut Vec<f64>),
    ) -> Result<(), EvaluationError> {
        // Scalars are always there.
        let scalar = |slot: usize| inputs[slot].unwrap_or(f64::NAN);
        match self {
            Self::Number(number) => out[0] = Some(*number),
            Self::Time => out[0] = Some(moment.at_ms as f64 / 1000.0),
            Self::Newest { keys, offset_ms } => {
                for (out, key) in out.iter_mut().zip(keys) {
                    *out = moment.newest(from, *key, *offset_ms).map(|sample| sample.value);
                }
            }
            Self::Timestamp { keys, offset_ms } => {
                for (out, key) in out.iter_mut().zip(keys) {
                    *out = moment.newest(from, *key, *offset_ms).map(|sample| sample.time_ms as f64 / 1000.0);
                }
            }
            Self::Range { function, keys, reach, parameter } => {
                let parameter = parameter.map_or(f64::NAN, scalar);
                for (out, key) in out.iter_mut().zip(keys) {
                    let window = moment.window(from, *key, *reach, samples);
                    *out = window.apply(*function, parameter, values);
                }
            }
            Self::AbsentOverTime { keys, reach } => {
                let is_absent = keys.iter().all(|key| moment.window(from, *key, *reach, samples).samples.is_empty());
                out[0] = is_absent.then_some(1.0);
            }
            Self::Map { function, operand, parameters } => {
                let parameters = parameters.map(|slot| slot.map(scalar));
                for (out, value) in out.iter_mut().zip(&inputs[operand.clone()]) {
                    *out = value.and_then(|value| function.apply(value, parameters));
                }
            }
            Self::Copy(slot) => out[0] = inputs[*slot],
            Self::Single(vector) => {
                let mut present = inputs[vector.clone()].iter().flatten();
                let single = present.next().filter(|_| present.next().is_none());
                out[0] = Some(single.copied().unwrap_or(f64::NAN));
            }
            Self::Absent(vector) => out[0] = inputs[vector.clone()].iter().all(Option::is_none).then_some(1.0),
            Self::Aggregate { aggregation, groups, parameter } => {
                let parameter = parameter.map_or(f64::NAN, scalar);
                for (out, group) in out.iter_mut().zip(groups) {
                    *out = aggregation.apply(group, inputs, parameter, values);
                }
            }
            Self::ScalarLeft { operator, left, right } => {
                let left = scalar(*left);
                for (out, right) in out.iter_mut().zip(&inputs[right.clone()]) {
                    *out = right.and_then(|right| operator.apply(left, right, right));
                }
            }
            Self::ScalarRight { operator, left, right } => {
                let right = scalar(*right);
                for (out, left) in out.iter_mut().zip(&inputs[left.clone()]) {
                    *out = left.and_then(|left| operator.apply(left, right, left));
                }
            }
            Self::Match(matches) => return matches.evaluate(labels, inputs, out),
            Self::Set(set) => set.evaluate(inputs, out),
        }
        Ok(())
    }
}

impl Moment {
    fn newest<K>(self, from: &impl Samples<K>, key: K, offset_ms: i64) -> Option<Sample> {
        let until_ms = self.at_ms.saturating_sub(offset_ms);
        from.newest(key, until_ms.saturating_sub(self.lookback_ms), until_ms).filter(|sample| !is_stale(sample.value))
    }

    fn window<'s, K>(self, from: &impl Samples<K>, key: K, reach: Reach, samples: &'s mut Vec<Sample>) -> Window<'s> {
        let end_ms = self.at_ms.saturating_sub(reach.offset_ms);
        let start_ms = end_ms.saturating_sub(reach.range_ms);
        samples.clear();
        from.range(key, start_ms, end_ms, samples);
        Window { samples, start_ms, end_ms, at_ms: self.at_ms }
    }
}

/// In milliseconds; what is longer than any clock goes is as long as one goes.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
