//! Binds an expression to a set of series: which series each selector reads, which of them are matched or grouped, and
//! with which labels the results come out.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::binary::{Match, Operator, Set};
use crate::compile::Node;
use crate::expression::{Selector, ValueType};
use crate::function::RangeFunction;
use crate::labels::Labels;
use crate::plan::{MAX_SLOTS, Operation, Plan, PlanKey, Reach, Step, millis};

pub(crate) fn bind<K: Copy>(root: &Node, selectors: &[Selector], series: Vec<(K, Labels)>) -> Plan<K> {
    let selected = selectors
        .iter()
        .map(|selector| (0..series.len()).filter(|index| selector.matches(&series[*index].1)).collect())
        .collect();
    let mut binder = Binder { selectors, series: &series, selected, steps: Vec::new(), labels: Vec::new() };
    let result = binder.node(root);
    let keys = binder.keys();
    let is_too_large = result.is_err();
    let result = result.unwrap_or(0..0);
    Plan { steps: binder.steps, labels: binder.labels, result, keys, is_too_large }
}

/// More than [`MAX_SLOTS`] would be needed.
struct TooLarge;

struct Binder<'a, K> {
    selectors: &'a [Selector],
    series: &'a [(K, Labels)],
    /// Of each selector, the series that it selects.
    selected: Vec<Vec<usize>>,
    steps: Vec<Step<K>>,
    /// Of all slots.
    labels: Vec<Labels>,
}

