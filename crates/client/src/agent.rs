//! The client's state and what it does about each event. It never waits: what is to be published goes to the outbox, what
//! is to be written goes to a writer, and the loop around it says what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_bus::InboxSender;
use hostwatch_daemon::OncePerMinute;
use hostwatch_plugins::{Access, Delivery, Ledger, PLUGINS};
use hostwatch_wire::{
    Ack, Applied, ClaimedValue, Epoch, Facts, Goodbye, Hello, HostBody, HostConfig, HostId, Refusal, Resend,
    ServerBody, ServerId, ServerMessage, WantLayout, Welcome,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Moment, wall_millis};
use crate::config_file;
use crate::follower::LinkEvent;
use crate::outbox::{Outbox, Outgoing};
use crate::pool::Pool;
use crate::replies::Replies;
use crate::reporter::{Reporter, encode};
use crate::ring::{Limits, Ring};
use crate::runner::{Budget, Runner};
use crate::session::Session;
use crate::status::{RingStatus, Status};
use crate::ticks::{Batch, Stamp};
use crate::writer::Content;

/// With more refusals than this, each reason is cut to [`SHORT_REASON`] bytes, so that `applied` fits in one message.
const MANY_REFUSALS: usize = 500;
const SHORT_REASON: usize = 256;
/// A heartbeat waits this much longer than it has to: a tick at the same interval comes a little late, and does as well.
const HEARTBEAT_SLACK: Duration = Duration::from_millis(500);

/// What the agent is made from.
pub(crate) struct Parts {
    /// Who the host is.
    pub(crate) host: HostId,
    /// What the host claims of itself.
    pub(crate) labels: BTreeMap<String, String>,
    /// What plugins may touch.
    pub(crate) access: Access,
    /// How many series may be reported.
    pub(crate) budget: Budget,
    /// Its time line.
    pub(crate) clock: Clock,
    /// The ring, with what an earlier process has left, under this life's epoch.
    pub(crate) ring: Ring,
    /// Where runs go.
    pub(crate) pool: Pool,
    /// Where messages go.
    pub(crate) outbox: Outbox,
    /// Where the configuration is saved.
    pub(crate) config_file: watch::Sender<Content>,
    /// Has the configuration key read again.
    pub(crate) read_config_again: Arc<Notify>,
}

/// The client between two events.
pub(crate) struct Agent {
    host: HostId,
    epoch: Epoch,
    labels: BTreeMap<String, String>,
    facts: Facts,
    /// Where plugins learn of the client itself.
    ledger: Arc<Ledger>,
    clock: Clock,
    session: Session,
    ring: Ring,
    reporter: Reporter,
    runner: Runner,
    replies: Replies,
    outbox: Outbox,
    config: Option<HostConfig>,
    refused: Vec<Refusal>,
    config_file: watch::Sender<Content>,
    read_config_again: Arc<Notify>,
    last_report: Moment,
    last_report_ms: Option<u64>,
    goodbye: Option<Farewell>,
    complaints: OncePerMinute<&'static str>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Said,
    Acknowledged,
}

