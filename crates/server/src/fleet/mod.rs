//! The fleet: every host with its books, its life and its newest values. One task owns it; nothing here waits.
//!
//! Events come in as calls with the time of the event. What has to be said or written in consequence goes out as
//! [`Effect`]s, and what readers see goes to the [`Directory`].

mod budget;
mod configs;
mod difference;
mod floods;
mod host;
mod host_clock;
mod join;
mod ledger;
mod life;
mod repair;
mod reports;
mod saved;
#[cfg(test)]
mod tests;
mod tracking;

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostwatch_daemon::OncePerMinute;
use hostwatch_wire::{
    Channel, DecodeError, HostBody, HostConfig, HostId, HostMessage, Life, Names, ServerBody, ServerId,
};
use tracing::warn;

pub(crate) use configs::FoundKey;
pub(crate) use ledger::Totals;
pub(crate) use life::State;
pub(crate) use saved::Saved;

use crate::clock::Now;
use crate::directory::{Directory, Faults, Summary};
use crate::inventory::Inventory;
use crate::judge::Observation;
use crate::layouts::Layouts;
use budget::Budget;
use host::Host;

/// The most hosts that may wait for somebody to configure them.
const MAX_PENDING: usize = 10_000;
/// So many ids of which only bad things are known are remembered.
const MAX_STRANGERS: usize = 1_000;
/// So many heartbeats may be missed before a host counts as stale.
const MISSED_HEARTBEATS: u32 = 3;
/// The most hosts in all: the ids that an unguarded Redis lets anybody make up are not without end.
const MAX_HOSTS: usize = 100_000;

/// Who this server is, and in which life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Lasting: kept in the state directory.
    pub server: ServerId,
    /// This process.
    pub life: Life,
}

/// How long things may take, and how many hosts may fall silent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The longest time between two reports of a host.
    pub heartbeat: Duration,
    /// After so much silence a host is down.
    pub down_after: Duration,
    /// So long a goodbye is believed of a host that a file names.
    pub left_grace: Duration,
    /// After so long a host that only matched is forgotten.
    pub forget_after: Duration,
    /// The time between two acknowledgements.
    pub ack_interval: Duration,
    /// When this share of the hosts falls silent at once, in percent, that is one alert and not one for each.
    pub silent_percent: u8,
}

impl Timing {
    /// Whoever says nothing for so long does not live as far as anybody knows.
    fn silence(&self) -> Duration {
        MISSED_HEARTBEATS * self.heartbeat
    }
}

/// What has to be done in consequence of an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Subscribe to the host's reports, before anything further is said to it.
    Listen(HostId),
    /// Unsubscribe from the host's reports.
    Ignore(HostId),
    /// Say something to the host.
    Say(HostId, ServerBody),
    /// Write the host's configuration to its key and announce it.
    Retain(HostId, HostConfig),
    /// Delete the host's configuration key.
    Forget(HostId),
}

/// See the module.
pub(crate) struct Fleet {
    names: Names,
    identity: Identity,
    timing: Timing,
    inventory: Inventory,
    hosts: HashMap<HostId, Host>,
    layouts: Layouts,
    directory: Arc<Directory>,
    summary: Summary,
    /// Since when reports can reach us; none while the link is away.
    connected_since: Option<Instant>,
    effects: Vec<Effect>,
    observations: Vec<Observation>,
    /// Hosts whose snapshot is out of date.
    changed: Vec<HostId>,
    /// Whether hosts came or went since the directory was told.
    members_changed: bool,
    log_limit: OncePerMinute<&'static str>,
    /// Reports that the fleet may be asked for.
    budget: Budget,
    /// Hosts that may join whom no file names.
    joins: Budget,
}

impl Fleet {
    /// The fleet as it was saved, with every host that the inventory names.
    #[must_use]
    pub(crate) fn new(
        names: Names,
        identity: Identity,
        timing: Timing,
        inventory: Inventory,
        saved: Saved,
        directory: Arc<Directory>,
        now: Now,
    ) -> Self {
        let mut fleet = Self {
            names,
            identity,
            timing,
            inventory: Inventory::default(),
            hosts: HashMap::new(),
            layouts: Layouts::default(),
            directory,
            summary: Summary::default(),
            connected_since: None,
            effects: Vec::new(),
            observations: Vec::new(),
            changed: Vec::new(),
            members_changed: true,
            log_limit: OncePerMinute::default(),
            budget: Budget::new(repair::RATE, repair::RATE, now),
            joins: Budget::new(join::RATE, join::AT_ONCE, now),
        };
        fleet.restore(saved, &inventory, now);
        fleet.apply(inventory, fleet.timing.clone(), now);
        fleet
    }

