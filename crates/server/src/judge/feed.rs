//! How the fleet tells the judge what happens. Reports wait in a bounded queue, and what does not fit is counted. What a
//! host is cannot get lost: of each host only the newest word waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hostwatch_wire::HostId;
use tokio::sync::{Notify, mpsc};

use super::storm::StormSettings;
use crate::directory::Service;
use crate::fleet::State;
use crate::inventory::{FleetRule, Labels, Plan};

/// So many reports may wait, and so many bytes of theirs.
const REPORTS: usize = 1 << 15;
const BYTES: usize = 256 << 20;

/// What the fleet has to tell.
#[derive(Debug)]
pub(crate) enum Observation {
    /// A host came, or is another than it was.
    Changed(HostId, HostFacts),
    /// A host is no longer watched.
    Removed(HostId),
    /// Other rules over the fleet are in force.
    Rules(Vec<Arc<FleetRule>>),
    /// The storm guard has these settings.
    Storm(StormSettings),
    /// The link to Redis is there, or away.
    Link(bool),
    /// Results of a host's services.
    Report(Report),
}

/// What of a host the judging depends on.
#[derive(Debug, Clone)]
pub(crate) struct HostFacts {
    /// What the host is.
    pub state: State,
    /// Whether what was missing when it came back has come, as far as it could.
    pub is_settled: bool,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// What it has to run.
    pub plan: Arc<Plan>,
}

impl HostFacts {
    /// Whether `other` is the same, down to where it lies.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.state, self.is_settled) == (other.state, other.is_settled)
            && Arc::ptr_eq(&self.labels, &other.labels)
            && Arc::ptr_eq(&self.plan, &other.plan)
    }
}

/// Results of a host's services.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whose.
    pub host: HostId,
    /// How long ago they were collected, in milliseconds by the server's clock, when they were received.
    pub age_ms: u64,
    /// Whether they are the newest; others fill histories and are not judged.
    pub fresh: bool,
    /// The results.
    pub services: Vec<Arc<Service>>,
}

impl Report {
    /// What it takes, in bytes, layouts aside, which are shared.
    fn bytes(&self) -> usize {
        let of_service = |service: &Arc<Service>| {
            let values = service.series.as_ref().map_or(0, |block| size_of_val(&*block.values));
            size_of::<Service>() + service.message.as_ref().map_or(0, String::len) + values
        };
        self.services.iter().map(of_service).sum()
    }
}

/// The fleet's end.
#[derive(Debug)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    dropped: u64,
}

/// The judge's end.
#[derive(Debug)]
pub(crate) struct FeedReceiver {
    shared: Arc<Shared>,
    reports: mpsc::Receiver<Report>,
}

/// What is another than it was: the newest word on everything.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The rules over the fleet, if they changed.
    pub rules: Option<Vec<Arc<FleetRule>>>,
    /// The settings of the storm guard, if they changed.
    pub storm: Option<StormSettings>,
    /// Whether the link to Redis is there, if it changed.
    pub link: Option<bool>,
    /// The hosts that changed; nothing for one that was removed.
    pub hosts: HashMap<HostId, Option<HostFacts>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Written by the fleet, taken by the judge; held for a moment only.
    changes: Mutex<Option<Changes>>,
    arrived: Notify,
    /// What the reports that wait take, in bytes. Only the fleet adds.
    bytes: AtomicUsize,
}

/// Both ends.
#[must_use]
pub(crate) fn feed() -> (Feed, FeedReceiver) {
    let shared = Arc::<Shared>::default();
    let (sender, receiver) = mpsc::channel(REPORTS);
    let feed = Feed { shared: Arc::clone(&shared), reports: sender, dropped: 0 };
    (feed, FeedReceiver { shared, reports: receiver })
}

impl Feed {
    /// Tells everything, in order, and never waits.
    pub(crate) fn tell(&mut self, observations: Vec<Observation>) {
        let mut reports = Vec::with_capacity(observations.len());
        let mut told = observations.into_iter().filter_map(|observation| match observation {
            Observation::Report(report) => {
                reports.push(report);
                None
            }
            other => Some(other),
        });
        if let Some(first) = told.next() {
            let mut waiting = self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let changes = waiting.get_or_insert_default();
            for change in std::iter::once(first).chain(told) {
                changes.enter(change);
            }
            drop(waiting);
            self.shared.arrived.notify_one();
        }
        for report in reports {
            let bytes = report.bytes();
            let fits = self.shared.bytes.load(Ordering::Relaxed) + bytes <= BYTES;
            // Added first: the judge may have taken it before this goes on.
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            if !fits || self.reports.try_send(report).is_err() {
                self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.dropped += 1;
            }
        }
    }

    /// Reports that found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Reports that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.reports.max_capacity() - self.reports.capacity()
    }
}

impl Changes {
    fn enter(&mut self, observation: Observation) {
        match observation {
            Observation::Changed(host, facts) => {
                self.hosts.insert(host, Some(facts));
            }
            Observation::Removed(host) => {
                self.hosts.insert(host, None);
            }
            Observation::Rules(rules) => self.rules = Some(rules),
            Observation::Storm(settings) => self.storm = Some(settings),
            Observation::Link(is_connected) => self.link = Some(is_connected),
            Observation::Report(_) => {}
        }
    }
}

impl FeedReceiver {
    /// Waits until something was told: a report, or nothing but changes.
    pub(crate) async fn recv(&mut self) -> Option<Report> {
        tokio::select! {
            biased;
            () = self.shared.arrived.notified() => None,
            Some(report) = self.reports.recv() => Some(self.taken(report)),
        }
    }

    /// A further report, if one waits.
    pub(crate) fn try_recv(&mut self) -> Option<Report> {
        self.reports.try_recv().ok().map(|report| self.taken(report))
    }

    fn taken(&self, report: Report) -> Report {
        self.shared.bytes.fetch_sub(report.bytes(), Ordering::Relaxed);
        report
    }

    /// What changed since the last call. To be taken before the reports that were received.
    pub(super) fn changes(&self) -> Option<Changes> {
        self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{EncodedLayout, Layout, Status};

    use super::*;
    use crate::directory::SeriesBlock;
    use crate::layouts::Layouts;

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (mut feed, mut receiver) = feed();
        let layout = Layouts::default().intern(&EncodedLayout::new(&Layout::default())).unwrap();
        let values: Arc<[f64]> = vec![0.0; (BYTES / 4 - 1_000) / 8].into();
        let series = Some(SeriesBlock { layout, values, hidden: Arc::default() });
        let service = Arc::new(Service { name: "s".into(), status: Status::Ok, message: None, duration_us: 1, series });
        let report = || {
            let services = vec![Arc::clone(&service)];
            Observation::Report(Report { host: "web".parse().unwrap(), age_ms: 0, fresh: true, services })
        };
        feed.tell((0..5).map(|_| report()).collect());
        assert_eq!((feed.waiting(), feed.dropped()), (4, 1));
        assert!(receiver.try_recv().is_some());
        feed.tell(vec![report(), report()]);
        assert_eq!((feed.waiting(), feed.dropped()), (4, 2));
        while receiver.try_recv().is_some() {}
        assert_eq!(receiver.shared.bytes.load(Ordering::Relaxed), 0);
    }
}
