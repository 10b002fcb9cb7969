//! Joining: hello, and what answers it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hostwatch_wire::{
    Applied, ClaimedValue, Epoch, Hello, HostId, ServerBody, ServiceName, Welcome, is_label_name, is_reserved_label,
};
use tracing::{debug, info, warn};

use super::host::Host;
use super::life::State;
use super::{Effect, Fleet, MAX_HOSTS, MAX_PENDING, Refused};
use crate::clock::Now;
use crate::directory::Rival;
use crate::inventory::{Labels, Origin, Plan};

/// Hosts that may join in a second whom nobody has heard of; the others say hello again.
pub(super) const RATE: f64 = 500.0;
/// …and after a while without any.
pub(super) const AT_ONCE: f64 = 5_000.0;
/// So many epochs that were current once are remembered, to notice when one speaks again.
const MAX_SUPERSEDED: usize = 8;

impl Fleet {
    pub(super) fn on_hello(&mut self, id: HostId, epoch: Epoch, hello: Hello, now: Now) -> Result<(), Refused> {
        let claimed = self.claims(hello.labels);
        let planned = self.inventory.plan(&id, &claimed);
        if !self.hosts.contains_key(&id) {
            self.check_space(planned.is_some())?;
            if !self.joins.take(1, now) {
                return Err(Refused::because("join_rate", &"too many hosts join at once; it may try again"));
            }
            let state = if planned.is_some() { State::Stale } else { State::Pending };
            if let Some(others) = self.log_limit.allow("joined", now.monotonic) {
                info!(host = %id, "a new host joined: {id}, now {}; {others} others since the last such line", state.as_str());
            }
            self.insert(Host::new(id.clone(), state, now.wall_ms, self.timing.ack_interval, now));
        }
        let server = self.identity.server;
        let conflict_for = 2 * self.timing.ack_interval + Duration::from_secs(15);
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let before = host.client();
        host.claimed = Arc::new(claimed);
        host.facts = Some(Arc::new(hello.facts));
        host.client_version = Some(hello.client_version.into());
        host.clock.greeted(epoch, hello.sent_at_ms, now);
        if host.begin_epoch(epoch) == Beginning::Revived {
            host.rivals = before.zip(host.client()).map(|(before, again)| Arc::new([before, again]));
            if let Some([one, other]) = host.rivals.as_deref().filter(|_| !host.pulse.is_in_conflict(now)) {
                warn!(host = %id, "two clients say that they are {id}: {one}; and {other}");
            }
            host.pulse.conflict_until(now.monotonic + conflict_for);
        }
        host.pulse.greeted(now);
        // Of a host that nobody listens to nothing can come, and nothing is lost.
        if planned.is_some() {
            host.ledger.greet(epoch, &hello.ring, server, now);
        }
        self.adopt(&id, planned, now);
        let wants_past = self.wants_past(&id);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.repair.begin(&hello.ring, wants_past, now);
        }
        self.reconcile(&id, hello.revision, now);
        self.welcome(&id, Some(epoch));
        self.changed_now(&id, now);
        Ok(())
    }

    /// Refuses a new host when there are too many.
    fn check_space(&self, planned: bool) -> Result<(), Refused> {
        if self.hosts.len() >= MAX_HOSTS {
            return Err(Refused::because("no_space", &"there are too many hosts"));
        }
        if !planned && self.hosts.values().filter(|host| !host.is_known()).count() >= MAX_PENDING {
            return Err(Refused::because("no_space", &"too many hosts wait to be configured"));
        }
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

    pub(super) fn on_applied(
        &mut self,
        id: &HostId,
        epoch: Epoch,
        mut applied: Applied,
        now: Now,
    ) -> Result<(), Refused> {
        let host = self.known_host(id)?;
        if host.current != Some(epoch) {
            return Ok(());
        }
        // One reason for each service that is wanted: everything else would only fill the page.
        let plan = host.plan.clone();
        let wanted = |service: &ServiceName| plan.as_ref().is_some_and(|plan| plan.service(service.as_str()).is_some());
        let mut seen = HashSet::new();
        applied.refused.retain(|refusal| wanted(&refusal.service) && seen.insert(refusal.service.clone()));
        debug!("{id} has applied {}; it refuses {} services", applied.revision, applied.refused.len());
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
        // Whoever is not listened to is not told that he is.
        let Some(host) = self.hosts.get(id).filter(|host| host.muted_until.is_none()) else { return };
        let welcome = Welcome {
            answers,
            revision: host.revision,
            known: host.ledger.known(),
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
            (Some(_), None) => {
                self.effects.push(Effect::Ignore(id.clone()));
                self.effects.extend((!host.contested).then(|| Effect::Forget(id.clone())));
            }
            _ => {}
        }
        host.origin = origin;
        let given = plan.iter().flat_map(|plan| plan.labels.iter());
        let claimed = host.claimed.iter();
        host.labels = Arc::new(claimed.chain(given).map(|(name, value)| (name.clone(), value.clone())).collect());
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
    /// The client that said hello last.
    fn client(&self) -> Option<Rival> {
        let version = Arc::clone(self.client_version.as_ref()?);
        Some(Rival { epoch: self.current?, version, facts: Arc::clone(self.facts.as_ref()?) })
    }

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