impl Agent {
    /// An agent without a configuration.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { host, labels, access, budget, clock, ring, pool, outbox, config_file, read_config_again } = parts;
        let epoch = ring.current();
        Self {
            epoch,
            labels,
            facts: hostwatch_plugins::facts(&access.roots),
            clock,
            session: Session::new(epoch, StdRng::seed_from_u64(rand::random())),
            ring,
            reporter: Reporter::new(host.clone(), epoch),
            ledger: Arc::clone(&access.ledger),
            runner: Runner::new(&host, PLUGINS, access, budget, pool),
            replies: Replies::default(),
            outbox,
            config: None,
            refused: Vec::new(),
            config_file,
            read_config_again,
            last_report: clock.now(),
            last_report_ms: None,
            goodbye: None,
            complaints: OncePerMinute::new(),
            buffer: Vec::new(),
            host,
        }
    }

    /// When [`Agent::advance`] has something to do.
    #[must_use]
    pub(crate) fn next(&self) -> Moment {
        [self.runner.next(), self.session.next(), self.replies.next()]
            .into_iter()
            .flatten()
            .fold(self.heartbeat_due(), Moment::min)
    }

    /// Does what is due. `inbox` is where commands wait.
    pub(crate) fn advance(&mut self, inbox: &InboxSender) {
        self.ledger.deliver(Delivery {
            ring_reports: self.ring.len(),
            ring_bytes: self.ring.bytes(),
            ring_limit_bytes: self.ring.limits().max_size,
            ring_dropped: self.ring.dropped(),
            outbox_messages: self.outbox.len(),
            outbox_dropped: self.outbox.dropped(),
            runs_waiting: self.runner.waiting(),
            inbox_messages: inbox.len(),
            inbox_dropped: inbox.dropped(),
        });
        let now = self.clock.now();
        self.runner.take_ended(now);
        for batch in self.runner.advance(now, wall_millis()) {
            self.report(batch, now);
        }
        if now >= self.heartbeat_due() {
            self.report(Batch { stamp: self.stamp(), results: Vec::new() }, now);
        }
        self.ring.expire(now);
        if self.session.poll(now) {
            self.say_hello();
        }
        self.reply(now);
    }

    /// Comes when [`Agent::advance`] has to do with runs that have ended.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        self.runner.ended()
    }

    /// Whether the connection to Redis is to be given up for another one.
    pub(crate) fn gives_up_connection(&mut self) -> bool {
        self.session.gives_up(self.outbox.audience(), self.clock.now())
    }

    /// Takes a change of the link.
    pub(crate) fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(config) => {
                self.outbox.hold();
                self.take_key(config);
                self.session.link_up(self.clock.now());
            }
            LinkEvent::Config(config) => self.take_key(config),
            LinkEvent::Down => {
                self.outbox.hold();
                self.session.link_down();
                self.replies.clear();
            }
        }
    }

    /// Takes a message from the commands channel.
    pub(crate) fn hear(&mut self, payload: &[u8]) {
        let now = self.clock.now();
        let message = match ServerMessage::decode(payload) {
            Ok(message) => message,
            Err(error) => return self.complain("message", format_args!("a message of a server is refused: {error}")),
        };
        let ServerMessage { server, life, body } = message;
        let welcome = if let ServerBody::Welcome(welcome) = &body { Some(welcome) } else { None };
        let was_joined = self.session.server() == Some(server);
        let heard = self.session.hear(server, life, welcome, now);
        if heard.new_life {
            self.reporter.forget_layouts();
        }
        match body {
            ServerBody::Welcome(welcome) => {
                if heard.joined && (heard.new_life || !was_joined) {
                    let revision = welcome.revision.map_or("none".to_owned(), |revision| revision.to_string());
                    tracing::info!("joined server {server} (life {life}); its configuration for this host: {revision}");
                }
                self.take_welcome(server, &welcome, heard.joined);
            }
            ServerBody::Config(config) => self.take_config(config, payload, "announced"),
            ServerBody::Ack(ack) => self.take_ack(server, ack, now),
            ServerBody::Resend(resend) => self.take_resend(&resend),
            ServerBody::WantLayout(want) => self.take_want_layout(&want),
        }
    }

    /// Takes the configuration that was saved by an earlier process. There is no link yet, and the welcome will have it told.
    pub(crate) fn start_from(&mut self, config: HostConfig) {
        self.apply(config, "saved on disk");
    }

    /// Puts other labels in force.
    pub(crate) fn set_labels(&mut self, labels: BTreeMap<String, String>) {
        self.labels = labels;
        self.session.say_again(self.clock.now());
    }

    /// Puts other limits of the ring in force.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.ring.set_limits(limits, self.clock.now());
    }

    /// Puts another budget of series in force.
    pub(crate) fn set_budget(&mut self, budget: Budget) {
        self.runner.set_budget(budget);
    }

    /// Reports what has come of the last tick, and says goodbye. Nothing is measured any more, and nothing waits for a
    /// welcome any more.
    pub(crate) fn say_goodbye(&mut self) {
        let now = self.clock.now();
        for batch in self.runner.take_all() {
            self.report(batch, now);
        }
        self.goodbye = Some(Farewell::Said);
        self.outbox.release();
        self.send_notice(self.epoch, HostBody::Goodbye(Goodbye { last_seq: self.reporter.last_seq() }));
    }

    /// When [`Agent::reply`] has something to give.
    #[must_use]
    pub(crate) fn next_reply(&self) -> Option<Moment> {
        self.replies.next()
    }

    /// Gives servers some of what they have asked for, when that is due.
    pub(crate) fn reply(&mut self, now: Moment) {
        if self.replies.next().is_none_or(|next| next > now) {
            return;
        }
        if !self.outbox.is_roomy() {
            return self.replies.postpone(now);
        }
        let known = |id| self.ring.layout(id).or_else(|| self.runner.layouts().find(|layout| layout.id == id));
        let step = self.replies.step(&self.ring, known, now);
        let mut out = Vec::new();
        self.reporter.send_layouts(&step.layouts, &mut out);
        out.extend(step.reports.iter().map(|entry| Outgoing::Resent(Arc::clone(&entry.payload))));
        self.outbox.push(out);
        if let Some((epoch, gone)) = step.gone {
            self.send_notice(epoch, HostBody::Gone(gone));
        }
    }

    /// Whether a server has answered the goodbye.
    #[must_use]
    pub(crate) fn is_dismissed(&self) -> bool {
        self.goodbye == Some(Farewell::Acknowledged)
    }

    /// The ring, to be saved; the agent goes on with an empty one.
    #[must_use]
    pub(crate) fn take_ring(&mut self) -> Ring {
        let empty = Ring::new(self.epoch, self.ring.limits());
        std::mem::replace(&mut self.ring, empty)
    }

    /// The server that has welcomed this life.
    #[must_use]
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.session.server()
    }

    /// How many services run, once there is a configuration.
    #[must_use]
    pub(crate) fn services(&self) -> Option<usize> {
        self.config.as_ref().map(|_| self.runner.len())
    }

    /// What the status file says, with `state` as its sentence.
    #[must_use]
    pub(crate) fn status(&self, state: String, inbox_dropped: u64) -> Status {
        Status {
            time_ms: wall_millis(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.to_string(),
            epoch: self.epoch.to_string(),
            state,
            server: self.session.server().map(|server| server.to_string()),
            revision: self.config.as_ref().map(|config| config.revision.to_string()),
            services: self.runner.len(),
            last_seq: self.reporter.last_seq(),
            last_report_ms: self.last_report_ms,
            ring: RingStatus { reports: self.ring.len(), bytes: self.ring.bytes(), dropped: self.ring.dropped() },
            outbox_dropped: self.outbox.dropped(),
            inbox_dropped,
        }
    }

    fn heartbeat_due(&self) -> Moment {
        self.last_report + self.session.heartbeat() + HEARTBEAT_SLACK
    }

    fn stamp(&self) -> Stamp {
        Stamp { collected_at_ms: wall_millis(), revision: self.config.as_ref().map(|config| config.revision) }
    }

    fn report(&mut self, batch: Batch, now: Moment) {
        let mut out = Vec::new();
        self.last_report = now;
        self.last_report_ms = Some(wall_millis());
        self.reporter.report(batch, &mut self.ring, now, &mut out);
        self.outbox.push(out);
        self.outbox.drop_reports_before(self.ring.oldest(self.epoch).unwrap_or(u64::MAX));
    }

    fn say_hello(&mut self) {
        let labels = self.labels.iter().map(|(name, value)| (name.clone(), ClaimedValue(value.clone()))).collect();
        let hello = Hello {
            sent_at_ms: wall_millis(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            facts: self.facts.clone(),
            labels,
            revision: self.config.as_ref().map(|config| config.revision),
            ring: self.ring.ranges(),
        };
        let body = HostBody::Hello(Box::new(hello));
        let hello = encode(self.host.clone(), self.epoch, body, &mut self.buffer);
        self.outbox.push(hello.map(Outgoing::Hello));
    }

    fn take_welcome(&mut self, server: ServerId, welcome: &Welcome, joined: bool) {
        if welcome.answers.is_some_and(|epoch| epoch != self.epoch) {
            return;
        }
        for known in &welcome.known {
            self.ring.acknowledge(known.epoch, server, known.up_to);
        }
        let ours = self.config.as_ref().map_or(0, |config| config.revision.number);
        if welcome.revision.is_some_and(|revision| revision.number > ours) {
            self.read_config_again.notify_one();
        }
        // The server may never have heard, or may have forgotten, what this host refuses to run.
        if joined {
            self.outbox.release();
            self.send_applied();
        }
    }

    fn take_ack(&mut self, server: ServerId, ack: Ack, now: Moment) {
        self.ring.acknowledge(ack.epoch, server, ack.up_to);
        if ack.epoch != self.epoch {
            return;
        }
        self.session.acknowledged(now);
        if ack.goodbye && self.goodbye.is_some() {
            self.goodbye = Some(Farewell::Acknowledged);
        }
    }

    fn take_resend(&mut self, resend: &Resend) {
        let gone = self.replies.want_reports(resend.epoch, &resend.ranges, &self.ring);
        if let Some(gone) = gone {
            self.send_notice(resend.epoch, HostBody::Gone(gone));
        }
    }

    fn take_want_layout(&mut self, want: &WantLayout) {
        let (ring, runner) = (&self.ring, &self.runner);
        let known = |id: &_| ring.layout(*id).is_some() || runner.layouts().any(|layout| layout.id == *id);
        self.replies.want_layouts(want.layouts.iter().copied().filter(known));
    }

    /// The key says nothing of its writer's life: it may hold the words of one that ended long ago.
    fn take_key(&mut self, value: Option<Vec<u8>>) {
        let Some(value) = value else { return };
        match ServerMessage::decode(&value) {
            Ok(ServerMessage { body: ServerBody::Config(config), .. }) => {
                self.take_config(config, &value, "read from its key")
            }
            Ok(_) => self.complain("key", format_args!("the configuration key holds no configuration")),
            Err(error) => self.complain("key", format_args!("the configuration key is refused: {error}")),
        }
    }

    fn take_config(&mut self, config: HostConfig, message: &[u8], origin: &str) {
        if self.config.as_ref().is_some_and(|current| config.revision.number <= current.revision.number) {
            return;
        }
        self.config_file.send_replace(Some(config_file::save(&self.host, message).into()));
        self.apply(config, origin);
        self.send_applied();
    }

    fn apply(&mut self, config: HostConfig, origin: &str) {
        self.refused = self.runner.apply(&config, self.clock.now());
        let (running, refused) = (self.runner.len(), self.refused.len());
        tracing::info!(
            "configuration {} ({origin}) is in force: {running} services run, {refused} are refused",
            config.revision
        );
        for refusal in &mut self.refused {
            let service = config.services.iter().find(|service| service.name == refusal.service);
            tracing::warn!(
                service = refusal.service.as_str(),
                plugin = service.map(|service| service.plugin.as_str()),
                "service {} is refused: {}",
                refusal.service,
                refusal.reason
            );
            if refused > MANY_REFUSALS {
                refusal.reason.truncate(refusal.reason.floor_char_boundary(SHORT_REASON));
            }
        }
        self.config = Some(config);
    }

    fn send_applied(&mut self) {
        let Some(config) = &self.config else { return };
        let applied = Applied { revision: config.revision, refused: self.refused.clone() };
        self.send_notice(self.epoch, HostBody::Applied(applied));
    }

    fn send_notice(&mut self, epoch: Epoch, body: HostBody<'_>) {
        let notice = encode(self.host.clone(), epoch, body, &mut self.buffer);
        self.outbox.push(notice.map(Outgoing::Notice));
    }

    fn complain(&mut self, about: &'static str, what: std::fmt::Arguments<'_>) {
        if let Some(suppressed) = self.complaints.allow(about, std::time::Instant::now()) {
            tracing::warn!("{what} ({suppressed} more in the last minute)");
        }
    }
}

#[cfg(test)]
mod tests;
