//! Aggregations: one value for each group of series.

use std::collections::HashMap;
use std::ops::Range;

use crate::compile::Grouping;
use crate::function::Aggregation;
use crate::labels::Labels;
use crate::range;

impl Grouping {
    fn group(&self, series: &Labels) -> Labels {
        match self {
            Self::By(labels) => series.only(labels),
            Self::Without(labels) => series.without(labels).without_name(),
        }
    }

    /// The labels of the groups, and the slots of each.
    pub(crate) fn groups(&self, labels: &[Labels], series: Range<usize>) -> (Vec<Labels>, Vec<Vec<usize>>) {
        let mut names = Vec::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        for slot in series {
            let group = self.group(&labels[slot]);
            let index = *known.entry(group).or_insert_with_key(|labels| {
                names.push(labels.clone());
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[index].push(slot);
        }
        (names, groups)
    }
}

impl Aggregation {
    /// The value of a group; nothing when no series of it is there. `values` is room to sort in.
    pub(crate) fn apply(
        self,
        group: &[usize],
        inputs: &[Option<f64>],
        parameter: f64,
        values: &mut Vec<f64>,
    ) -> Option<f64> {
        values.clear();
        values.extend(group.iter().filter_map(|slot| inputs[*slot]));
        if values.is_empty() {
            return None;
        }
        let all = values.iter().copied();
        Some(match self {
            Self::Avg => range::mean(all),
            Self::Count => values.len() as f64,
            Self::Group => 1.0,
            Self::Max => all.fold(f64::NAN, range::larger),
            Self::Min => all.fold(f64::NAN, range::smaller),
            Self::Quantile => range::quantile(parameter, values),
            Self::Stddev => variance(all).sqrt(),
            Self::Stdvar => variance(all),
            Self::Sum => range::sum(all),
        })
    }
}

/// Welford's method, without the corrections that the functions of ranges have: as Prometheus does it.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut squares, mut count) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        squares += delta * (value - mean);
    }
    squares / count
}
