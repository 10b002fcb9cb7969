//! A fleet that reports every second through faults that follow each other: whatever a ring could hold has to arrive.
//!
//! The server and one client are processes of their own. The other clients are the client daemon as well, each a task of this
//! process. Which fault comes when is drawn from a seed.

mod crowd;
mod faults;
mod ledger;
mod rig;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use hostwatch_testkit::eventually_every;
use rand::SeedableRng;
use rand::rngs::StdRng;

use faults::Deck;
use ledger::{Ledger, Sums};
use rig::Rig;

/// From one fault to the next.
const PERIOD: Duration = Duration::from_secs(20);
/// How often somebody looks whether it is time.
const LOOK: Duration = Duration::from_millis(100);
/// So long after the last fault may reports be outstanding.
const SETTLE: Duration = Duration::from_secs(180);

/// How long, how many, and which faults.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long there are faults.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// How many clients there are beside the one that is a process of its own.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    hosts: u32,
    /// What the faults are drawn from [default: another one each time, which is printed].
    #[arg(long)]
    seed: Option<u64>,
}

impl Soak {
    /// Runs to the end, and prints what came of it.
    ///
    /// # Errors
    /// When a report was lost or is outstanding, a daemon ended by itself or panicked, or a host was held to be down.
    pub(super) fn run(&self) -> Result<()> {
        let seed = self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        let mut rig = Rig::start(self.hosts)?;
        println!(
            "seed {seed}: {} clients in this process and one of its own report every second, with a fault every {} s",
            self.hosts,
            PERIOD.as_secs()
        );
        let mut deck = Deck::new(StdRng::seed_from_u64(seed));
        let start = Instant::now();
        let rounds = (self.minutes * 60 / PERIOD.as_secs()) as u32;
        for round in 1..=rounds {
            wait_until(start + PERIOD * round)?;
            let outstanding = rig.look()?;
            let fault = deck.draw();
            let elapsed = start.elapsed().as_secs();
            println!("{:4}:{:02}  {fault} ({outstanding} reports outstanding before)", elapsed / 60, elapsed % 60);
            rig.suffer(fault)?;
        }
        let over = Instant::now();
        let said = rig.newest_reports()?;
        let sums = settle(&mut rig, &said)?;
        println!("whole {} s after the last fault", over.elapsed().as_secs());
        let ledger = rig.finish()?;
        print(&ledger, &sums);
        judge(&ledger)
    }
}

/// Waits until every report that was made while there were faults is settled: received, or known to be lost.
fn settle(rig: &mut Rig, said: &BTreeMap<String, u64>) -> Result<Sums> {
    eventually_every(Duration::from_secs(1), "nothing is outstanding", SETTLE, || {
        rig.look()?;
        Sums::of(&rig.server.page()?, said)
    })
}

fn print(ledger: &Ledger, sums: &Sums) {
    let counted = &ledger.counts;
    println!("reports of the lives that the clients are in now:");
    println!("  sent         {:9}  the newest number of each client, by its own status", sums.said);
    println!("  numbered     {:9}  the same, by the server's books, a little later", sums.sequence);
    println!("  received     {:9}  by these books, each once", sums.received);
    println!("  lost         {:9}  by these books", sums.lost);
    println!("  outstanding  {:9}", sums.outstanding);
    println!("  baseline     {:9}  numbers that the books left out when they were opened", sums.baseline);
    println!(
        "by the counters of all {} lives of the server, each read before its end (what came between that and a kill is not in them):",
        ledger.server_lives
    );
    println!(
        "  received     {:9}  a killed server's successor receives again what was not acknowledged",
        counted.received
    );
    println!("  lost         {:9}  earlier lives of the restarted client included", counted.lost);
    println!("  duplicates   {:9}  dropped", counted.duplicate);
    println!("  resent       {:9}  that filled a gap, or a history after a restart", counted.resent);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "peak memory of any life: server {:.1} MiB, client {:.1} MiB ({} lives)",
        mib(ledger.server_peak),
        mib(ledger.client_peak),
        ledger.client_lives
    );
}

fn judge(ledger: &Ledger) -> Result<()> {
    let losers: Vec<String> = ledger.losers.iter().map(|(host, lost)| format!("{lost} of {host}")).collect();
    ensure!(losers.is_empty(), "reports were lost: {}", losers.join(", "));
    if !ledger.complaints.is_empty() {
        bail!("{}", ledger.complaints.join("\n"));
    }
    Ok(())
}

fn wait_until(due: Instant) -> Result<()> {
    let patience = due.saturating_duration_since(Instant::now()) * 2 + PERIOD;
    eventually_every(LOOK, "the time of the next fault", patience, || {
        ensure!(Instant::now() >= due, "it has not come");
        Ok(())
    })
}
