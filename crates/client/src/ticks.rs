//! The results of a tick are reported together: when all have come, or a little later without those that take long.
//! These go out on their own when they come. No I/O and no clock of its own.

use std::time::Duration;

use hostwatch_wire::{Revision, ServiceName, Status};

use crate::clock::Moment;
use crate::ring::SharedLayout;

/// So long does a tick wait for its last results.
const PATIENCE: Duration = Duration::from_millis(250);

/// The result of one run of one service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// Whose.
    pub(crate) service: ServiceName,
    /// How long the run took, or has taken so far.
    pub(crate) took: Duration,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Values, and what they mean: no layout when there are none. A message may say more.
    Values { layout: Option<SharedLayout>, values: Vec<f64>, message: Option<String> },
    /// Why there are none, with a status that is not ok.
    Trouble(Status, String),
}

impl Outcome {
    /// There was nothing to report.
    pub(crate) fn nothing() -> Self {
        Self::Values { layout: None, values: Vec::new(), message: None }
    }

    /// Whether there was nothing to report.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Values { values, message: None, .. } if values.is_empty())
    }
}

/// What the results of one tick have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The wall clock at the tick, in milliseconds since 1970.
    pub(crate) collected_at_ms: u64,
    /// The configuration that the tick ran.
    pub(crate) revision: Option<Revision>,
}

/// Results that are reported together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// What they have in common.
    pub(crate) stamp: Stamp,
    /// The results; none makes a heartbeat.
    pub(crate) results: Vec<Measured>,
}

/// Names a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TickId(u64);

/// The ticks that still wait, and the batches that do not.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    begun: u64,
    open: Vec<Open>,
    ready: Vec<Batch>,
}

#[derive(Debug)]
struct Open {
    id: TickId,
    until: Moment,
    waiting: usize,
    batch: Batch,
}

impl Ticks {
    /// Names a tick that is about to begin.
    pub(crate) fn next_id(&mut self) -> TickId {
        self.begun += 1;
        TickId(self.begun)
    }

    /// Begins a tick that has `results` already and waits for `waiting` more.
    pub(crate) fn begin(&mut self, id: TickId, stamp: Stamp, results: Vec<Measured>, waiting: usize, now: Moment) {
        self.open.push(Open { id, until: now + PATIENCE, waiting, batch: Batch { stamp, results } });
        self.close(now);
    }

    /// Takes a result of a tick, which may be over.
    pub(crate) fn add(&mut self, id: TickId, stamp: Stamp, measured: Measured, now: Moment) {
        match self.open.iter_mut().find(|open| open.id == id) {
            Some(open) => {
                open.waiting = open.waiting.saturating_sub(1);
                open.batch.results.push(measured);
                self.close(now);
            }
            None => self.ready.push(Batch { stamp, results: vec![measured] }),
        }
    }

    /// When a tick ends its waiting.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        self.open.first().map(|open| open.until)
    }

    /// What is to be reported now, in order.
    pub(crate) fn take_ready(&mut self, now: Moment) -> Vec<Batch> {
        self.close(now);
        std::mem::take(&mut self.ready)
    }

    /// What has come, without any more waiting.
    pub(crate) fn take_all(&mut self) -> Vec<Batch> {
        let open = self.open.drain(..).map(|open| open.batch);
        self.ready.extend(open.filter(|batch| !batch.results.is_empty()));
        std::mem::take(&mut self.ready)
    }

    fn close(&mut self, now: Moment) {
        for open in self.open.extract_if(.., |open| open.waiting == 0 || open.until <= now) {
            if !open.batch.results.is_empty() {
                self.ready.push(open.batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn stamp(collected_at_ms: u64) -> Stamp {
        Stamp { collected_at_ms, revision: None }
    }

    fn measured(service: &str) -> Measured {
        let outcome = Outcome::Values { layout: None, values: vec![], message: None };
        Measured { service: service.parse().unwrap(), took: Duration::ZERO, outcome }
    }

    fn services(batches: &[Batch]) -> Vec<(u64, Vec<&str>)> {
        let names = |batch: &'_ Batch| batch.stamp.collected_at_ms;
        batches
            .iter()
            .map(|batch| (names(batch), batch.results.iter().map(|result| result.service.as_str()).collect()))
            .collect()
    }

    #[test]
    fn a_tick_goes_out_with_its_last_result() {
        let mut ticks = Ticks::default();
        let id = ticks.next_id();
        ticks.begin(id, stamp(7), vec![measured("stuck")], 2, at(0));
        ticks.add(id, stamp(7), measured("a"), at(1));
        assert!(ticks.take_ready(at(1)).is_empty());
        ticks.add(id, stamp(7), measured("b"), at(2));
        assert_eq!(services(&ticks.take_ready(at(2))), [(7, vec!["stuck", "a", "b"])]);
        assert_eq!(ticks.next(), None);
    }

    #[test]
    fn what_comes_late_comes_alone() {
        let mut ticks = Ticks::default();
        let id = ticks.next_id();
        ticks.begin(id, stamp(7), vec![], 3, at(0));
        ticks.add(id, stamp(7), measured("a"), at(1));
        assert_eq!(ticks.next(), Some(at(250)));
        assert_eq!(services(&ticks.take_ready(at(250))), [(7, vec!["a"])]);
        ticks.add(id, stamp(7), measured("b"), at(900));
        ticks.add(id, stamp(7), measured("c"), at(900));
        assert_eq!(services(&ticks.take_ready(at(900))), [(7, vec!["b"]), (7, vec!["c"])]);
    }

    #[test]
    fn ticks_overlap() {
        let mut ticks = Ticks::default();
        let slow = ticks.next_id();
        ticks.begin(slow, stamp(1), vec![], 1, at(0));
        let quick = ticks.next_id();
        ticks.begin(quick, stamp(2), vec![], 1, at(100));
        ticks.add(quick, stamp(2), measured("b"), at(101));
        assert_eq!(services(&ticks.take_ready(at(101))), [(2, vec!["b"])]);
        ticks.add(slow, stamp(1), measured("a"), at(150));
        assert_eq!(services(&ticks.take_all()), [(1, vec!["a"])]);
    }

    #[test]
    fn a_tick_in_which_nothing_came_is_no_report() {
        let mut ticks = Ticks::default();
        let id = ticks.next_id();
        ticks.begin(id, stamp(1), vec![], 1, at(0));
        assert!(ticks.take_ready(at(300)).is_empty());
        assert_eq!(ticks.next(), None);
    }
}
