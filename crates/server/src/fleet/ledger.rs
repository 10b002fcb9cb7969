//! The books of one host: an account for each epoch, and totals over all of them.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use hostwatch_wire::{Acked, Epoch, Known, MAX_EPOCHS, RingRange, ServerId};

use super::tracking::{Arrival, Track};
use crate::clock::Now;
use crate::directory::Books;

/// So many accounts are kept of epochs that the host itself has forgotten: what comes of them nevertheless is known again.
const MAX_DISOWNED: usize = 8;

/// The accounts, the oldest epoch first.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
    /// The epoch of the newest hello: its account stays.
    current: Option<Epoch>,
    /// What the accounts of epochs said that have none any more, and what no account says.
    retired: Totals,
    /// What the accounts said when this process began to count.
    before: Totals,
}

#[derive(Debug)]
struct Account {
    epoch: Epoch,
    track: Track,
    /// When anything of the epoch was heard last, or when the account was opened.
    heard: Instant,
    /// Whether the newest hello does not know the epoch: what is missing is in no ring, unless a second client lives that
    /// has it.
    disowned: bool,
    /// Whether somebody has spoken in the epoch since.
    speaks: bool,
}

/// Counts over all epochs of a host, since this process began to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Reports that were received, each once.
    pub received: u64,
    /// Reports that can no longer come.
    pub lost: u64,
    /// Reports that came again.
    pub duplicate: u64,
    /// Reports that filled a gap.
    pub resent: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        // Hosts say how many there are, so that a sum may be any number.
        self.received = self.received.saturating_add(other.received);
        self.lost = self.lost.saturating_add(other.lost);
        self.duplicate = self.duplicate.saturating_add(other.duplicate);
        self.resent = self.resent.saturating_add(other.resent);
    }
}

/// What a host says that was acknowledged of one epoch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    /// By this server, in this life or an earlier one.
    pub ours: u64,
    /// By this server, or, when the host has never heard of it, by any other: a server that has lost its identity, or comes
    /// as a second one, does not count the past as lost. It holds where an account is opened.
    pub believed: u64,
}

impl Marks {
    /// Those in `acked`, of reports up to `last`.
    pub(super) fn new(server: ServerId, acked: &[Acked], last: u64) -> Self {
        let ours = acked.iter().find(|acked| acked.server == server).map(|acked| acked.up_to.min(last));
        let of_any = acked.iter().map(|acked| acked.up_to.min(last)).max();
        Self { ours: ours.unwrap_or_default(), believed: ours.or(of_any).unwrap_or_default() }
    }
}

impl Ledger {
    /// The accounts as they were saved.
    pub(super) fn restored(current: Option<Epoch>, tracks: Vec<(Epoch, Track)>, now: Now) -> Self {
        let accounts = tracks.into_iter().map(|(epoch, track)| Account::new(epoch, track, now)).collect();
        let mut ledger = Self { accounts, current, ..Self::default() };
        // Counters begin at zero with each process, as Prometheus expects it: what was saved may be older than what was shown.
        ledger.before = ledger.totals();
        ledger
    }

    /// What is to be saved.
    pub(super) fn tracks(&self) -> Vec<(Epoch, Track)> {
        self.accounts.iter().map(|account| (account.epoch, account.track.clone())).collect()
    }

    /// The host said hello in the epoch `current`, and what its ring holds.
    pub(super) fn greet(&mut self, current: Epoch, ring: &[RingRange], server: ServerId, now: Now) {
        self.current = Some(current);
        for range in ring {
            let marks = Marks::new(server, &range.acked, range.last);
            self.account(range.epoch, marks, now).announce(range.first, range.last);
        }
        self.account(current, Marks::default(), now);
        for account in &mut self.accounts {
            account.disowned = account.epoch != current && !ring.iter().any(|range| range.epoch == account.epoch);
            account.speaks = !account.disowned;
            if account.speaks {
                account.heard = now.monotonic;
            }
        }
        let disowned = self.accounts.iter().filter(|account| account.disowned).count();
        for _ in MAX_DISOWNED..disowned {
            self.retire(|account| account.disowned);
        }
        self.retire_surplus(current);
    }

    /// Something of `epoch` was heard: whoever speaks in it lives, and has its ring.
    pub(super) fn heard(&mut self, epoch: Epoch, now: Now) {
        if let Some(account) = self.find(epoch) {
            (account.heard, account.speaks) = (now.monotonic, true);
        }
    }