impl<K: Copy> Binder<'_, K> {
    /// Where the results of a node are.
    fn node(&mut self, node: &Node) -> Result<Range<usize>, TooLarge> {
        let (operation, labels) = match node {
            Node::Number(number) => (Operation::Number(*number), one()),
            Node::Time => (Operation::Time, one()),
            Node::Select(selector) => {
                let offset_ms = millis(self.selectors[*selector].offset);
                (Operation::Newest { keys: self.keys_of(*selector), offset_ms }, self.labels_of(*selector))
            }
            Node::Timestamp(selector) => {
                let offset_ms = millis(self.selectors[*selector].offset);
                let labels = without_names(self.labels_of(*selector));
                (Operation::Timestamp { keys: self.keys_of(*selector), offset_ms }, labels)
            }
            Node::Range { function, selector, parameter } => {
                let parameter = self.optional(parameter.as_deref())?;
                let labels = self.labels_of(*selector);
                // The last sample is still one of the metric.
                let labels = if *function == RangeFunction::Last { labels } else { without_names(labels) };
                let (keys, reach) = (self.keys_of(*selector), self.reach(*selector));
                (Operation::Range { function: *function, keys, reach, parameter }, labels)
            }
            Node::AbsentOverTime { selector, labels } => {
                let (keys, reach) = (self.keys_of(*selector), self.reach(*selector));
                (Operation::AbsentOverTime { keys, reach }, vec![labels.clone()])
            }
            Node::Map { function, operand, parameters } => {
                let operand = self.node(operand)?;
                let parameters = [self.optional(parameters.first())?, self.optional(parameters.get(1))?];
                let labels = without_names(self.labels[operand.clone()].to_vec());
                (Operation::Map { function: *function, operand, parameters }, labels)
            }
            Node::Scalar(vector) => (Operation::Single(self.node(vector)?), one()),
            Node::Vector(scalar) => (Operation::Copy(self.node(scalar)?.start), one()),
            Node::Absent { vector, labels } => (Operation::Absent(self.node(vector)?), vec![labels.clone()]),
            Node::Aggregate { aggregation, grouping, vector, parameter } => {
                let parameter = self.optional(parameter.as_deref())?;
                let vector = self.node(vector)?;
                let (labels, groups) = grouping.groups(&self.labels, vector);
                (Operation::Aggregate { aggregation: *aggregation, groups, parameter }, labels)
            }
            Node::Elementwise { operator, left, right, types } => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                self.elementwise(*operator, left, right, *types)
            }
            Node::Match { operator, matching, left, right } => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                let limit = MAX_SLOTS - self.labels.len();
                let bound = Match::bind(*operator, matching, &self.labels, left, right, limit);
                let (matches, labels) = bound.ok_or(TooLarge)?;
                (Operation::Match(matches), labels)
            }
            Node::Set { operator, matching, left, right } => {
                let (left, right) = (self.node(left)?, self.node(right)?);
                let (set, labels) = Set::bind(*operator, matching, &self.labels, left, right);
                (Operation::Set(set), labels)
            }
        };
        self.step(operation, labels)
    }

    fn elementwise(
        &self,
        operator: Operator,
        left: Range<usize>,
        right: Range<usize>,
        types: [ValueType; 2],
    ) -> (Operation<K>, Vec<Labels>) {
        let results = |vector: &Range<usize>| {
            let labels = self.labels[vector.clone()].to_vec();
            if operator.drops_name() { without_names(labels) } else { labels }
        };
        if types[0] == ValueType::Scalar {
            let labels = results(&right);
            (Operation::ScalarLeft { operator, left: left.start, right }, labels)
        } else {
            let labels = results(&left);
            (Operation::ScalarRight { operator, left, right: right.start }, labels)
        }
    }

    fn step(&mut self, operation: Operation<K>, labels: Vec<Labels>) -> Result<Range<usize>, TooLarge> {
        if labels.len() > MAX_SLOTS - self.labels.len() {
            return Err(TooLarge);
        }
        let out = self.labels.len()..self.labels.len() + labels.len();
        let same = same_labels(&labels, out.start);
        self.labels.extend(labels);
        self.steps.push(Step { operation, out: out.clone(), same });
        Ok(out)
    }

    /// The slot of a scalar.
    fn optional(&mut self, scalar: Option<&Node>) -> Result<Option<usize>, TooLarge> {
        scalar.map(|scalar| Ok(self.node(scalar)?.start)).transpose()
    }

    fn keys_of(&self, selector: usize) -> Vec<K> {
        self.selected[selector].iter().map(|index| self.series[*index].0).collect()
    }

    fn labels_of(&self, selector: usize) -> Vec<Labels> {
        self.selected[selector].iter().map(|index| self.series[*index].1.clone()).collect()
    }

    fn reach(&self, selector: usize) -> Reach {
        let selector = &self.selectors[selector];
        Reach { range_ms: millis(selector.window.unwrap_or(Duration::ZERO)), offset_ms: millis(selector.offset) }
    }

    /// In the order of the series.
    fn keys(&self) -> Vec<PlanKey<K>> {
        let mut ranges: Vec<Option<Option<Duration>>> = vec![None; self.series.len()];
        for (selector, selected) in self.selectors.iter().zip(&self.selected) {
            for index in selected {
                let known = ranges[*index].unwrap_or(None);
                ranges[*index] = Some(known.max(selector.range()));
            }
        }
        let read = ranges.into_iter().zip(self.series);
        read.filter_map(|(range, (key, _))| Some(PlanKey { key: *key, range: range? })).collect()
    }
}

/// A scalar, and what is made of one, has no labels.
fn one() -> Vec<Labels> {
    vec![Labels::default()]
}

fn without_names(labels: Vec<Labels>) -> Vec<Labels> {
    labels.iter().map(Labels::without_name).collect()
}

fn same_labels(labels: &[Labels], first: usize) -> Vec<Vec<usize>> {
    let mut slots: HashMap<&Labels, Vec<usize>> = HashMap::with_capacity(labels.len());
    for (index, labels) in labels.iter().enumerate() {
        slots.entry(labels).or_default().push(first + index);
    }
    let mut same: Vec<Vec<usize>> = slots.into_values().filter(|slots| slots.len() > 1).collect();
    same.sort_unstable();
    same
}
