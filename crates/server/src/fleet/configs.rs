//! Revisions, and the keys that hold every host's configuration.

use hostwatch_wire::{HostId, Revision, ServerId};
use tracing::{info, warn};

use super::difference::{Change, difference};
use super::host::Host;
use super::life::State;
use super::{Effect, Fleet, Timing};
use crate::clock::Now;
use crate::inventory::Inventory;

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
        self.changed.extend(self.hosts.keys().cloned());
    }

    fn settle_against(&mut self, key: FoundKey, now: Now) {
        let server = self.identity.server;
        if !self.hosts.contains_key(&key.host) {
            // A host that matched, and that the state directory does not know.
            match self.inventory.plan(&key.host, &Default::default()) {
                None => return self.effects.push(Effect::Forget(key.host)),
                planned => {
                    let host = Host::new(key.host.clone(), State::Stale, now.wall_ms, self.timing.ack_interval, now);
                    self.insert(host);
                    self.adopt(&key.host, planned, now);
                }
            }
        }
        let Some(host) = self.hosts.get_mut(&key.host) else { return };
        let (Some(ours), Some((writer, theirs))) = (host.revision, key.config) else {
            if !host.is_known() {
                self.effects.push(Effect::Forget(key.host));
            }
            return;
        };
        if theirs.content == ours.content {
            // Unchanged content keeps its revision.
            if !host.revision_settled || theirs.number > ours.number {
                host.revision = Some(theirs);
            }
        } else if theirs.number >= ours.number {
            if writer == server {
                host.settle_revision(theirs.number, now);
            } else {
                warn!(host = %key.host, %writer, revision = %theirs, "another server configures this host; its key is left alone");
                host.contested = true;
                self.summary.config_conflict = true;
            }
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
        self.effects.extend(host.config().map(|config| Effect::Retain(host.id.clone(), config)));
    }

    /// Puts an inventory in force: only hosts that it changes something for hear of it.
    pub(crate) fn apply(&mut self, inventory: Inventory, timing: Timing, now: Now) {
        let timing_changed = self.timing != timing;
        self.timing = timing;
        let watched = self.hosts.values().map(|host| (&host.id, &*host.claimed, host.origin, host.plan.as_deref()));
        let changes = difference(watched, &inventory);
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
            self.announce_to_all();
        }
        info!(added, removed, configured, hosts = self.hosts.len(), "inventory in force");
    }

    fn retain(&mut self, id: &HostId) {
        let host = self.hosts.get(id).filter(|host| !host.contested);
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
    }
}
