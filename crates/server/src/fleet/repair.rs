//! Repair: asks every host for exactly the reports that are missing, and, after this server's own start, for those that its
//! histories lack. After a short wait, with jitter and back-off, and never for more than the whole fleet may send at once.

use std::time::{Duration, Instant};

use hostwatch_wire::{Epoch, HostId, Resend, RingRange, SeqRange, ServerBody};

use super::host::Host;
use super::life::State;
use super::tracking::Track;
use super::{Effect, Fleet};
use crate::clock::Now;

/// Reports that the whole fleet may be asked for in a second.
pub(super) const RATE: f64 = 5_000.0;
/// Reports that one host is asked for at once: what a client sends in a second.
const AT_ONCE: u64 = 200;
/// What is missing may be under way: so long nobody asks.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The time between two requests while each brings something.
const WAIT: Duration = Duration::from_millis(1_500);
/// …and at most, when none does.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// After so long a host is judged, whatever is missing still.
const SETTLE: Duration = Duration::from_secs(30);

/// What one host was asked for, and what of it is still to come.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// When to ask next; nothing while nothing is missing.
    next: Option<Instant>,
    wait: Duration,
    /// How much was missing at the last request, if there was one.
    lacked: Option<u64>,
    /// Whose turn it is among the epochs of which something is missing: one that brings nothing does not keep the others
    /// from being asked.
    turn: usize,
    /// Reports that were received before this process began, and that its histories lack; the oldest epoch first.
    refill: Vec<(Epoch, Track)>,
    /// Whether this process has asked for those.
    refilled: bool,
    /// Since when the host is there again without being judged.
    unsettled: Option<Instant>,
}

impl Repair {
    /// The host said hello, and what its ring holds.
    pub(super) fn begin(&mut self, ring: &[RingRange], wants_past: bool, now: Now) {
        self.unsettled = Some(now.monotonic);
        // Whatever was asked for before may have been lost with the link.
        (self.next, self.wait, self.lacked, self.turn) = (None, Duration::ZERO, None, 0);
        // What the ring does not hold any more nobody will send.
        self.refill.retain_mut(|(epoch, track)| {
            let held = ring.iter().find(|range| range.epoch == *epoch);
            held.inspect(|range| track.give_up_before(range.first)).is_some()
        });
        if wants_past && !std::mem::replace(&mut self.refilled, true) {
            let held = ring.iter().map(|range| {
                let mut track = Track::new(range.first.saturating_sub(1));
                track.announce(range.first, range.last);
                (range.epoch, track)
            });
            self.refill = held.collect();
        }
    }

    /// A report came; whether it is one that a history lacks.
    pub(super) fn refills(&mut self, epoch: Epoch, seq: u64) -> bool {
        let track = self.refill.iter_mut().find(|(known, _)| *known == epoch).map(|(_, track)| track);
        track.is_some_and(|track| track.take_missing(seq))
    }

    /// The host no longer holds what is before `first`.
    pub(super) fn give_up_before(&mut self, epoch: Epoch, first: u64) {
        if let Some((_, track)) = self.refill.iter_mut().find(|(known, _)| *known == epoch) {
            track.give_up_before(first);
        }
    }

    /// Whether the host may be judged.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    fn lacking(&self) -> u64 {
        self.refill.iter().map(|(_, track)| track.outstanding()).sum()
    }
}

