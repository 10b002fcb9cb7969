//! When services are due: at their interval, on a phase that is the host's own and stays the same over restarts.
//!
//! The phase is a hash of the host id, so that a fleet does not report in the same millisecond. Ticks that were missed
//! are skipped, and services that are due at the same instant share one tick.

use std::collections::BTreeMap;
use std::time::Duration;

use hostwatch_wire::{ContentHash, HostId, ServiceName};

use crate::clock::{Moment, millis};

/// A new service first runs within this time, however long its interval: an operator who changed a template waits for
/// the first result.
const FIRST_RUN_WITHIN: Duration = Duration::from_secs(10);

/// When each service is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    spread: u64,
    slots: BTreeMap<ServiceName, Slot>,
    /// When the next one is due.
    next: Option<Moment>,
}

#[derive(Debug)]
struct Slot {
    interval: Duration,
    due: Moment,
}

impl Schedule {
    /// An empty schedule on the phase of `host`.
    #[must_use]
    pub(crate) fn new(host: &HostId) -> Self {
        Self { spread: spread(host), slots: BTreeMap::new(), next: None }
    }

    /// Lets `service` run every `interval` (at least a millisecond), in place of what was known of it.
    pub(crate) fn insert(&mut self, service: ServiceName, interval: Duration, now: Moment) {
        self.remove(&service);
        let due = next_slot(self.spread, interval.min(FIRST_RUN_WITHIN), now);
        self.slots.insert(service, Slot { interval, due });
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// Forgets a service.
    pub(crate) fn remove(&mut self, service: &ServiceName) {
        if self.slots.remove(service).is_some_and(|slot| Some(slot.due) == self.next) {
            self.look();
        }
    }

    /// When the next service is due.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        self.next
    }

    /// The services that are due, by name; each is due again at its first slot after `now`.
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<ServiceName> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let due = self.slots.iter_mut().filter(|(_, slot)| slot.due <= now);
        let due = due.map(|(name, slot)| {
            slot.due = next_slot(self.spread, slot.interval, now);
            name.clone()
        });
        let due = due.collect();
        self.look();
        due
    }

    /// Finds the next one of all.
    fn look(&mut self) {
        self.next = self.slots.values().map(|slot| slot.due).min();
    }
}

/// The first moment after `now` that lies on the phase: `spread` modulo `interval`.
fn next_slot(spread: u64, interval: Duration, now: Moment) -> Moment {
    let interval = millis(interval).max(1);
    let phase = spread % interval;
    let since_slot = (now.as_millis() + interval - phase) % interval;
    Moment::from_millis(now.as_millis() + (interval - since_slot))
}

/// A number that is the same for a host in every build, in contrast to the standard library's hash.
fn spread(host: &HostId) -> u64 {
    let digest = ContentHash::of(host.as_str().as_bytes()).to_string();
    u64::from_str_radix(&digest[..12], 16).expect("the digest is shown in hex")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host() -> HostId {
        "web01".parse().unwrap()
    }

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn intervals_that_divide_each_other_share_ticks() {
        let mut schedule = Schedule::new(&host());
        let mut now = Moment::from_millis(1_700_000_000_123);
        schedule.insert(name("fast"), Duration::from_secs(1), now);
        schedule.insert(name("slow"), Duration::from_secs(10), now);
        let (mut ticks, mut together) = (0, 0);
        for _ in 0..100 {
            now = schedule.next().unwrap();
            let due = schedule.take_due(now);
            ticks += 1;
            together += usize::from(due.len() == 2);
        }
        assert_eq!((ticks, together), (100, 10));
    }

    #[test]
    fn a_daily_service_runs_soon_after_it_was_set() {
        let mut schedule = Schedule::new(&host());
        let now = Moment::from_millis(1_700_000_000_123);
        schedule.insert(name("daily"), Duration::from_secs(86_400), now);
        let first = schedule.next().unwrap();
        assert!(first.since(now) <= FIRST_RUN_WITHIN);
        assert_eq!(schedule.take_due(first).len(), 1);
        assert!(schedule.next().unwrap().since(first) <= Duration::from_secs(86_400));
    }

    #[test]
    fn hosts_are_spread() {
        let phases: std::collections::BTreeSet<_> =
            (0..1_000).map(|n| spread(&format!("web{n}").parse().unwrap()) % 10_000 / 100).collect();
        assert!(phases.len() > 90, "only {} of 100 slots are used", phases.len());
    }

    proptest! {
        #[test]
        fn slots_stay_on_the_phase_and_missed_ones_are_skipped(
            interval in 100_u64..100_000,
            start in 1_600_000_000_000_u64..1_800_000_000_000,
            delays in proptest::collection::vec(0_u64..500_000, 1..50),
        ) {
            let mut schedule = Schedule::new(&host());
            let service = name("cpu");
            schedule.insert(service.clone(), Duration::from_millis(interval), Moment::from_millis(start));
            for delay in delays {
                let due = schedule.next().unwrap();
                let now = due + Duration::from_millis(delay);
                prop_assert_eq!(schedule.take_due(now), vec![service.clone()]);
                prop_assert!(schedule.take_due(now).is_empty());
                let next = schedule.next().unwrap();
                prop_assert!(next > now && next.since(now) <= Duration::from_millis(interval));
                prop_assert_eq!(next.as_millis() % interval, spread(&host()) % interval);
            }
        }

        #[test]
        fn a_restart_keeps_the_phase(interval in 100_u64..10_000, a in 0_u64..1_000_000, b in 0_u64..1_000_000) {
            let due = |now| {
                let mut schedule = Schedule::new(&host());
                schedule.insert(name("cpu"), Duration::from_millis(interval), Moment::from_millis(now));
                schedule.next().unwrap().as_millis() % interval
            };
            prop_assert_eq!(due(a), due(b));
        }
    }
}
