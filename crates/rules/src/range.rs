//! What the functions of range vectors make of the samples in a range; as Prometheus 3 does it, to the last correction.

use crate::function::RangeFunction;
use crate::sample::Sample;

/// A range and the samples in it.
pub(crate) struct Window<'a> {
    /// Oldest first.
    pub(crate) samples: &'a [Sample],
    /// Open on this side.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// When the expression is evaluated; later than the end with an offset.
    pub(crate) at_ms: i64,
}

impl Window<'_> {
    /// Nothing where there are too few samples. `sorted` is room to sort values in.
    pub(crate) fn apply(&self, function: RangeFunction, parameter: f64, sorted: &mut Vec<f64>) -> Option<f64> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let values = || self.samples.iter().map(|sample| sample.value);
        Some(match function {
            RangeFunction::Avg => mean(values()),
            RangeFunction::Changes => self.pairs(|old, new| old != new && !(old.is_nan() && new.is_nan())),
            RangeFunction::Count => self.samples.len() as f64,
            RangeFunction::Delta => return self.extrapolated(Slope::Gauge),
            RangeFunction::Deriv => return self.regression(first.time_ms).map(|(slope, _)| slope),
            RangeFunction::Idelta => return self.instant(Slope::Gauge),
            RangeFunction::Increase => return self.extrapolated(Slope::Counter),
            RangeFunction::Irate => return self.instant(Slope::Counter),
            RangeFunction::Last => last.value,
            RangeFunction::Max => values().fold(f64::NAN, larger),
            RangeFunction::Min => values().fold(f64::NAN, smaller),
            RangeFunction::PredictLinear => {
                return self.regression(self.at_ms).map(|(slope, intercept)| slope * parameter + intercept);
            }
            RangeFunction::Present => 1.0,
            RangeFunction::Quantile => {
                sorted.clear();
                sorted.extend(values());
                quantile(parameter, sorted)
            }
            RangeFunction::Rate => {
                let seconds = (self.end_ms - self.start_ms) as f64 / 1000.0;
                return self.extrapolated_factor(Slope::Counter, seconds);
            }
            RangeFunction::Resets => self.pairs(|old, new| new < old),
            RangeFunction::Stddev => variance(values()).sqrt(),
            RangeFunction::Stdvar => variance(values()),
            RangeFunction::Sum => sum(values()),
        })
    }

    fn pairs(&self, counts: impl Fn(f64, f64) -> bool) -> f64 {
        self.samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count() as f64
    }

    fn extrapolated(&self, slope: Slope) -> Option<f64> {
        self.extrapolated_factor(slope, 1.0)
    }

    /// How much the value went up in the range, per `seconds`: what the samples say, and beyond the first and the last of
    /// them up to the end of the range, or by half the distance of two samples where the range goes on for longer.
    fn extrapolated_factor(&self, slope: Slope, seconds: f64) -> Option<f64> {
        let [first, .., last] = self.samples else { return None };
        let mut result = last.value - first.value;
        if slope == Slope::Counter {
            // A counter that went down began at zero again.
            result += self
                .samples
                .windows(2)
                .filter(|pair| pair[1].value < pair[0].value)
                .fold(0.0, |sum, pair| sum + pair[0].value);
        }
        let mut to_start = (first.time_ms - self.start_ms) as f64 / 1000.0;
        let mut to_end = (self.end_ms - last.time_ms) as f64 / 1000.0;
        let sampled = (last.time_ms - first.time_ms) as f64 / 1000.0;
        let distance = sampled / (self.samples.len() - 1) as f64;
        let threshold = distance * 1.1;
        if to_start >= threshold {
            to_start = distance / 2.0;
        }
        if slope == Slope::Counter && result > 0.0 && first.value >= 0.0 {
            // Nor was it ever below zero.
            let to_zero = sampled * (first.value / result);
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if to_end >= threshold {
            to_end = distance / 2.0;
        }
        Some(result * ((sampled + to_start + to_end) / sampled / seconds))
    }

    /// From the last two samples; a counter's is per second.
    fn instant(&self, slope: Slope) -> Option<f64> {
        let [.., old, new] = self.samples else { return None };
        if new.time_ms == old.time_ms {
            return None;
        }
        Some(match slope {
            Slope::Gauge => new.value - old.value,
            Slope::Counter => {
                let increase = if new.value < old.value { new.value } else { new.value - old.value };
                increase / ((new.time_ms - old.time_ms) as f64 / 1000.0)
            }
        })
    }

    /// Slope per second and value at a time, of the line with the least squares.
    fn regression(&self, intercept_ms: i64) -> Option<(f64, f64)> {
        let [first, _, ..] = self.samples else { return None };
        if self.samples.iter().all(|sample| sample.value == first.value) {
            return Some(if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) });
        }
        let n = self.samples.len() as f64;
        let mut sums = [Sum::default(); 4];
        for sample in self.samples {
            let x = (sample.time_ms - intercept_ms) as f64 / 1000.0;
            let y = sample.value;
            for (sum, term) in sums.iter_mut().zip([x, y, x * y, x * x]) {
                sum.add(term);
            }
        }
        let [x, y, xy, xx] = sums.map(|sum| sum.sum + sum.correction);
        let slope = (xy - x * y / n) / (xx - x * x / n);
        Some((slope, y / n - slope * x / n))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slope {
    Gauge,
    Counter,
}

/// A sum with what its roundings lost: Kahan's method with Neumaier's improvement.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    sum: f64,
    correction: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        if sum.is_infinite() {
            self.correction = 0.0;
        } else if self.sum.abs() >= term.abs() {
            self.correction += (self.sum - sum) + term;
        } else {
            self.correction += (term - sum) + self.sum;
        }
        self.sum = sum;
    }
}

pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.for_each(|value| sum.add(value));
    if sum.sum.is_infinite() { sum.sum } else { sum.sum + sum.correction }
}

/// The sum by the count; where the sum would be infinite, a mean that is corrected with every value.
pub(crate) fn mean(mut values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum { sum: values.next().unwrap_or(f64::NAN), correction: 0.0 };
    let mut count = 1.0;
    let mut is_incremental = false;
    for value in values {
        count += 1.0;
        if !is_incremental {
            let mut next = sum;
            next.add(value);
            if !next.sum.is_infinite() {
                sum = next;
                continue;
            }
            is_incremental = true;
            sum = Sum { sum: sum.sum / (count - 1.0), correction: sum.correction / (count - 1.0) };
        }
        let share = (count - 1.0) / count;
        sum = Sum { sum: share * sum.sum, correction: share * sum.correction };
        sum.add(value / count);
    }
    if is_incremental { sum.sum + sum.correction } else { sum.sum / count + sum.correction / count }
}

/// Welford's method, with corrected sums.
fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut squares, mut count) = (Sum::default(), Sum::default(), 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.correction);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.correction)));
    }
    (squares.sum + squares.correction) / count
}

/// Of two values the larger one; NaN is smaller than anything.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

/// Of two values the smaller one; NaN is larger than anything.
pub(crate) fn smaller(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The φ-quantile (0 ≤ φ ≤ 1) of values, with linear interpolation between two ranks; NaN is smaller than anything.
pub(crate) fn quantile(phi: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(b)));
    let rank = phi * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
