//! What was counted. The server's books outlive it: they are saved, and what is newer the hosts say that it has acknowledged.
//! Its counters begin anew with each of its lives, so that they are added up.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Process};

/// Everything that has to be noted before a process ends.
#[derive(Default)]
pub(super) struct Ledger {
    /// The counters of all lives of the server.
    pub(super) counts: Counts,
    pub(super) server_lives: u32,
    pub(super) client_lives: u32,
    /// The most memory that any life took, in bytes.
    pub(super) server_peak: u64,
    pub(super) client_peak: u64,
    /// Hosts that lost reports, and how many.
    pub(super) losers: BTreeMap<String, u64>,
    /// What else was not as it should be.
    pub(super) complaints: Vec<String>,
}

/// Counters of the fleet.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) duplicate: u64,
    pub(super) resent: u64,
}

impl Ledger {
    /// Enters a life of the server that is about to end.
    pub(super) fn close_server(&mut self, page: &Page, process: &Process) -> Result<()> {
        let count = |what: &str| -> Result<u64> {
            let name = format!("hostwatch_reports_{what}_total");
            Ok(page.value(&name, &[]).with_context(|| format!("no {name}"))? as u64)
        };
        self.counts.received += count("received")?;
        self.counts.lost += count("lost")?;
        self.counts.duplicate += count("duplicate")?;
        self.counts.resent += count("resent")?;
        for (host, lost) in by_host(page, "hostwatch_host_reports_lost_total") {
            if lost > 0 {
                *self.losers.entry(host.to_owned()).or_default() += lost;
            }
        }
        self.server_lives += 1;
        self.server_peak = self.server_peak.max(process.peak_bytes()?);
        self.note_panic(process);
        Ok(())
    }

    /// Enters a life of the client that is about to end.
    pub(super) fn close_client(&mut self, process: &Process) -> Result<()> {
        self.client_lives += 1;
        self.client_peak = self.client_peak.max(process.peak_bytes()?);
        self.note_panic(process);
        Ok(())
    }

    /// Looks at the page: books that do not balance and hosts that are held to be down are noted. How many reports are
    /// outstanding.
    pub(super) fn look(&mut self, page: &Page) -> u64 {
        let books = books(page);
        for (host, books) in &books {
            if !books.balance() {
                self.complain(format!("the books of {host} do not balance: {books:?}"));
            }
        }
        let state = [("state", "down")];
        let down = page.series("hostwatch_host_state").filter(|sample| sample.has(&state) && sample.value == 1.0);
        for host in down.filter_map(|sample| sample.label("instance")) {
            self.complain(format!("{host} was held to be down"));
        }
        books.values().map(|books| books.outstanding).sum()
    }

    fn note_panic(&mut self, process: &Process) {
        if process.log().contains("panicked") {
            self.complain(process.show_log());
        }
    }

    fn complain(&mut self, complaint: String) {
        if !self.complaints.contains(&complaint) {
            self.complaints.push(complaint);
        }
    }
}

/// The books of the lives that the clients are in, added up.
#[derive(Default)]
pub(super) struct Sums {
    /// What the clients said was their newest report.
    pub(super) said: u64,
    pub(super) sequence: u64,
    pub(super) baseline: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) outstanding: u64,
}

impl Sums {
    /// The books on `page`, if those of every host in `said` reach up to its newest report and nothing is outstanding.
    ///
    /// # Errors
    /// Whose books are not so far.
    pub(super) fn of(page: &Page, said: &BTreeMap<String, u64>) -> Result<Self> {
        let books = books(page);
        let mut sums = Self::default();
        for (host, said) in said {
            let books = books.get(host.as_str()).with_context(|| format!("no books of {host}"))?;
            ensure!(books.balance(), "the books of {host} do not balance: {books:?}");
            ensure!(books.sequence >= *said, "{host} says that it has made report {said}: {books:?}");
            ensure!(books.outstanding == 0, "reports of {host} are outstanding: {books:?}");
            sums.said += said;
            sums.sequence += books.sequence;
            sums.baseline += books.baseline;
            sums.received += books.received;
            sums.lost += books.lost;
        }
        Ok(sums)
    }
}

/// The books of one host's current epoch.
#[derive(Debug, Default)]
struct Books {
    sequence: u64,
    baseline: u64,
    received: u64,
    lost: u64,
    outstanding: u64,
}

impl Books {
    fn balance(&self) -> bool {
        self.sequence == self.baseline + self.received + self.lost + self.outstanding
    }
}

fn books(page: &Page) -> BTreeMap<&str, Books> {
    let mut all: BTreeMap<&str, Books> = BTreeMap::new();
    for sample in &page.samples {
        let field: fn(&mut Books) -> &mut u64 = match sample.name.as_str() {
            "hostwatch_host_report_sequence" => |books| &mut books.sequence,
            "hostwatch_host_reports_baseline" => |books| &mut books.baseline,
            "hostwatch_host_reports_received" => |books| &mut books.received,
            "hostwatch_host_reports_lost" => |books| &mut books.lost,
            "hostwatch_host_reports_outstanding" => |books| &mut books.outstanding,
            _ => continue,
        };
        if let Some(host) = sample.label("instance") {
            *field(all.entry(host).or_default()) = sample.value as u64;
        }
    }
    all
}

fn by_host<'a>(page: &'a Page, name: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
    page.series(name).filter_map(|sample| Some((sample.label("instance")?, sample.value as u64)))
}
