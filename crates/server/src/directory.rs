//! What readers see of the fleet. The fleet's owner puts whole snapshots here; readers take them without a lock,
//! so that a slow scrape never holds up a report.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use hostwatch_wire::{Applied, Epoch, Facts, HostId, Revision, Status};

use crate::fleet::{State, Totals};
use crate::inventory::Labels;
use crate::layouts::PreparedLayout;

/// The hosts, as they were when each was last heard of.
#[derive(Debug, Default)]
pub(crate) struct Directory(ArcSwap<View>);

/// The hosts and the figures of the whole fleet, as they belong together: who leaves the one is counted in the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Sorted by id.
    pub hosts: Arc<Vec<Arc<Entry>>>,
    /// The figures of the whole fleet.
    pub summary: Arc<Summary>,
}

/// One host's place in the directory: it stays, its snapshots come and go.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Who.
    pub host: HostId,
    snapshot: ArcSwap<Snapshot>,
}

/// What is known of a host at one moment: the figures in it belong together.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// What the host is.
    pub state: State,
    /// Since when, in milliseconds since 1970.
    pub state_since_ms: u64,
    /// What it claims, and what the operator gave it, which wins.
    pub labels: Arc<Labels>,
    /// What the machine is; nothing before its first hello.
    pub facts: Option<Arc<Facts>>,
    /// The client's version; nothing before its first hello.
    pub client_version: Option<Arc<str>>,
    /// The two clients that say that they are this host; nothing unless it is in conflict.
    pub rivals: Option<Arc<[Rival; 2]>>,
    /// The configuration that should be in force; nothing while it is pending.
    pub wanted: Option<Revision>,
    /// The configuration that is in force, as the host said last.
    pub applied: Option<Arc<Applied>>,
    /// When the newest report was received, in milliseconds since 1970.
    pub last_report_ms: Option<u64>,
    /// The host's clock less ours, in seconds.
    pub clock_skew_seconds: Option<f64>,
    /// The books of the current epoch.
    pub books: Books,
    /// Counts since the host is known, over all epochs.
    pub totals: Totals,
    /// What it did wrong.
    pub faults: Faults,
    /// Layouts that the host brought and that no host used before.
    pub new_layouts: u64,
    /// Reports that wait for a layout.
    pub parked: usize,
    /// Its services, sorted by name.
    pub services: Vec<Arc<Service>>,
}

/// The last second of the year 9999, in seconds since 1970.
const LAST_DATE_SECONDS: u64 = 253_402_300_799;

/// One of two clients that say that they are the same host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rival {
    /// Its life.
    pub epoch: Epoch,
    /// Its version.
    pub version: Arc<str>,
    /// Its machine.
    pub facts: Arc<Facts>,
}

impl fmt::Display for Rival {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { os, kernel, boot_time_seconds, .. } = &*self.facts;
        // What a host says may be any number, and a date has four digits for the year.
        let boot = UNIX_EPOCH + Duration::from_secs((*boot_time_seconds).min(LAST_DATE_SECONDS));
        let boot = humantime::format_rfc3339_seconds(boot);
        write!(
            formatter,
            "epoch {}, version {:?}, on {os:?} with kernel {kernel:?}, started {boot}",
            self.epoch, self.version
        )
    }
}

/// What somebody did wrong, whoever speaks under the id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Messages that were dropped because there were too many.
    pub flooded: u64,
    /// Messages that were refused.
    pub refused: u64,
}

/// The books of one epoch: `sequence - baseline = received + lost + outstanding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// The highest sequence number that is known to exist.
    pub sequence: u64,
    /// What was settled before.
    pub baseline: u64,
    /// What was received.
    pub received: u64,
    /// What can no longer come.
    pub lost: u64,
    /// What may still come.
    pub outstanding: u64,
}

/// The newest result of a service.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// How its last run went.
    pub status: Status,
    /// What there was to say.
    pub message: Option<String>,
    /// How long the last run took, in microseconds.
    pub duration_us: u64,
    /// Its series; nothing when the run failed or is too long ago.
    pub series: Option<SeriesBlock>,
}

/// Values with their meaning.
#[derive(Debug, Clone)]
pub(crate) struct SeriesBlock {
    /// What the values mean.
    pub layout: Arc<PreparedLayout>,
    /// One for each series of the layout.
    pub values: Arc<[f64]>,
    /// Families, by their place in the layout, that another service of the host has already.
    pub hidden: Arc<[usize]>,
}

/// Figures of the whole fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    /// Messages that were refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Whether another server with other files is at work.
    pub config_conflict: bool,
    /// Whether the configuration keys were read since the last connect, so that they can be written.
    pub synchronized: bool,
    /// The counts of hosts that are gone.
    pub departed: Totals,
    /// Reports that found no room while they waited for a layout.
    pub parked_dropped: u64,
    /// What was done wrong under ids that are no hosts now: nobody said hello, or nobody configured them and they are forgotten.
    pub strangers: BTreeMap<HostId, Faults>,
}

impl Directory {
    /// The fleet at this moment.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        self.0.load_full()
    }

    /// The hosts at this moment, sorted by id.
    #[must_use]
    pub(crate) fn hosts(&self) -> Arc<Vec<Arc<Entry>>> {
        Arc::clone(&self.0.load().hosts)
    }

    /// The host called `id`.
    #[must_use]
    pub(crate) fn host(&self, id: &str) -> Option<Arc<Entry>> {
        let hosts = &self.0.load().hosts;
        let index = hosts.binary_search_by(|entry| entry.host.as_str().cmp(id)).ok()?;
        Some(Arc::clone(&hosts[index]))
    }

    /// The figures of the whole fleet.
    #[must_use]
    pub(crate) fn summary(&self) -> Arc<Summary> {
        Arc::clone(&self.0.load().summary)
    }

    /// For the fleet's owner, and nobody else: replaces what is another than it was.
    pub(crate) fn set(&self, hosts: Option<Vec<Arc<Entry>>>, summary: Option<Summary>) {
        let mut view = View::clone(&self.0.load());
        if let Some(mut hosts) = hosts {
            hosts.sort_by(|a, b| a.host.cmp(&b.host));
            view.hosts = Arc::new(hosts);
        }
        if let Some(summary) = summary {
            view.summary = Arc::new(summary);
        }
        self.0.store(Arc::new(view));
    }
}

impl Entry {
    pub(crate) fn new(host: HostId, snapshot: Snapshot) -> Self {
        Self { host, snapshot: ArcSwap::from_pointee(snapshot) }
    }

    /// What is known of the host at this moment.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// For the fleet's owner: replaces what is known.
    pub(crate) fn set(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }
}

impl Service {
    /// The same result, with other series.
    pub(crate) fn with_series(&self, series: SeriesBlock) -> Self {
        Self { series: Some(series), ..self.without_series() }
    }

    /// The same result, its series too old to show.
    pub(crate) fn without_series(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            status: self.status,
            message: self.message.clone(),
            duration_us: self.duration_us,
            series: None,
        }
    }
}
