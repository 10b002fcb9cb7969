//! What a client knows of itself: the client writes it down as things happen, the plugin `client` reports it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Shared by a client and its plugins. Nothing runs under its lock but a copy of numbers.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// By service.
    pub(crate) runs: BTreeMap<String, Run>,
    /// Once there is any delivery.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) panics: u64,
}

/// The newest run of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its plugin.
    pub plugin: &'static str,
    /// What node_exporter calls the plugin.
    pub collector: &'static str,
    /// How long it took, or has taken when it was given up.
    pub took: Duration,
    /// Whether it measured.
    pub succeeded: bool,
    /// How many series found no room in the budget.
    pub left_out: u64,
}

/// What waits for servers, and what could not wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Reports that the ring holds.
    pub ring_reports: usize,
    /// What they take, layouts included, in bytes.
    pub ring_bytes: usize,
    /// What they may take at most, in bytes.
    pub ring_limit_bytes: usize,
    /// Reports that have left the ring because of its limits.
    pub ring_dropped: u64,
    /// Messages that wait to be published.
    pub outbox_messages: usize,
    /// Messages that have left that queue unpublished.
    pub outbox_dropped: u64,
    /// Runs of services that wait for a thread.
    pub runs_waiting: usize,
    /// Commands of servers that wait to be read.
    pub inbox_messages: usize,
    /// Commands of servers that found no room.
    pub inbox_dropped: u64,
}

impl Ledger {
    /// Notes a run of `service`.
    pub fn ran(&self, service: &str, run: Run) {
        let mut entries = self.entries();
        match entries.runs.get_mut(service) {
            Some(newest) => *newest = run,
            None => drop(entries.runs.insert(service.to_owned(), run)),
        }
    }

    /// A plugin panicked.
    pub fn panicked(&self) {
        self.entries().panics += 1;
    }

    /// Forgets the services that are not `wanted`.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.entries().runs.retain(|service, _| wanted(service));
    }

    /// Notes how delivery goes.
    pub fn deliver(&self, delivery: Delivery) {
        self.entries().delivery = Some(delivery);
    }

    /// A panic of another thread has broken nothing here: every entry is written in one piece.
    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