    /// Enters report `seq` of `epoch`, sent when the ring began at `oldest`.
    pub(super) fn receive(&mut self, epoch: Epoch, seq: u64, oldest: u64, marks: Marks, now: Now) -> Arrival {
        let arrival = self.account(epoch, marks, now).receive(seq, oldest);
        self.heard(epoch, now);
        self.retire_surplus(epoch);
        arrival
    }

    /// Counts what a report has turned out to be, for this server and its histories together.
    pub(super) fn count(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Newest => {}
            Arrival::Late => self.retired.resent += 1,
            Arrival::Duplicate => self.retired.duplicate += 1,
        }
    }

    /// The host says that its reports of `epoch` reach up to `last`.
    pub(super) fn announce(&mut self, epoch: Epoch, last: u64) {
        if let Some(account) = self.find(epoch) {
            account.track.announce(0, last);
        }
    }

    /// The host no longer holds what is before `first`.
    pub(super) fn give_up_before(&mut self, epoch: Epoch, first: u64) {
        if let Some(account) = self.find(epoch) {
            account.track.give_up_before(first);
        }
    }

    /// Gives up what is missing of epochs that the host does not know and in which nobody has spoken for so long while the host
    /// was listened to; true when that was anything.
    pub(super) fn give_up_disowned(&mut self, silence: Duration, listened_since: Option<Instant>, now: Now) -> bool {
        let Some(listened_since) = listened_since else { return false };
        let mut gave_up = false;
        for account in self.accounts.iter_mut().filter(|account| account.disowned) {
            if account.track.outstanding() > 0 && now.since(account.heard.max(listened_since)) >= silence {
                account.track.close();
                gave_up = true;
            }
        }
        gave_up
    }

    /// Every report of `epoch` up to here is settled.
    pub(super) fn mark(&self, epoch: Epoch) -> u64 {
        self.accounts.iter().find(|account| account.epoch == epoch).map_or(0, |account| account.track.mark())
    }

    /// What this server has of each epoch.
    pub(super) fn known(&self) -> Vec<Known> {
        let known = |account: &Account| Known { epoch: account.epoch, up_to: account.track.mark() };
        self.accounts.iter().map(known).collect()
    }

    /// The books that lack reports which some ring holds, the oldest epoch first.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (Epoch, &Track)> {
        let lacking = self.accounts.iter().filter(|account| account.speaks && account.track.outstanding() > 0);
        lacking.map(|account| (account.epoch, &account.track))
    }

    /// The books of one epoch.
    pub(super) fn books(&self, epoch: Option<Epoch>) -> Books {
        let account = self.accounts.iter().find(|account| Some(account.epoch) == epoch);
        account.map_or_else(Books::default, |Account { track, .. }| Books {
            sequence: track.highest(),
            baseline: track.baseline(),
            received: track.received(),
            lost: track.lost(),
            outstanding: track.outstanding(),
        })
    }

    /// Counts over all epochs.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.retired;
        for Account { track, .. } in &self.accounts {
            totals += Totals { received: track.received(), lost: track.lost(), ..Totals::default() };
        }
        totals.received = totals.received.saturating_sub(self.before.received);
        totals.lost = totals.lost.saturating_sub(self.before.lost);
        totals
    }

    fn find(&mut self, epoch: Epoch) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.epoch == epoch)
    }

    /// The books of `epoch`, opened behind what has to be believed, and aware of what we have acknowledged.
    fn account(&mut self, epoch: Epoch, marks: Marks, now: Now) -> &mut Track {
        let index = match self.accounts.iter().position(|account| account.epoch == epoch) {
            Some(index) => index,
            None => {
                self.accounts.push(Account::new(epoch, Track::new(marks.believed), now));
                self.accounts.len() - 1
            }
        };
        let track = &mut self.accounts[index].track;
        self.before.received = self.before.received.saturating_add(track.acknowledged(marks.ours));
        track
    }

    /// Closes the oldest accounts when there are too many, but not that of `epoch`.
    fn retire_surplus(&mut self, epoch: Epoch) {
        let current = self.current;
        while self.accounts.len() > MAX_EPOCHS {
            self.retire(|account| account.epoch != epoch && Some(account.epoch) != current);
        }
    }

    /// Closes the oldest account that may be closed.
    fn retire(&mut self, may_be_closed: impl Fn(&Account) -> bool) {
        let index = self.accounts.iter().position(may_be_closed).unwrap_or(0);
        let mut track = self.accounts.remove(index).track;
        track.close();
        self.retired += Totals { received: track.received(), lost: track.lost(), ..Totals::default() };
    }
}

