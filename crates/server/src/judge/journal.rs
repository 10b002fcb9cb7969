//! The last transitions of alerts, and a line in the log for those that people are to know of.

use std::collections::VecDeque;
use std::sync::Arc;

use hostwatch_wire::HostId;
use tracing::{info, warn};

use super::alert::{Alert, Move, Phase};
use super::board::Event;

/// So many transitions are kept.
const MAX_EVENTS: usize = 1_000;

/// The transitions, the newest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    events: VecDeque<Arc<Event>>,
    /// Whether there is one that was not saved.
    pub(super) unsaved: bool,
}

impl Journal {
    /// Takes up what was saved.
    pub(super) fn restore(&mut self, events: Vec<Event>) {
        self.events.extend(events.into_iter().take(MAX_EVENTS).map(Arc::new));
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter()
    }

    /// An alert has moved.
    pub(super) fn note(&mut self, host: Option<&HostId>, name: &str, alert: &Alert, step: Move, now_ms: i64) {
        let phase = match alert.phase {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
        };
        let (from, to, reason) = match step {
            Move::Pended => ("inactive", "pending", "the condition holds"),
            Move::Fired => ("pending", "firing", "the condition has held for long enough"),
            Move::Dropped => ("pending", "inactive", "the condition ended"),
            Move::Resolved => ("firing", "resolved", "it has recovered"),
            Move::LostData => (phase, phase, "there is no data"),
            Move::FoundData => (phase, phase, "there is data again"),
            Move::Forgotten => (phase, ended(alert.phase), "its series have been gone for a day"),
        };
        self.enter(host, name, alert, (from, to), reason, now_ms);
        let host = host.map(tracing::field::display);
        match step {
            Move::Fired => {
                warn!(host, alert = name, labels = %alert.labels, value = alert.value, "an alert fires: {name}")
            }
            Move::Resolved => info!(host, alert = name, labels = %alert.labels, "an alert is resolved: {name}"),
            _ => {}
        }
    }

    /// An alert ends because what it belongs to is gone.
    pub(super) fn end(&mut self, host: Option<&HostId>, name: &str, alert: &Alert, reason: &str, now_ms: i64) {
        let from = if alert.phase == Phase::Firing { "firing" } else { "pending" };
        self.enter(host, name, alert, (from, ended(alert.phase)), reason, now_ms);
        if alert.phase == Phase::Firing {
            let host = host.map(tracing::field::display);
            info!(host, alert = name, labels = %alert.labels, "an alert ends: {name}: {reason}");
        }
    }

    fn enter(
        &mut self,
        host: Option<&HostId>,
        name: &str,
        alert: &Alert,
        (from, to): (&str, &str),
        reason: &str,
        now_ms: i64,
    ) {
        let labels = alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.events.truncate(MAX_EVENTS - 1);
        self.events.push_front(Arc::new(Event {
            at_ms: now_ms,
            host: host.cloned(),
            alert: name.to_owned(),
            labels: labels.collect(),
            from: from.to_owned(),
            to: to.to_owned(),
            reason: reason.to_owned(),
            value: alert.value,
        }));
        self.unsaved = true;
    }
}

/// What an alert is once it is over.
fn ended(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "inactive",
        Phase::Firing => "resolved",
    }
}
