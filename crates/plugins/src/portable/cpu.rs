//! How long each processor was busy and idle, from the shares that sysinfo tells.
//!
//! sysinfo knows no times, but which share of the time since it was last asked a processor was busy. That share of the time
//! that has passed is added up, from zero when the plugin begins. It does not tell what a processor was busy with, so there
//! are two modes: `idle`, and `busy` for all else. Together they are the time that has passed, as all modes on Linux are.
//! There `idle` is what Linux calls idle and iowait.

use std::time::Instant;

use hostwatch_wire::MetricType;
use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, System};

use super::begun;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "cpu",
    collector: "cpu",
    about: "time that each processor was busy and idle since the plugin began, through sysinfo",
    on_by_default: true,
    build: |_, _| Ok(Box::new(Cpu { system: None, measured: None, processors: Vec::new() })),
};

struct Cpu {
    system: Option<System>,
    /// When the shares were asked for last.
    measured: Option<Instant>,
    /// In the order of sysinfo, which keeps those that it found first.
    processors: Vec<Seconds>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Seconds {
    busy: f64,
    idle: f64,
}

impl Plugin for Cpu {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        self.measure()?;
        let mut number = itoa::Buffer::new();
        let help = "Seconds that a processor spent in a mode.";
        samples.family("node_cpu_seconds_total", MetricType::Counter, help);
        for (index, seconds) in self.processors.iter().enumerate() {
            let cpu = number.format(index);
            samples.push(&[("cpu", cpu), ("mode", "busy")], seconds.busy);
            samples.push(&[("cpu", cpu), ("mode", "idle")], seconds.idle);
        }
        Ok(())
    }
}

impl Cpu {
    /// Brings the seconds up to now, unless that was done so shortly before that sysinfo would repeat itself.
    fn measure(&mut self) -> Result<(), CollectError> {
        if self.measured.is_some_and(|measured| measured.elapsed() < MINIMUM_CPU_UPDATE_INTERVAL) {
            return Ok(());
        }
        let system = begun(&mut self.system)?;
        system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        // Taken behind the refresh, so that more time has passed for sysinfo than for us: it never leaves out a refresh that
        // is counted here.
        let now = Instant::now();
        if self.processors.is_empty() {
            // Whatever share it tells now is of a time that nobody measured.
            self.processors = vec![Seconds::default(); system.cpus().len()];
        } else if let Some(measured) = self.measured {
            let passed = now.duration_since(measured).as_secs_f64();
            for (seconds, cpu) in self.processors.iter_mut().zip(system.cpus()) {
                seconds.add(passed, f64::from(cpu.usage()));
            }
        }
        if self.processors.is_empty() {
            return Err(CollectError::Unknown { what: "the processors", why: "sysinfo finds none".to_owned() });
        }
        self.measured = Some(now);
        Ok(())
    }
}

impl Seconds {
    /// Adds `passed` seconds, of which `percent` were busy.
    fn add(&mut self, passed: f64, percent: f64) {
        let busy = passed * (percent / 100.0).clamp(0.0, 1.0);
        self.busy += busy;
        self.idle += passed - busy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_share_makes_time_run_back_or_twice() {
        let mut seconds = Seconds::default();
        for percent in [25.0, 0.0, 100.0, 100.1, -0.1] {
            seconds.add(8.0, percent);
        }
        assert_eq!(seconds, Seconds { busy: 18.0, idle: 22.0 });
    }
}
