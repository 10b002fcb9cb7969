//! Operators between two operands, and which series of one vector belongs to which of the other.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::EvaluationError;
use crate::labels::Labels;

/// An operator that makes a number of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Arithmetic(Arithmetic),
    /// Keeps what compares so.
    Filter(Comparison),
    /// With `bool`: 1 for what compares so, 0 for the rest.
    Truth(Comparison),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Divide,
    Modulo,
    Multiply,
    Power,
    Subtract,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    NotEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOperator {
    And,
    Or,
    Unless,
}

/// On which labels the series of two vectors are matched.
#[derive(Clone, Debug)]
pub(crate) enum Matching {
    On { labels: Vec<String>, cardinality: Cardinality },
    Ignoring { labels: Vec<String>, cardinality: Cardinality },
}

/// Which side may have several series for one of the other, and which labels of that one they get.
#[derive(Clone, Debug)]
pub(crate) enum Cardinality {
    OneToOne,
    ManyToOne(Vec<String>),
    OneToMany(Vec<String>),
}

impl Default for Matching {
    fn default() -> Self {
        Self::Ignoring { labels: Vec::new(), cardinality: Cardinality::OneToOne }
    }
}

impl Arithmetic {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "+" => Self::Add,
            "/" => Self::Divide,
            "%" => Self::Modulo,
            "*" => Self::Multiply,
            "^" => Self::Power,
            "-" => Self::Subtract,
            _ => return None,
        })
    }
}

impl Comparison {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "==" => Self::Equal,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "!=" => Self::NotEqual,
            _ => return None,
        })
    }

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::NotEqual => left != right,
        }
    }
}

impl SetOperator {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "and" => Self::And,
            "or" => Self::Or,
            "unless" => Self::Unless,
            _ => return None,
        })
    }
}

impl Operator {
    /// What is made of two numbers; a comparison keeps `kept`.
    pub(crate) fn apply(self, left: f64, right: f64, kept: f64) -> Option<f64> {
        match self {
            Self::Arithmetic(arithmetic) => Some(match arithmetic {
                Arithmetic::Add => left + right,
                Arithmetic::Divide => left / right,
                Arithmetic::Modulo => left % right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Power => left.powf(right),
                Arithmetic::Subtract => left - right,
            }),
            Self::Filter(comparison) => comparison.holds(left, right).then_some(kept),
            Self::Truth(comparison) => Some(f64::from(u8::from(comparison.holds(left, right)))),
        }
    }

    /// What is computed is no longer what the metric's name says.
    pub(crate) fn drops_name(self) -> bool {
        !matches!(self, Self::Filter(_))
    }
}

impl Matching {
    /// What the series of both sides must have in common.
    pub(crate) fn group(&self, series: &Labels) -> Labels {
        match self {
            Self::On { labels, .. } => series.only(labels),
            Self::Ignoring { labels, .. } => series.without(labels).without_name(),
        }
    }

    pub(crate) fn cardinality(&self) -> &Cardinality {
        match self {
            Self::On { cardinality, .. } | Self::Ignoring { cardinality, .. } => cardinality,
        }
    }

    /// The labels of a result, before those of the other side come in.
    fn result(&self, series: &Labels, operator: Operator) -> Labels {
        let series = if operator.drops_name() { series.without_name() } else { series.clone() };
        match self {
            Self::On { labels, cardinality: Cardinality::OneToOne } => series.only(labels),
            Self::Ignoring { labels, cardinality: Cardinality::OneToOne } => series.without(labels),
            _ => series,
        }
    }
}

/// The series of two vectors that have in common what is matched on, as places of the whole row of slots.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) labels: Labels,
    pub(crate) left: Vec<usize>,
    pub(crate) right: Vec<usize>,
}

pub(crate) fn groups(matching: &Matching, labels: &[Labels], left: Range<usize>, right: Range<usize>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<Labels, usize> = HashMap::new();
    for slot in left.clone().chain(right) {
        let group = matching.group(&labels[slot]);
        let index = *known.entry(group).or_insert_with_key(|labels| {
            groups.push(Group { labels: labels.clone(), left: Vec::new(), right: Vec::new() });
            groups.len() - 1
        });
        let side = if left.contains(&slot) { &mut groups[index].left } else { &mut groups[index].right };
        side.push(slot);
    }
    groups
}

/// One operator between two vectors, with all that can match.
#[derive(Debug)]
pub(crate) struct Match {
    operator: Operator,
    is_one_to_one: bool,
    /// Whether the side that may have only one series is the left one.
    one_is_left: bool,
    left: Range<usize>,
    right: Range<usize>,
    groups: Vec<MatchGroup>,
}

#[derive(Debug)]
struct MatchGroup {
    labels: Labels,
    /// The series of the side that may have one, each with the number of its variant: those whose labels make no
    /// difference in the result share one.
    ones: Vec<(usize, usize)>,
    manys: Vec<usize>,
    variants: usize,
    /// The first result: for each of `manys` one for each variant.
    out: usize,
}

