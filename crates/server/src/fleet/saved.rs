//! What of the fleet survives a restart of the server.

use hostwatch_wire::{Applied, Epoch, Facts, HostId, Revision};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::host::Host;
use super::ledger::Ledger;
use super::life::State;
use super::tracking::Track;
use super::{Fleet, no_refusals};
use crate::clock::Now;
use crate::inventory::{Inventory, Labels};

/// The fleet, as it stands in the state directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    hosts: Vec<SavedHost>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SavedHost {
    id: HostId,
    state: State,
    state_since_ms: u64,
    revision: Option<Revision>,
    applied: Option<Applied>,
    claimed: Labels,
    facts: Option<Facts>,
    client_version: Option<String>,
    current: Option<Epoch>,
    superseded: Vec<Epoch>,
    tracks: Vec<(Epoch, Track)>,
    last_report_ms: Option<u64>,
}

impl Fleet {
    /// What is to be written to the state directory. Hosts that nobody configured are not worth a line.
    #[must_use]
    pub(crate) fn save(&self) -> Saved {
        let mut hosts: Vec<SavedHost> =
            self.hosts.values().filter(|host| host.is_known()).map(SavedHost::from).collect();
        hosts.sort_by(|a, b| a.id.cmp(&b.id));
        Saved { hosts }
    }

    /// Enters the saved hosts that `inventory` still knows.
    pub(super) fn restore(&mut self, saved: Saved, inventory: &Inventory, now: Now) {
        self.summary.refused = no_refusals();
        for saved in saved.hosts {
            let planned = inventory.plan(&saved.id, &saved.claimed);
            if planned.is_none() {
                continue;
            }
            let id = saved.id.clone();
            let host = saved.restore(self.timing.ack_interval, now);
            self.insert(host);
            self.adopt(&id, planned, now);
        }
    }
}

impl From<&Host> for SavedHost {
    fn from(host: &Host) -> Self {
        Self {
            id: host.id.clone(),
            state: host.pulse.state(),
            state_since_ms: host.pulse.state_since_ms(),
            revision: host.revision,
            applied: host.applied.as_deref().cloned(),
            claimed: (*host.claimed).clone(),
            facts: host.facts.as_deref().cloned(),
            client_version: host.client_version.as_deref().map(str::to_owned),
            current: host.current,
            superseded: host.superseded.clone(),
            tracks: host.ledger.tracks(),
            last_report_ms: host.last_report_ms,
        }
    }
}

impl SavedHost {
    fn restore(self, ack_interval: std::time::Duration, now: Now) -> Host {
        // Whether a host that was up still is has to be heard first.
        let (state, since) = match self.state {
            State::Down | State::Left => (self.state, self.state_since_ms),
            _ => (State::Stale, now.wall_ms),
        };
        let mut host = Host::new(self.id, state, since, ack_interval, now);
        host.revision = self.revision;
        host.applied = self.applied.map(Arc::new);
        host.claimed = Arc::new(self.claimed);
        host.facts = self.facts.map(Arc::new);
        host.client_version = self.client_version.map(Into::into);
        host.current = self.current;
        host.superseded = self.superseded;
        host.ledger = Ledger::restored(self.current, self.tracks, now);
        host.last_report_ms = self.last_report_ms;
        host
    }
}
