//! Random expressions over random data evaluate as a real Prometheus evaluates them.
//!
//! Debian's Prometheus 2 differs from Prometheus 3 in three ways. Ranges and the lookback are closed on the left: no sample
//! lies on an end, so that it makes no difference. And `rate` and `increase` look for the zero of a counter before they
//! give up on extrapolating to a far begin, not after: pairs in which the two make a difference are left out and counted.
//! The variance of a single NaN is zero in Prometheus 2: no such aggregation is asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod data;
mod expressions;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use hostwatch_rules::{Expression, LOOKBACK, Labels, Scratch};
use hostwatch_testkit::{Prometheus, RangeSeries};
use rand::SeedableRng;
use rand::rngs::StdRng;

use data::Data;

/// How many expressions are compared, each at so many times: 20,000 pairs and some for those that are left out.
const EXPRESSIONS: usize = 550;
const TIMES: usize = 40;
const STEP_S: i64 = 95;

/// How far a value may be from Prometheus's, relatively.
const TOLERANCE: f64 = 1e-9;

#[derive(Debug, Default)]
struct Counts {
    compared: usize,
    with_results: usize,
    empty: usize,
    errors: usize,
    left_out: usize,
}

#[test]
fn random_expressions_agree_with_prometheus() -> Result<()> {
    let seed = match std::env::var("HOSTWATCH_SEED") {
        Ok(seed) => seed.parse().context("HOSTWATCH_SEED")?,
        Err(_) => rand::random(),
    };
    eprintln!("HOSTWATCH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let data = Data::random(&mut random);
    let prometheus = Prometheus::start_with_samples(&data.openmetrics())?;
    let mut counts = Counts::default();
    for _ in 0..EXPRESSIONS {
        let text = expressions::random(&mut random);
        compare(&prometheus, &data, &text, &mut counts).with_context(|| format!("HOSTWATCH_SEED={seed}: {text}"))?;
    }
    eprintln!("{counts:?}");
    ensure!(counts.compared >= 20_000, "too few pairs: {counts:?}");
    ensure!(counts.with_results * 2 > counts.compared, "most pairs have no result: {counts:?}");
    Ok(())
}

fn compare(prometheus: &Prometheus, data: &Data, text: &str, counts: &mut Counts) -> Result<()> {
    let expression = Expression::parse(text)?;
    let plan = expression.bind(data.labels().enumerate());
    let mut scratch = Scratch::default();
    let start_s = data::START_MS / 1000 + 600;
    let all = prometheus.query_range(text, start_s, STEP_S, TIMES)?;
    for at_s in (start_s..).step_by(STEP_S as usize).take(TIMES) {
        let at_ms = at_s * 1000;
        if data.is_disputed(&expression, text, at_ms) {
            counts.left_out += 1;
            continue;
        }
        // Of a range query whose one time is wrong nothing is left: then each is asked for alone.
        let theirs = match &all {
            Ok(all) => Ok(at(all, at_ms)),
            Err(_) => prometheus.query_range(text, at_s, STEP_S, 1)?.map(|one| at(&one, at_ms)),
        };
        let ours = plan.evaluate(at_ms, LOOKBACK, data, &mut scratch);
        let ours = ours.map(|outcomes| outcomes.values().map(|(labels, value)| (labels.clone(), value)).collect());
        counts.compared += 1;
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                check(&ours, &theirs).with_context(|| format!("at {at_ms}: ours {ours:?}, Prometheus's {theirs:?}"))?;
                *(if ours.is_empty() { &mut counts.empty } else { &mut counts.with_results }) += 1;
            }
            (Err(_), Err(_)) => counts.errors += 1,
            (Ok(_), Err(theirs)) => bail!("at {at_ms}: Prometheus's fails, ours does not: {theirs}"),
            (Err(ours), Ok(_)) => bail!("at {at_ms}: ours fails, Prometheus's does not: {ours}"),
        }
    }
    Ok(())
}

fn check(ours: &BTreeMap<Labels, f64>, theirs: &BTreeMap<Labels, f64>) -> Result<()> {
    ensure!(ours.keys().eq(theirs.keys()), "other series");
    for (labels, value) in ours {
        let their = theirs[labels];
        let is_same = *value == their || (value.is_nan() && their.is_nan());
        let is_close = (value - their).abs() <= TOLERANCE * value.abs().max(their.abs());
        ensure!(is_same || is_close, "{labels}: {value} is not {their}");
    }
    Ok(())
}

fn at(answer: &[RangeSeries], at_ms: i64) -> BTreeMap<Labels, f64> {
    let value = |points: &[(i64, f64)]| points.iter().find(|(time, _)| *time == at_ms).map(|(_, value)| *value);
    let labels = |labels: &BTreeMap<String, String>| {
        Labels::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    };
    answer.iter().filter_map(|(series, points)| Some((labels(series), value(points)?))).collect()
}