    /// The hosts whose reports are listened to.
    pub(crate) fn known_hosts(&self) -> impl Iterator<Item = &HostId> {
        self.hosts.values().filter(|host| host.is_known()).map(|host| &host.id)
    }

    /// A message has arrived. Whatever is wrong with it, it is counted and dropped.
    pub(crate) fn on_message(&mut self, channel: &str, payload: &[u8], now: Now) {
        if let Err(refusal) = self.handle(channel, payload, now) {
            self.refuse(&refusal, channel, now);
        }
    }

    fn handle(&mut self, channel: &str, payload: &[u8], now: Now) -> Result<(), Refused> {
        let (speaker, kind) = self.names.parse(channel).ok_or(Refused::new("wrong_channel"))?;
        let message = HostMessage::decode(payload)?;
        if message.host.as_str() != speaker {
            return Err(Refused::because("wrong_host", &format!("it says that it is from {}", message.host)));
        }
        let HostMessage { host, epoch, body } = message;
        match (kind, body) {
            (Channel::Join, HostBody::Hello(hello)) => self.on_hello(host, epoch, *hello, now),
            (Channel::Reports, HostBody::Report(report)) => self.on_report(&host, epoch, &report, payload, now),
            (Channel::Reports, HostBody::Layouts(layouts)) => self.on_layouts(&host, &layouts, now),
            (Channel::Reports, HostBody::Applied(applied)) => self.on_applied(&host, epoch, applied, now),
            (Channel::Reports, HostBody::Gone(gone)) => self.on_gone(&host, epoch, gone, now),
            (Channel::Reports, HostBody::Goodbye(goodbye)) => self.on_goodbye(&host, epoch, goodbye, now),
            (Channel::Join, _) | (Channel::Reports, HostBody::Hello(_)) => Err(Refused::new("wrong_channel")),
        }
    }

    /// The link to Redis is there, and every subscription confirmed.
    pub(crate) fn on_connected(&mut self, since: Instant) {
        self.connected_since = Some(since);
        self.observations.push(Observation::Link(true));
        self.summary.synchronized = false;
    }

    /// The link to Redis is away.
    pub(crate) fn on_disconnected(&mut self) {
        self.connected_since = None;
        self.observations.push(Observation::Link(false));
        self.summary.synchronized = false;
    }

    /// Time has passed: judges who lives, takes old series off the page, acknowledges.
    pub(crate) fn tick(&mut self, now: Now) {
        let (mut forgotten, mut unmuted) = (Vec::new(), Vec::new());
        for host in self.hosts.values_mut() {
            let settled = host.settle(now);
            if (host.tick(&self.timing, self.connected_since, now) || settled) && !mem::replace(&mut host.dirty, true) {
                self.changed.push(host.id.clone());
            }
            if let Some(ack) = host.due_ack(self.timing.ack_interval, now) {
                self.effects.push(Effect::Say(host.id.clone(), ServerBody::Ack(ack)));
            }
            if host.is_muted_no_longer(now) {
                unmuted.push(host.id.clone());
            }
            if host.is_forgettable(&self.timing, now) {
                forgotten.push(host.id.clone());
            }
        }
        for id in forgotten {
            self.remove(&id);
        }
        for id in unmuted {
            self.unmute(&id, now);
        }
        self.ask_for_missing(now);
    }

