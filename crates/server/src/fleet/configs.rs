//! Revisions, and the keys that hold every host's configuration.

use hostwatch_wire::{HostId, Revision, ServerId};
use tracing::{info, warn};

use super::difference::{Change, difference};
use super::host::Host;
use super::life::State;
use super::{Effect, Fleet, MAX_HOSTS, Timing};
use crate::clock::Now;
use crate::inventory::{Inventory, Labels};
use crate::judge::{Observation, StormSettings};

/// The largest number that the wire carries.
const MAX_NUMBER: u64 = 1 << 53;

/// A configuration key that was found in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundKey {
    /// Whose.
    pub host: HostId,
    /// Who wrote it, and which revision; nothing when the value is no configuration.
    pub config: Option<(ServerId, Revision)>,
}

impl Fleet {
    /// Every configuration key was read after a connect: settles revisions against them, writes all keys anew, deletes
    /// those of hosts that are not known, and announces this server to everybody.
    pub(crate) fn on_keys(&mut self, found: Vec<FoundKey>, now: Now) {
        for host in self.hosts.values_mut() {
            host.contested = false;
        }
        self.summary.config_conflict = false;
        for key in found {
            self.settle_against(key, now);
        }
        for host in self.hosts.values_mut() {
            host.revision_settled = true;
            if host.contested {
                continue;
            }
            self.effects.extend(host.config().map(|config| Effect::Retain(host.id.clone(), config)));
        }
        self.announce_to_all();
        self.summary.synchronized = true;
        let all: Vec<HostId> = self.hosts.keys().cloned().collect();
        all.iter().for_each(|id| self.mark(id));
        let contested = self.hosts.values().filter(|host| host.contested).count();
        if self.summary.config_conflict {
            warn!("another server writes configuration keys, {contested} of them of our hosts; they are left alone");
        }
    }

    fn settle_against(&mut self, key: FoundKey, now: Now) {
        let server = self.identity.server;
        if !self.hosts.contains_key(&key.host) {
            // A host that matched, and that the state directory does not know.
            let planned = self.inventory.plan(&key.host, &Labels::new());
            if planned.is_some() && self.hosts.len() < MAX_HOSTS {
                let host = Host::new(key.host.clone(), State::Stale, now.wall_ms, self.timing.ack_interval, now);
                self.insert(host);
                self.adopt(&key.host, planned, now);
            }
        }
        let Some(host) = self.hosts.get_mut(&key.host).filter(|host| host.is_known()) else {
            return self.settle_stray(key);
        };
        let (Some(ours), Some((writer, theirs))) = (host.revision, key.config) else { return };
        if theirs.content == ours.content {
            // Unchanged content keeps its revision.
            if !host.revision_settled || theirs.number > ours.number {
                host.revision = Some(theirs);
            }
        } else if theirs.number >= ours.number {
            if writer == server {
                host.settle_revision(theirs.number, now);
            } else {
                host.contested = true;
                self.summary.config_conflict = true;
            }
        }
    }

    /// A key of a host that nobody wants here: it goes when we wrote it, unless the host may still claim to be wanted.
    fn settle_stray(&mut self, key: FoundKey) {
        match key.config {
            Some((writer, _)) if writer != self.identity.server => self.summary.config_conflict = true,
            Some(_) if !self.inventory.trusts_labels() => self.effects.push(Effect::Forget(key.host)),
            _ => {}
        }
    }

    /// A host said hello with `in_force`: sends the configuration if it is another one.
    pub(super) fn reconcile(&mut self, id: &HostId, in_force: Option<Revision>, now: Now) {
        let Some(host) = self.hosts.get_mut(id).filter(|host| !host.contested) else { return };
        let Some(ours) = host.revision else { return };
        match in_force {
            Some(theirs) if theirs == ours => return,
            Some(theirs) if theirs.content == ours.content => {
                host.revision = Some(Revision { number: theirs.number.max(ours.number), ..ours });
            }
            Some(theirs) => host.settle_revision(theirs.number, now),
            None => {}
        }
        self.retain(id);
    }

    /// Puts an inventory in force: only hosts that it changes something for hear of it.
    pub(crate) fn apply(&mut self, inventory: Inventory, timing: Timing, now: Now) {
        let timing_changed = self.timing != timing;
        self.timing = timing;
        let watched = self.hosts.values().map(|host| (&host.id, &*host.claimed, host.origin, host.plan.as_deref()));
        let changes = difference(watched, &inventory);
        let (silent_percent, down_after) = (self.timing.silent_percent, self.timing.down_after);
        self.observations.push(Observation::Storm(StormSettings { silent_percent, down_after }));
        self.observations.push(Observation::Rules(inventory.fleet_rules().to_vec()));
        self.inventory = inventory;
        let (mut added, mut removed, mut configured) = (0, 0, 0);
        for (id, change) in changes {
            match change {
                Change::Removed => {
                    removed += 1;
                    self.remove(&id);
                }
                Change::Added(origin, plan) => {
                    added += 1;
                    if !self.hosts.contains_key(&id) {
                        self.insert(Host::new(id.clone(), State::Stale, now.wall_ms, self.timing.ack_interval, now));
                    }
                    self.adopt(&id, Some((origin, plan)), now);
                    self.retain(&id);
                    self.announce_to(&id);
                }
                Change::Replanned(origin, plan) => {
                    let before = self.hosts.get(&id).and_then(|host| host.revision);
                    self.adopt(&id, Some((origin, plan)), now);
                    if self.hosts.get(&id).and_then(|host| host.revision) != before {
                        configured += 1;
                        self.retain(&id);
                    }
                }
            }
        }
        if timing_changed {
            let interval = self.timing.ack_interval;
            for host in self.hosts.values_mut() {
                host.next_ack = host.next_ack.min(now.monotonic + interval.mul_f64(rand::random()));
            }
            self.announce_to_all();
        }
        let hosts = self.hosts.len();
        info!(
            "inventory in force: {hosts} hosts, of which {added} are new and {configured} have other work; {removed} are gone"
        );
    }

    /// Before the keys were read nothing is written: after that they all are.
    fn retain(&mut self, id: &HostId) {
        let synchronized = self.summary.synchronized;
        let host = self.hosts.get(id).filter(|host| synchronized && !host.contested);
        self.effects.extend(host.and_then(Host::config).map(|config| Effect::Retain(id.clone(), config)));
    }
}

impl Host {
    /// Gives the plan a revision: unchanged content keeps its own, unless a number up to `taken` is in use for other
    /// content.
    pub(super) fn settle_revision(&mut self, taken: u64, now: Now) {
        let Some(plan) = &self.plan else {
            self.revision = None;
            return;
        };
        let before = self.revision;
        if let Some(revision) = before
            && revision.content == plan.content
            && revision.number > taken
        {
            return;
        }
        let newest = before.map_or(0, |revision| revision.number).max(taken);
        let number = now.wall_ms.max(newest.saturating_add(1)).min(MAX_NUMBER);
        self.revision = Some(Revision { number, content: plan.content });
        self.revision_since = now.monotonic;
    }
}