impl Fleet {
    /// Asks every host that is due for what it is missing; when not all can be asked, those who have waited longest.
    pub(super) fn ask_for_missing(&mut self, now: Now) {
        if self.connected_since.is_none() {
            return;
        }
        let mut due: Vec<(Instant, &mut Host)> =
            self.hosts.values_mut().filter_map(|host| Some((host.due_request(now)?, host))).collect();
        due.sort_by_key(|(since, _)| *since);
        for (_, host) in due {
            let lacks = host.lacks();
            let in_vain = host.repair.lacked.is_some_and(|lacked| lacks >= lacked);
            let turn = host.repair.turn.wrapping_add(usize::from(in_vain));
            let Some((epoch, ranges)) = host.wanted(turn) else { continue };
            if !self.budget.take(ranges.iter().map(|range| range.last - range.first + 1).sum(), now) {
                // The others have their turn when there are tokens again.
                return;
            }
            if in_vain && host.repair.wait == MAX_WAIT {
                // Histories do without what a host does not even call gone.
                host.repair.refill.clear();
            }
            host.repair.wait = if in_vain { (2 * host.repair.wait).clamp(WAIT, MAX_WAIT) } else { WAIT };
            (host.repair.lacked, host.repair.turn) = (Some(lacks), turn);
            host.repair.next = Some(now.monotonic + jittered(host.repair.wait));
            self.effects.push(Effect::Say(host.id.clone(), ServerBody::Resend(Resend { epoch, ranges })));
        }
    }

    /// Whether the past of this host's series matters to some expression.
    pub(super) fn wants_past(&self, id: &HostId) -> bool {
        let plan = self.hosts.get(id).and_then(|host| host.plan.as_ref());
        let triggers = plan.iter().flat_map(|plan| plan.triggers.iter());
        let of_triggers =
            triggers.flat_map(|trigger| std::iter::once(&trigger.rule.expression).chain(&trigger.rule.recover));
        let of_rules = self.inventory.fleet_rules().iter().flat_map(|rule| rule.expressions());
        of_triggers.chain(of_rules).any(|expression| expression.longest_range().is_some())
    }
}

impl Host {
    /// Since when the host is to be asked for something, if it is.
    fn due_request(&mut self, now: Now) -> Option<Instant> {
        if !self.is_known() || self.pulse.state() != State::Up {
            return None;
        }
        if self.lacks() == 0 {
            self.repair.next = None;
            return None;
        }
        let due = *self.repair.next.get_or_insert_with(|| now.monotonic + jittered(FIRST_WAIT));
        (due <= now.monotonic).then_some(due)
    }

    /// How many reports are missing, in the books and in histories.
    fn lacks(&self) -> u64 {
        let missing: u64 = self.ledger.lacking().map(|(_, track)| track.outstanding()).sum();
        missing.saturating_add(self.repair.lacking())
    }

    /// What to ask for next: in the first turn what the books lack of the oldest epoch, at last what the histories lack.
    fn wanted(&self, turn: usize) -> Option<(Epoch, Vec<SeqRange>)> {
        let refill = self.repair.refill.iter().filter(|(_, track)| track.outstanding() > 0);
        let lacking: Vec<_> = self.ledger.lacking().chain(refill.map(|(epoch, track)| (*epoch, track))).collect();
        let (epoch, track) = lacking.get(turn.checked_rem(lacking.len())?)?;
        Some((*epoch, track.missing_up_to(AT_ONCE)))
    }

    /// Lets the host be judged once nothing is missing that could still come, or when that takes too long; true when it may
    /// be judged from now on.
    pub(super) fn settle(&mut self, now: Now) -> bool {
        let waited = self.repair.unsettled.map(|since| now.since(since));
        let settled = waited.is_some_and(|waited| self.lacks() == 0 || waited >= SETTLE);
        if settled {
            self.repair.unsettled = None;
        }
        settled
    }
}

/// From half of `wait` to one and a half of it.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refill_is_what_the_ring_held_each_report_once() {
        let (epoch, now) = (Epoch(1), Now::read());
        let range = RingRange { epoch, first: 5, last: 8, acked: Vec::new() };
        let mut repair = Repair::default();
        repair.begin(std::slice::from_ref(&range), true, now);
        assert_eq!(repair.lacking(), 4);
        assert!(repair.refills(epoch, 6) && !repair.refills(epoch, 6) && !repair.refills(epoch, 9));
        assert!(!repair.refills(Epoch(2), 5));
        repair.give_up_before(epoch, 8);
        assert_eq!(repair.lacking(), 1);
        repair.begin(&[range], true, now);
        assert_eq!(repair.lacking(), 1, "once in the life of a server");
    }
}
