//! Joining: hello, and what answers it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::{
    Applied, ClaimedValue, Epoch, Hello, HostId, ServerBody, Welcome, is_label_name, is_reserved_label,
};
use tracing::{info, warn};

use super::host::Host;
use super::life::State;
use super::{Effect, Fleet, MAX_PENDING, Refused};
use crate::clock::Now;
use crate::inventory::{Labels, Origin, Plan};

/// So many epochs that were current once are remembered, to notice when one speaks again.
const MAX_SUPERSEDED: usize = 8;

impl Fleet {
    pub(super) fn on_hello(&mut self, id: HostId, epoch: Epoch, hello: Hello, now: Now) -> Result<(), Refused> {
        let claimed = self.claims(hello.labels);
        let planned = self.inventory.plan(&id, &claimed);
        if !self.hosts.contains_key(&id) {
            let pending = self.hosts.values().filter(|host| !host.is_known()).count();
            if planned.is_none() && pending >= MAX_PENDING {
                return Err(Refused::because("no_space", &"too many hosts wait to be configured"));
            }
            let state = if planned.is_some() { State::Stale } else { State::Pending };
            info!(host = %id, state = state.as_str(), "a new host joined");
            self.insert(Host::new(id.clone(), state, now.wall_ms, self.timing.ack_interval, now));
        }
        let server = self.identity.server;
        let conflict_for = 2 * self.timing.ack_interval + Duration::from_secs(15);
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        host.claimed = Arc::new(claimed);
        host.facts = Some(Arc::new(hello.facts));
        host.client_version = Some(hello.client_version.into());
        host.clock_skew_seconds = Some((hello.sent_at_ms as f64 - now.wall_ms as f64) / 1_000.0);
        if host.begin_epoch(epoch) == Beginning::Revived {
            warn!(host = %id, %epoch, "two clients with this host id are alive at once");
            host.pulse.conflict_until(now.monotonic + conflict_for);
        }
        host.pulse.greeted(now);
        for range in &hello.ring {
            let baseline = range.acked.iter().find(|acked| acked.server == server).map_or(0, |acked| acked.up_to);
            host.track(range.epoch, baseline.min(range.last)).announce(range.first, range.last);
        }
        host.track(epoch, 0);
        let held = |epoch: &Epoch| hello.ring.iter().any(|range| range.epoch == *epoch);
        for (known, track) in &mut host.tracks {
            // What no ring holds any more cannot come.
            if *known != epoch && !held(known) {
                track.close();
            }
        }
        self.adopt(&id, planned, now);
        self.reconcile(&id, hello.revision, now);
        self.welcome(&id, Some(epoch));
        self.changed_now(&id, now);
        Ok(())
    }

    /// What a host may claim of itself.
    fn claims(&mut self, labels: BTreeMap<String, ClaimedValue>) -> Labels {
        let (valid, refused): (Labels, Labels) = labels
            .into_iter()
            .map(|(name, value)| (name, value.0))
            .partition(|(name, _)| is_label_name(name) && !is_reserved_label(name));
        *self.summary.refused.entry("label").or_default() += refused.len() as u64;
        valid
    }

    pub(super) fn on_applied(&mut self, id: &HostId, epoch: Epoch, applied: Applied, now: Now) -> Result<(), Refused> {
        let host = self.known_host(id)?;
        if host.current != Some(epoch) {
            return Ok(());
        }
        if host.applied.as_deref() != Some(&applied) {
            let refused: Vec<_> = applied.refused.iter().map(|refusal| refusal.service.as_str()).collect();
            info!(host = %id, revision = %applied.revision, ?refused, "configuration applied");
        }
        host.applied = Some(Arc::new(applied));
        host.pulse.heard(now);
        self.changed_now(id, now);
        Ok(())
    }

    /// Tells a host that this life of the server is here, so that it says hello.
    pub(super) fn announce_to(&mut self, id: &HostId) {
        self.welcome(id, None);
    }

    /// Tells every known host.
    pub(super) fn announce_to_all(&mut self) {
        let known: Vec<HostId> =
            self.hosts.values().filter(|host| host.is_known()).map(|host| host.id.clone()).collect();
        for id in known {
            self.announce_to(&id);
        }
    }

    fn welcome(&mut self, id: &HostId, answers: Option<Epoch>) {
        let Some(host) = self.hosts.get(id) else { return };
        let welcome = Welcome {
            answers,
            revision: host.revision,
            known: host.known(),
            heartbeat_ms: self.timing.heartbeat.as_millis() as u64,
            ack_interval_ms: self.timing.ack_interval.as_millis() as u64,
        };
        self.effects.push(Effect::Say(id.clone(), ServerBody::Welcome(welcome)));
    }

    /// Gives the host what is planned for it, or nothing; from now on it is listened to, or no longer.
    pub(super) fn adopt(&mut self, id: &HostId, planned: Option<(Origin, Arc<Plan>)>, now: Now) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        let (origin, plan) = planned.unzip();
        match (host.origin, origin) {
            (None, Some(_)) => self.effects.push(Effect::Listen(id.clone())),
            (Some(_), None) => self.effects.extend([Effect::Ignore(id.clone()), Effect::Forget(id.clone())]),
            _ => {}
        }
        host.origin = origin;
        host.plan = plan;
        host.drop_unplanned_services();
        host.settle_revision(0, now);
        self.changed_now(id, now);
    }
}

/// What the epoch of a hello turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    Same,
    New,
    /// One that another epoch had followed.
    Revived,
}

impl Host {
    /// Makes `epoch` the current one.
    fn begin_epoch(&mut self, epoch: Epoch) -> Beginning {
        if self.current == Some(epoch) {
            return Beginning::Same;
        }
        let revived = self.superseded.contains(&epoch);
        self.superseded.retain(|old| *old != epoch);
        self.superseded.extend(self.current.replace(epoch));
        if self.superseded.len() > MAX_SUPERSEDED {
            self.superseded.remove(0);
        }
        if revived { Beginning::Revived } else { Beginning::New }
    }
}
