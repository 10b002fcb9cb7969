//! How well the kernel's clock is kept in step, from adjtimex(2), which only reads here. It is one clock for all
//! containers, so that there is no root to read it below. Source: adjtimex(2), kernel/time/ntp.c.

use std::io::ErrorKind;

use hostwatch_adjtimex::{Answer, STA_NANO, timex};
use hostwatch_wire::MetricType::{self, Counter, Gauge};

use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "timex",
    collector: "timex",
    about: "how well the clock is kept in step with others, from adjtimex(2)",
    on_by_default: true,
    build: |_, _| Ok(Box::new(Timex)),
};

const MICROSECONDS: f64 = 1e6;
const NANOSECONDS: f64 = 1e9;
/// Frequencies come in millionths, with 16 bits behind the point.
const SCALED_PPM: f64 = 1e6 * 65_536.0;

/// Kind, family, help, and the value, for which the second argument is how many of the units that STA_NANO chooses make
/// a second.
type Family = (MetricType, &'static str, &'static str, fn(&timex, f64) -> f64);

const FAMILIES: [Family; 16] = [
    (Gauge, "node_timex_offset_seconds", "How far the clock is off what it is kept in step with.", |timex, units| {
        timex.offset as f64 / units
    }),
    (Gauge, "node_timex_frequency_adjustment_ratio", "How much faster the clock runs than by itself.", |timex, _| {
        1.0 + timex.freq as f64 / SCALED_PPM
    }),
    (Gauge, "node_timex_maxerror_seconds", "The most that the clock may be off.", |timex, _| {
        timex.maxerror as f64 / MICROSECONDS
    }),
    (Gauge, "node_timex_estimated_error_seconds", "How much the clock is thought to be off.", |timex, _| {
        timex.esterror as f64 / MICROSECONDS
    }),
    (Gauge, "node_timex_status", "The flags of the clock, as a number.", |timex, _| f64::from(timex.status)),
    (Gauge, "node_timex_loop_time_constant", "How slowly the clock follows.", |timex, _| timex.constant as f64),
    (Gauge, "node_timex_tick_seconds", "What the clock is moved by at each tick.", |timex, _| {
        timex.tick as f64 / MICROSECONDS
    }),
    (Gauge, "node_timex_pps_frequency_hertz", "The frequency by the pulse per second.", |timex, _| {
        timex.ppsfreq as f64 / SCALED_PPM
    }),
    (Gauge, "node_timex_pps_jitter_seconds", "The jitter of the pulse per second.", |timex, units| {
        timex.jitter as f64 / units
    }),
    (Gauge, "node_timex_pps_shift_seconds", "The interval of the pulse per second.", |timex, _| f64::from(timex.shift)),
    (Gauge, "node_timex_pps_stability_hertz", "How steady the pulse per second is.", |timex, _| {
        timex.stabil as f64 / SCALED_PPM
    }),
    (Counter, "node_timex_pps_jitter_total", "Pulses per second with too much jitter.", |timex, _| timex.jitcnt as f64),
    (Counter, "node_timex_pps_calibration_total", "Calibrations by the pulse per second.", |timex, _| {
        timex.calcnt as f64
    }),
    (Counter, "node_timex_pps_error_total", "Calibrations by the pulse per second that failed.", |timex, _| {
        timex.errcnt as f64
    }),
    (Counter, "node_timex_pps_stability_exceeded_total", "Times that the pulse was not steady.", |timex, _| {
        timex.stbcnt as f64
    }),
    (Gauge, "node_timex_tai_offset_seconds", "How far atomic time is ahead of UTC.", |timex, _| f64::from(timex.tai)),
];

struct Timex;

impl Plugin for Timex {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        match hostwatch_adjtimex::read() {
            Ok(answer) => report(&answer, samples),
            // A sandbox forbids the call together with those that set the clock.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => return Err(CollectError::Clock(error)),
        }
        Ok(())
    }
}

fn report(Answer { is_synchronized, timex }: &Answer, samples: &mut Samples) {
    let help = "Whether something keeps the clock in step (1) or not (0).";
    samples.gauge("node_timex_sync_status", help, f64::from(u8::from(*is_synchronized)));
    let units = if timex.status & STA_NANO == 0 { MICROSECONDS } else { NANOSECONDS };
    for (kind, name, help, value) in FAMILIES {
        samples.family(name, kind, help);
        samples.push(&[], value(timex, units));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reported of an answer, by name without the common prefix.
    fn reported(answer: &Answer) -> Vec<(String, f64)> {
        let mut samples = Samples::new();
        samples.begin();
        report(answer, &mut samples);
        samples.finish().unwrap();
        let names = samples.layout().families.iter().map(|family| family.name["node_timex_".len()..].to_owned());
        names.zip(samples.values().iter().copied()).collect()
    }

    #[test]
    fn every_figure_has_its_unit() {
        let mut answer = hostwatch_adjtimex::read().unwrap();
        answer.is_synchronized = true;
        let timex = &mut answer.timex;
        timex.status = STA_NANO | 1;
        (timex.offset, timex.freq, timex.maxerror, timex.esterror) = (-1_500_000, 65_536_000, 2_500, 500);
        (timex.constant, timex.tick, timex.tai, timex.shift) = (7, 10_000, 37, 4);
        (timex.ppsfreq, timex.jitter, timex.stabil) = (-131_072, 250, 65_536);
        (timex.jitcnt, timex.calcnt, timex.errcnt, timex.stbcnt) = (1, 2, 3, 4);
        let nano = reported(&answer);
        let expected = [
            ("sync_status", 1.0),
            ("offset_seconds", -0.001_5),
            ("frequency_adjustment_ratio", 1.001),
            ("maxerror_seconds", 0.002_5),
            ("estimated_error_seconds", 0.000_5),
            ("status", f64::from(STA_NANO | 1)),
            ("loop_time_constant", 7.0),
            ("tick_seconds", 0.01),
            ("pps_frequency_hertz", -0.000_002),
            ("pps_jitter_seconds", 0.000_000_25),
            ("pps_shift_seconds", 4.0),
            ("pps_stability_hertz", 0.000_001),
            ("pps_jitter_total", 1.0),
            ("pps_calibration_total", 2.0),
            ("pps_error_total", 3.0),
            ("pps_stability_exceeded_total", 4.0),
            ("tai_offset_seconds", 37.0),
        ];
        assert_eq!(nano, expected.map(|(name, value)| (name.to_owned(), value)));

        answer.is_synchronized = false;
        answer.timex.status = 0x40;
        let micro = reported(&answer);
        let changed: Vec<_> = micro.into_iter().zip(nano).filter(|(new, old)| new != old).map(|(new, _)| new).collect();
        let expected =
            [("sync_status", 0.0), ("offset_seconds", -1.5), ("status", 64.0), ("pps_jitter_seconds", 0.000_25)];
        assert_eq!(changed, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