impl Match {
    /// Also the labels of the results. Nothing when there are more results than `limit`.
    pub(crate) fn bind(
        operator: Operator,
        matching: &Matching,
        labels: &[Labels],
        left: Range<usize>,
        right: Range<usize>,
        limit: usize,
    ) -> Option<(Self, Vec<Labels>)> {
        let (one_is_left, include): (bool, &[String]) = match matching.cardinality() {
            Cardinality::OneToOne => (false, &[]),
            Cardinality::ManyToOne(include) => (false, include),
            Cardinality::OneToMany(include) => (true, include),
        };
        let mut results = Vec::new();
        let mut bound = Vec::new();
        for group in groups(matching, labels, left.clone(), right.clone()) {
            let (ones, manys) = if one_is_left { (group.left, group.right) } else { (group.right, group.left) };
            let mut variants: Vec<Labels> = Vec::new();
            let ones: Vec<(usize, usize)> = ones
                .into_iter()
                .map(|slot| {
                    let included = labels[slot].only(include);
                    let variant = variants.iter().position(|known| *known == included).unwrap_or_else(|| {
                        variants.push(included);
                        variants.len() - 1
                    });
                    (slot, variant)
                })
                .collect();
            if manys.len().saturating_mul(variants.len()) > limit.saturating_sub(results.len()) {
                return None;
            }
            let out = results.len();
            for many in &manys {
                let result = matching.result(&labels[*many], operator);
                results.extend(variants.iter().map(|variant| with_included(&result, include, variant)));
            }
            bound.push(MatchGroup { labels: group.labels, ones, manys, variants: variants.len(), out });
        }
        let is_one_to_one = matches!(matching.cardinality(), Cardinality::OneToOne);
        Some((Self { operator, is_one_to_one, one_is_left, left, right, groups: bound }, results))
    }

    pub(crate) fn evaluate(
        &self,
        labels: &[Labels],
        inputs: &[Option<f64>],
        out: &mut [Option<f64>],
    ) -> Result<(), EvaluationError> {
        let is_empty = |side: &Range<usize>| inputs[side.clone()].iter().all(Option::is_none);
        if is_empty(&self.left) || is_empty(&self.right) {
            return Ok(());
        }
        for group in &self.groups {
            let mut ones = group.ones.iter().filter_map(|(slot, variant)| Some((*slot, *variant, inputs[*slot]?)));
            let Some((one, variant, one_value)) = ones.next() else { continue };
            if let Some((other, ..)) = ones.next() {
                return Err(EvaluationError::ManyToMany {
                    group: group.labels.clone(),
                    side: if self.one_is_left { "left" } else { "right" },
                    first: labels[one].clone(),
                    second: labels[other].clone(),
                });
            }
            let mut matched = None;
            for (index, many) in group.manys.iter().enumerate() {
                let Some(many_value) = inputs[*many] else { continue };
                let (left, right) = if self.one_is_left { (one_value, many_value) } else { (many_value, one_value) };
                let Some(value) = self.operator.apply(left, right, left) else { continue };
                if let Some(first) = matched.filter(|_| self.is_one_to_one) {
                    let (first, second): (&Labels, &Labels) = (&labels[first], &labels[*many]);
                    let (first, second) = (first.clone(), second.clone());
                    return Err(EvaluationError::ManyToOne { group: group.labels.clone(), first, second });
                }
                matched = Some(*many);
                out[group.out + index * group.variants + variant] = Some(value);
            }
        }
        Ok(())
    }

    /// The slots that one result is made of: one series of the many, and those that could be the one.
    pub(crate) fn sources(&self, out: usize) -> (usize, Vec<usize>) {
        let group = &self.groups[self.groups.partition_point(|group| group.out <= out) - 1];
        let (index, variant) = ((out - group.out) / group.variants, (out - group.out) % group.variants);
        let ones = group.ones.iter().filter(|(_, of)| *of == variant).map(|(slot, _)| *slot);
        (group.manys[index], ones.collect())
    }
}

fn with_included(labels: &Labels, include: &[String], from: &Labels) -> Labels {
    if include.is_empty() {
        return labels.clone();
    }
    from.iter().fold(labels.without(include), |labels, (name, value)| labels.with(name, value))
}

/// `and`, `or`, `unless`: the results are the series of the left side, for `or` those of the right side behind them.
#[derive(Debug)]
pub(crate) struct Set {
    operator: SetOperator,
    left: Range<usize>,
    right: Range<usize>,
    groups: Vec<Group>,
}

impl Set {
    pub(crate) fn bind(
        operator: SetOperator,
        matching: &Matching,
        labels: &[Labels],
        left: Range<usize>,
        right: Range<usize>,
    ) -> (Self, Vec<Labels>) {
        let mut results = labels[left.clone()].to_vec();
        if operator == SetOperator::Or {
            results.extend_from_slice(&labels[right.clone()]);
        }
        let groups = groups(matching, labels, left.clone(), right.clone());
        (Self { operator, left, right, groups }, results)
    }

    /// The slot that one result is taken from.
    pub(crate) fn source(&self, out: usize) -> usize {
        if out < self.left.len() { self.left.start + out } else { self.right.start + out - self.left.len() }
    }

    pub(crate) fn evaluate(&self, inputs: &[Option<f64>], out: &mut [Option<f64>]) {
        for group in &self.groups {
            let keeps_left = match self.operator {
                SetOperator::And => group.right.iter().any(|slot| inputs[*slot].is_some()),
                SetOperator::Or => true,
                SetOperator::Unless => group.right.iter().all(|slot| inputs[*slot].is_none()),
            };
            if keeps_left {
                for slot in &group.left {
                    out[slot - self.left.start] = inputs[*slot];
                }
            }
            if self.operator == SetOperator::Or && group.left.iter().all(|slot| inputs[*slot].is_none()) {
                for slot in &group.right {
                    out[self.left.len() + slot - self.right.start] = inputs[*slot];
                }
            }
        }
    }
}
