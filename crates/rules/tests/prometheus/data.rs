//! Random series, as Prometheus reads them and as an evaluation does.

use std::fmt::Write;

use hostwatch_rules::{Expression, Labels, Sample, Samples};
use rand::RngExt;
use rand::rngs::StdRng;

/// When the first samples are, in milliseconds since the Unix epoch: at the begin of a block of Prometheus's.
pub(crate) const START_MS: i64 = 1_700_006_400_000;

/// How many samples a series without gaps has, about a quarter of a minute apart.
const SAMPLES: usize = 280;

/// Series with their samples, oldest first.
pub(crate) struct Data {
    series: Vec<(Labels, Vec<Sample>)>,
}

impl Data {
    /// Gauges and counters of several hosts and devices; with gaps, resets, NaN, and series that begin late or end early.
    pub(crate) fn random(random: &mut StdRng) -> Self {
        let mut series = Vec::new();
        for host in ["a", "b", "c"] {
            for device in ["sda", "sdb", "nvme0"] {
                for name in ["bytes_total", "errors_total", "free_bytes", "load"] {
                    if random.random_bool(0.9) {
                        let labels = [("__name__", name), ("device", device), ("host", host)];
                        series.push((Labels::new(labels), samples(random, name.ends_with("_total"))));
                    }
                }
            }
            series.push((Labels::new([("__name__", "limit"), ("host", host)]), samples(random, false)));
            let info = [("__name__", "owner_info"), ("host", host), ("team", if host == "c" { "web" } else { "core" })];
            let mut info_samples = samples(random, false);
            info_samples.iter_mut().for_each(|sample| sample.value = 1.0);
            series.push((Labels::new(info), info_samples));
        }
        Self { series }
    }

    pub(crate) fn labels(&self) -> impl Iterator<Item = Labels> {
        self.series.iter().map(|(labels, _)| labels.clone())
    }

    /// The text that `promtool tsdb create-blocks-from openmetrics` reads: family by family.
    pub(crate) fn openmetrics(&self) -> String {
        let mut series: Vec<_> = self.series.iter().collect();
        series.sort_by(|a, b| a.0.name().cmp(&b.0.name()));
        let mut text = String::new();
        let mut family = None;
        for (labels, samples) in series {
            let name = labels.name().unwrap();
            if family != Some(name) {
                family = Some(name);
                let name = name.trim_end_matches("_total").trim_end_matches("_info");
                let kind = if labels.name().unwrap().ends_with("_total") { "counter" } else { "unknown" };
                let name = if kind == "counter" { name } else { labels.name().unwrap() };
                writeln!(text, "# TYPE {name} {kind}").unwrap();
            }
            for sample in samples {
                writeln!(text, "{labels} {} {}", sample.value, sample.time_ms as f64 / 1000.0).unwrap();
            }
        }
        text + "# EOF\n"
    }

    /// Whether Prometheus 2 and 3 extrapolate some counter that the expression reads at a time differently.
    pub(crate) fn is_disputed(&self, expression: &Expression, text: &str, at_ms: i64) -> bool {
        if !text.contains("rate(") && !text.contains("increase(") {
            return false;
        }
        let ranges = expression.selectors().iter().filter_map(|selector| Some((selector, selector.range()?)));
        ranges.into_iter().any(|(selector, reach)| {
            // An offset is of no interest here: it is left out of the expressions with ranges.
            let start_ms = at_ms - reach.as_millis() as i64;
            self.series.iter().enumerate().filter(|(_, (labels, _))| selector.matches(labels)).any(|(key, _)| {
                let mut window = Vec::new();
                self.range(key, start_ms, at_ms, &mut window);
                depends_on_the_order_of_rules(&window, start_ms)
            })
        })
    }
}

fn depends_on_the_order_of_rules(window: &[Sample], start_ms: i64) -> bool {
    let [first, .., last] = window else { return false };
    let resets = window.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value);
    let increase = last.value - first.value + resets.sum::<f64>();
    let sampled = (last.time_ms - first.time_ms) as f64;
    let distance = sampled / (window.len() - 1) as f64;
    let to_zero = sampled * (first.value / increase);
    let is_far = (first.time_ms - start_ms) as f64 >= distance * 1.1;
    is_far && to_zero >= distance / 2.0 && to_zero < distance * 1.1
}

fn samples(random: &mut StdRng, is_counter: bool) -> Vec<Sample> {
    let first = if random.random_bool(0.2) { random.random_range(0..SAMPLES / 2) } else { 0 };
    let last = if random.random_bool(0.2) { random.random_range(SAMPLES / 2..SAMPLES) } else { SAMPLES };
    let mut samples = Vec::new();
    let mut value: f64 = f64::from(random.random_range(0..2000_u32));
    let mut gap_until = 0;
    for index in first..last {
        if random.random_bool(0.005) {
            gap_until = index + random.random_range(1..30);
        }
        // Sums of multiples of a quarter are exact in whatever order, so that comparisons of sums mean the same.
        if !is_counter {
            value = f64::from(random.random_range(-4000..4000_i32)) / 4.0;
        } else if random.random_bool(0.01) {
            value = f64::from(random.random_range(0..50_u32));
        } else {
            value += f64::from(random.random_range(0..400_u32)) / 4.0;
        }
        if index >= gap_until {
            // Never at a whole second, where the ends of ranges are; eighths are exact as a number of seconds.
            let time_ms =
                START_MS + index as i64 * 15_000 + random.random_range(0..8) * 1000 + random.random_range(1..8) * 125;
            let is_nan = !is_counter && random.random_bool(0.003);
            samples.push(Sample { time_ms, value: if is_nan { f64::NAN } else { value } });
        }
    }
    samples
}

impl Samples<usize> for Data {
    fn newest(&self, key: usize, after_ms: i64, until_ms: i64) -> Option<Sample> {
        let samples = &self.series[key].1;
        let end = samples.partition_point(|sample| sample.time_ms <= until_ms);
        samples[..end].last().copied().filter(|sample| sample.time_ms > after_ms)
    }

    fn range(&self, key: usize, after_ms: i64, until_ms: i64, out: &mut Vec<Sample>) {
        let between = |sample: &&Sample| sample.time_ms > after_ms && sample.time_ms <= until_ms;
        out.extend(self.series[key].1.iter().filter(between));
    }
}
