//! The loop around the agent: waits for whatever happens next, tells the agent, and says how things are.

use std::time::Duration;

use hostwatch_bus::{Inbox, InboxSender, Link, LinkState};
use hostwatch_daemon::settings::MistakeList;
use hostwatch_daemon::{Pulse, ServiceManager, Signal, Signals};
use tokio::sync::{mpsc, watch};

use crate::agent::Agent;
use crate::alarm::Alarm;
use crate::clock::{Clock, Moment};
use crate::follower::LinkEvent;
use crate::outbox::{Outbox, Progress};
use crate::settings::Settings;
use crate::writer::Content;

/// The loop turns at least this often, and a status that did not change is written.
const TICK: Duration = Duration::from_secs(5);
/// So often at the most is it looked whether the status has changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for the answer to a goodbye.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);

/// When the status was looked at, and what was written of it.
#[derive(Default)]
pub(crate) struct Shown {
    /// When it was looked at whether there is something new.
    looked: Option<Moment>,
    /// When it was written, and its sentence.
    written: Option<(Moment, String)>,
}

/// The agent with everything that it hears of.
pub(crate) struct MainLoop<R> {
    /// The state.
    pub(crate) agent: Agent,
    /// The settings in force.
    pub(crate) settings: Settings,
    /// Reads and checks the settings anew.
    pub(crate) reread: R,
    /// The time line.
    pub(crate) clock: Clock,
    /// Wakes the loop.
    pub(crate) alarm: Alarm,
    /// Who is told how things are.
    pub(crate) manager: ServiceManager,
    /// Shows that the loop turns.
    pub(crate) pulse: Pulse,
    /// Commands.
    pub(crate) inbox: Inbox,
    /// Counts the commands that found no room.
    pub(crate) inbox_sender: InboxSender,
    /// The link, to be told when its connection seems dead.
    pub(crate) redis: Link,
    /// How the link is, for people.
    pub(crate) link: watch::Receiver<LinkState>,
    /// What became of the link, for the agent.
    pub(crate) link_events: mpsc::Receiver<LinkEvent>,
    /// How publishing goes.
    pub(crate) progress: watch::Receiver<Progress>,
    /// What waits to be published.
    pub(crate) outbox: Outbox,
    /// Where the status goes.
    pub(crate) status_file: watch::Sender<Content>,
    /// The status that was written last.
    pub(crate) shown: Shown,
}

impl<R: FnMut() -> Result<Settings, MistakeList>> MainLoop<R> {
    /// Runs until a signal asks for the end.
    ///
    /// # Errors
    /// The kernel refuses to wake the loop.
    pub(crate) async fn run(&mut self, signals: &mut Signals) -> std::io::Result<()> {
        loop {
            self.pulse.beat();
            self.agent.advance(&self.inbox_sender);
            if self.agent.gives_up_connection() {
                tracing::warn!("no server answers over this connection to Redis: trying another one");
                self.redis.reconnect();
            }
            let wake = self.agent.next().min(self.show());
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => return Ok(()),
                    Signal::Reload => self.reload(),
                },
                Some(message) = self.inbox.recv() => self.agent.hear(&message.payload),
                () = self.agent.ended() => {}
                Some(event) = self.link_events.recv() => self.agent.link(event),
                Ok(()) = self.link.changed() => {}
                woken = self.alarm.at(wake) => woken?,
            }
        }
    }

    /// Says goodbye and waits a little for the answer, unless there is nobody to give one. Until then servers get what
    /// they ask for: it is their last chance.
    pub(crate) async fn say_goodbye(&mut self) {
        self.agent.say_goodbye();
        let patience = tokio::time::sleep(GOODBYE_PATIENCE);
        tokio::pin!(patience);
        while !self.agent.is_dismissed() && self.somebody_may_listen() {
            self.pulse.beat();
            let now = self.clock.now();
            self.agent.reply(now);
            let wake = self.clock.instant(self.agent.next_reply().unwrap_or(now + TICK));
            tokio::select! {
                () = &mut patience => return,
                () = tokio::time::sleep_until(wake) => {}
                Some(message) = self.inbox.recv() => self.agent.hear(&message.payload),
                Ok(()) = self.progress.changed() => {}
                Ok(()) = self.link.changed() => {}
            }
        }
    }

    fn somebody_may_listen(&self) -> bool {
        let connected = matches!(*self.link.borrow(), LinkState::Connected { .. });
        connected && !(self.outbox.is_settled() && self.progress.borrow().receivers == Some(0))
    }

    /// Puts in force what can be changed while running, and says what cannot. A mistake changes nothing.
    fn reload(&mut self) {
        self.manager.reloading();
        match (self.reread)() {
            Ok(settings) => self.take(settings),
            Err(mistakes) => {
                tracing::error!("the settings have mistakes, so that the old ones stay in force");
                mistakes.lines().for_each(|line| tracing::error!("{line}"));
            }
        }
        self.manager.ready();
    }

    fn take(&mut self, new: Settings) {
        let old = &mut self.settings;
        let fixed = [
            ("host", new.host != old.host),
            ("state_directory", new.state_directory != old.state_directory),
            ("status_file", new.status_file != old.status_file),
            ("[redis]", new.redis != old.redis),
            ("[paths]", new.access.roots != old.access.roots),
            ("[allow]", new.access.allowed != old.access.allowed),
        ];
        for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!("{key} has changed, which takes effect with the next start");
        }
        if new.labels != old.labels {
            old.labels.clone_from(&new.labels);
            self.agent.set_labels(new.labels);
        }
        if new.buffer != old.buffer {
            old.buffer = new.buffer;
            self.agent.set_limits(new.buffer);
        }
        if new.series != old.series {
            old.series = new.series;
            self.agent.set_budget(new.series);
        }
        tracing::info!("the settings were read again");
    }

    /// Tells systemd and the status file how things are: with one of the next turns when the sentence has changed, and now and
    /// then when it has not. Returns when to look again.
    fn show(&mut self) -> Moment {
        let now = self.clock.now();
        if let Some(next) = self.shown.looked.map(|looked| looked + LOOK_INTERVAL).filter(|next| *next > now) {
            return next;
        }
        self.shown.looked = Some(now);
        let sentence = self.sentence();
        if let Some((when, last)) = &self.shown.written
            && *last == sentence
            && *when + TICK > now
        {
            return *when + TICK;
        }
        self.manager.status(&sentence);
        let status = self.agent.status(sentence.clone(), self.inbox_sender.dropped());
        let bytes = serde_json::to_vec(&status).expect("a status holds plain numbers and texts");
        self.status_file.send_replace(Some(bytes.into()));
        self.shown.written = Some((now, sentence));
        now + TICK
    }

    fn sentence(&self) -> String {
        let services = match self.agent.services() {
            Some(services) => format!("{services} services run"),
            None => "no configuration yet".to_owned(),
        };
        let address = &self.settings.redis.address;
        let link = match (&*self.link.borrow(), self.agent.server()) {
            (LinkState::Waiting { reason, .. }, _) => format!("waiting for Redis at {address}: {reason}"),
            (LinkState::Connected { .. }, Some(server)) => format!("joined server {server}"),
            (LinkState::Connected { .. }, None) => match self.progress.borrow().receivers {
                Some(0) => "connected to Redis, where no server listens".to_owned(),
                _ => "connected to Redis, no server has answered yet".to_owned(),
            },
        };
        match &self.progress.borrow().error {
            Some(error) => format!("{link}; cannot publish: {error}; {services}"),
            None => format!("{link}; {services}"),
        }
    }
}