    /// Shows readers what has changed.
    pub(crate) fn publish(&mut self) {
        for id in self.changed.drain(..) {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.publish();
                self.observations.extend(host.observe());
            }
        }
        let hosts = mem::take(&mut self.members_changed)
            .then(|| self.hosts.values().map(|host| Arc::clone(&host.entry)).collect());
        let summary = (*self.directory.summary() != self.summary).then(|| self.summary.clone());
        if hosts.is_some() || summary.is_some() {
            self.directory.set(hosts, summary);
        }
    }

    /// What has to be done, in this order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    /// What the judge has to hear of, in this order.
    pub(crate) fn take_observations(&mut self) -> Vec<Observation> {
        mem::take(&mut self.observations)
    }

    /// How often [`Fleet::tick`] has to be called: often enough for the shortest time that is configured.
    #[must_use]
    pub(crate) fn tick_interval(&self) -> Duration {
        let shortest = self.timing.heartbeat.min(self.timing.ack_interval).min(self.timing.down_after);
        (shortest / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    fn insert(&mut self, mut host: Host) {
        let id = host.id.clone();
        host.faults = self.summary.strangers.remove(&id).unwrap_or_default();
        self.members_changed = true;
        self.hosts.insert(id.clone(), host);
        self.mark(&id);
    }

    /// Readers are to see the host as it is now.
    fn mark(&mut self, id: &HostId) {
        if let Some(host) = self.hosts.get_mut(id)
            && !mem::replace(&mut host.dirty, true)
        {
            self.changed.push(id.clone());
        }
    }

    fn remove(&mut self, id: &HostId) {
        let Some(host) = self.hosts.remove(id) else { return };
        self.summary.departed += host.ledger.totals();
        if !host.is_known() && host.faults != Faults::default() {
            *self.stranger(id) = host.faults;
        }
        self.members_changed = true;
        if host.is_known() {
            self.observations.push(Observation::Removed(id.clone()));
            self.effects.push(Effect::Ignore(id.clone()));
            self.effects.extend((!host.contested).then(|| Effect::Forget(id.clone())));
        }
    }

    /// Notes what a host did wrong, or whoever else speaks under this id.
    fn blame(&mut self, id: &HostId, note: impl FnOnce(&mut Faults)) {
        if let Some(host) = self.hosts.get_mut(id) {
            note(&mut host.faults);
            self.mark(id);
        } else {
            note(self.stranger(id));
        }
    }

    /// What is known of somebody who is no host. Where there are too many, the one who did least is forgotten.
    fn stranger(&mut self, id: &HostId) -> &mut Faults {
        let strangers = &mut self.summary.strangers;
        if strangers.len() >= MAX_STRANGERS && !strangers.contains_key(id) {
            let least = strangers.iter().min_by_key(|(_, faults)| faults.flooded.saturating_add(faults.refused));
            let least = least.map(|(id, _)| id.clone());
            least.and_then(|id| strangers.remove(&id));
        }
        strangers.entry(id.clone()).or_default()
    }

    fn refuse(&mut self, refusal: &Refused, channel: &str, now: Now) {
        *self.summary.refused.entry(refusal.reason).or_default() += 1;
        // Only its own account can publish there, so that it is the culprit whatever the message says.
        let speaker = self.names.parse(channel).and_then(|(speaker, _)| speaker.parse::<HostId>().ok());
        if let Some(speaker) = &speaker {
            self.blame(speaker, |faults| faults.refused += 1);
        }
        if let Some(suppressed) = self.log_limit.allow(refusal.reason, now.monotonic) {
            let channel: String = channel.chars().take(200).collect();
            let Refused { reason, detail } = refusal;
            let host = speaker.as_ref().map(tracing::field::display);
            warn!(
                host,
                "a message on {channel:?} was refused ({reason}): {detail}; {suppressed} others for this reason before"
            );
        }
    }
}

/// Why a message was dropped.
#[derive(Debug)]
struct Refused {
    /// The label in `hostwatch_messages_refused_total`.
    reason: &'static str,
    /// What the log says about it.
    detail: String,
}

impl Refused {
    fn new(reason: &'static str) -> Self {
        Self { reason, detail: String::new() }
    }

    fn because(reason: &'static str, detail: &dyn ToString) -> Self {
        Self { reason, detail: detail.to_string() }
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        let reason = match error {
            DecodeError::TooLong(_) => "too_long",
            DecodeError::UnknownVersion(_) => "unknown_version",
            DecodeError::Malformed(_) => "malformed",
        };
        Self::because(reason, &error)
    }
}

/// Every reason for which a message is refused, so that each has a series from the start.
pub(crate) const REFUSAL_REASONS: &[&str] = &[
    "flood",
    "join_rate",
    "label",
    "layout",
    "malformed",
    "no_space",
    "too_long",
    "unknown_host",
    "unknown_version",
    "values",
    "wrong_channel",
    "wrong_host",
];

/// The empty counts of every reason.
pub(crate) fn no_refusals() -> BTreeMap<&'static str, u64> {
    REFUSAL_REASONS.iter().map(|reason| (*reason, 0)).collect()
}