impl Account {
    fn new(epoch: Epoch, track: Track, now: Now) -> Self {
        Self { epoch, track, heard: now.monotonic, disowned: false, speaks: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: ServerId = ServerId(7);
    const NOTHING: Marks = Marks { ours: 0, believed: 0 };

    fn range(epoch: u64, first: u64, last: u64) -> RingRange {
        RingRange { epoch: Epoch(epoch), first, last, acked: Vec::new() }
    }

    fn later(now: Now, seconds: u64) -> Now {
        Now { monotonic: now.monotonic + Duration::from_secs(seconds), ..now }
    }

    #[test]
    fn what_a_hello_does_not_know_is_given_up_when_nobody_speaks_for_it() {
        let (mut ledger, now) = (Ledger::default(), Now::read());
        let silence = Duration::from_secs(30);
        ledger.greet(Epoch(1), &[range(1, 1, 5)], US, now);
        ledger.greet(Epoch(2), &[], US, later(now, 10));
        assert_eq!(ledger.lacking().count(), 0, "the newest client does not have it");
        assert!(!ledger.give_up_disowned(silence, Some(now.monotonic), later(now, 29)), "another one may");
        // It does.
        assert_eq!(ledger.receive(Epoch(1), 7, 1, NOTHING, later(now, 29)), Arrival::Newest);
        assert_eq!(ledger.lacking().map(|(epoch, track)| (epoch.0, track.outstanding())).collect::<Vec<_>>(), [(1, 6)]);
        ledger.greet(Epoch(2), &[], US, later(now, 40));
        assert!(!ledger.give_up_disowned(silence, Some(now.monotonic), later(now, 58)));
        assert_eq!(ledger.totals(), Totals { received: 1, ..Totals::default() });
        assert!(ledger.give_up_disowned(silence, Some(now.monotonic), later(now, 59)));
        assert_eq!(ledger.totals(), Totals { received: 1, lost: 6, ..Totals::default() });
        assert!(!ledger.give_up_disowned(silence, Some(now.monotonic), later(now, 60)), "once");
    }

    #[test]
    fn every_epoch_of_a_ring_has_an_account() {
        let (mut ledger, now) = (Ledger::default(), Now::read());
        let ring: Vec<RingRange> = (1..=20).map(|epoch| range(epoch, 1, 3)).collect();
        ledger.greet(Epoch(99), &ring, US, now);
        assert_eq!(ledger.lacking().map(|(_, track)| track.outstanding()).sum::<u64>(), 60);
        // A ring whose reports came and went while nobody listened.
        ledger.greet(Epoch(99), &[range(21, 4, 3)], US, now);
        assert_eq!(ledger.totals().lost, 12 * 3 + 3, "of those that it forgot, the last eight are kept for a while");
        ledger.give_up_disowned(Duration::ZERO, Some(now.monotonic), now);
        assert_eq!(ledger.totals().lost, 63);
        for epoch in 1_000..1_200 {
            ledger.receive(Epoch(epoch), 1, 1, NOTHING, now);
        }
        assert_eq!((ledger.accounts.len(), ledger.totals().received), (MAX_EPOCHS, 200));
        assert!(ledger.find(Epoch(99)).is_some(), "nobody drives out the current one");
    }

    #[test]
    fn what_other_servers_acknowledged_counts_only_when_an_account_is_opened() {
        let acked = [Acked { server: ServerId(8), up_to: 10 }];
        let (mut ledger, now) = (Ledger::default(), Now::read());
        let marks = Marks::new(US, &acked, 11);
        ledger.receive(Epoch(1), 12, 1, marks, now);
        assert_eq!(ledger.books(Some(Epoch(1))).outstanding, 1, "11 only: the past is not counted as lost");
        let acked = [Acked { server: ServerId(8), up_to: 12 }];
        ledger.receive(Epoch(1), 13, 1, Marks::new(US, &acked, 12), now);
        assert_eq!(ledger.books(Some(Epoch(1))).outstanding, 1, "what another one has we lack all the same");
    }
}
