//! What waits to be published. The main loop puts messages in and never waits; a task of its own publishes them, many at
//! once. Bounded: when Redis is slow or away the oldest reports leave the queue, not the ring, and are counted. Until a
//! server has answered on this connection only hello and notices go: a report would reach nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostwatch_bus::{Link, LinkState};
use hostwatch_daemon::{OncePerMinute, Pulse, Shutdown};
use tokio::sync::{Notify, watch};

use crate::session::Audience;

/// The most that waits, in messages and in bytes.
const MAX_MESSAGES: usize = 512;
const MAX_BYTES: usize = 8 << 20;
/// The most that is handed to Redis at once.
const BATCH_MESSAGES: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// The task shows that it lives at least this often.
const TICK: Duration = Duration::from_secs(5);

/// A message to publish.
#[derive(Debug, Clone)]
pub(crate) enum Outgoing {
    /// A hello. It goes before all else, and a newer one replaces it.
    Hello(Arc<[u8]>),
    /// A report of this life for the first time, with its number.
    Report(u64, Arc<[u8]>),
    /// A report that was asked for.
    Resent(Arc<[u8]>),
    /// Layouts.
    Layouts(Arc<[u8]>),
    /// Anything else: applied, gone, goodbye.
    Notice(Arc<[u8]>),
}

/// How publishing goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many connections the last message reached; 0 says for sure that no server listens.
    pub(crate) receivers: Option<u64>,
    /// Why the last batch was not published, unless the link itself is gone.
    pub(crate) error: Option<String>,
}

/// The queue. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Written by the main loop, emptied by the publisher.
    queue: Mutex<Queue>,
    filled: Notify,
    /// Written by the publisher, read by the main loop.
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Outgoing>,
    bytes: usize,
    dropped: u64,
    /// Whether the batch that was taken last is still on its way.
    publishing: bool,
    /// Whether a server is known to listen, so that more than hello and notices may go.
    released: bool,
}

impl Outbox {
    /// Adds messages at the end.
    pub(crate) fn push(&self, messages: impl IntoIterator<Item = Outgoing>) {
        let mut queue = self.queue();
        messages.into_iter().for_each(|message| queue.push(message));
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// From now on only hello and notices go; the rest waits for [`Outbox::release`].
    pub(crate) fn hold(&self) {
        self.queue().released = false;
    }

    /// A server listens: everything goes.
    pub(crate) fn release(&self) {
        self.queue().released = true;
        self.shared.filled.notify_one();
    }

    /// Drops the reports below `oldest`, which the ring no longer holds.
    pub(crate) fn drop_reports_before(&self, oldest: u64) {
        self.queue().drop_reports_before(oldest);
    }

    /// Whether there is room for messages that can as well wait.
    #[must_use]
    pub(crate) fn is_roomy(&self) -> bool {
        let queue = self.queue();
        queue.messages.len() < BATCH_MESSAGES && queue.bytes < BATCH_BYTES
    }

    /// Whether nothing waits or is on its way, so that [`Progress`] tells of the last message.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        let queue = self.queue();
        queue.messages.is_empty() && !queue.publishing
    }

    /// How many messages wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.queue().messages.len()
    }

    /// How many messages have left the queue without being published.
    #[must_use]
    pub(crate) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// Who heard the message that was published last.
    #[must_use]
    pub(crate) fn audience(&self) -> Audience {
        match self.shared.progress.borrow().receivers {
            Some(0) => Audience::Nobody,
            _ => Audience::Unknown,
        }
    }

    /// Follows how publishing goes.
    #[must_use]
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Publishes what is put in, until `shutdown`.
    pub(crate) async fn publish(self, link: Link, channels: Channels, pulse: Pulse, shutdown: Shutdown) {
        let mut state = link.state();
        let mut complaints = OncePerMinute::new();
        loop {
            pulse.beat();
            let connected = matches!(*state.borrow_and_update(), LinkState::Connected { .. });
            let batch = if connected { self.queue().take_batch(&channels) } else { Vec::new() };
            if batch.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.shared.filled.notified(), if connected => {}
                    // The link's driver ends with the daemon, after which there is nothing to wait for but shutdown.
                    Ok(()) = state.changed() => {}
                    () = tokio::time::sleep(TICK) => {}
                }
                continue;
            }
            // A message that fails here is in the ring, said again, or asked for: nothing is queued a second time.
            let Some(outcome) = shutdown.run_until_cancelled(link.publish_all(&batch)).await else { return };
            let lost = if outcome.is_ok() { 0 } else { batch.len() as u64 };
            self.queue().published(lost);
            if let Err(error) = &outcome
                && !matches!(error, hostwatch_bus::Error::Disconnected)
                && let Some(suppressed) = complaints.allow((), std::time::Instant::now())
            {
                tracing::warn!("cannot publish: {error} ({suppressed} more in the last minute)");
            }
            self.shared.progress.send_modify(|progress| match outcome {
                Ok(receivers) => (progress.receivers, progress.error) = (receivers.last().copied(), None),
                Err(hostwatch_bus::Error::Disconnected) => {}
                Err(error) => progress.error = Some(error.to_string()),
            });
        }
    }

    /// Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the host speaks.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// For hello.
    pub(crate) join: String,
    /// For everything else.
    pub(crate) reports: String,
}

impl Queue {
    fn push(&mut self, message: Outgoing) {
        if matches!(message, Outgoing::Hello(_)) {
            self.remove(|queued| matches!(queued, Outgoing::Hello(_)));
        }
        self.bytes += message.payload().len();
        match message {
            Outgoing::Hello(_) => self.messages.push_front(message),
            _ => self.messages.push_back(message),
        }
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            let report = |queued: &Outgoing| matches!(queued, Outgoing::Report(..) | Outgoing::Resent(_));
            let removed = self.remove(report) || self.remove(|_| true);
            self.dropped += u64::from(removed);
        }
    }

    /// The batch that was taken last is done with; so many of its messages were not published.
    fn published(&mut self, lost: u64) {
        self.publishing = false;
        self.dropped += lost;
    }

    /// Removes the oldest message of which `which` is true, if there is one.
    fn remove(&mut self, which: impl Fn(&Outgoing) -> bool) -> bool {
        let Some(index) = self.messages.iter().position(which) else { return false };
        if let Some(removed) = self.messages.remove(index) {
            self.bytes -= removed.payload().len();
        }
        true
    }

    /// Reports are queued in the order of their numbers, so that the first one that stays ends the search.
    fn drop_reports_before(&mut self, oldest: u64) {
        while let Some(Outgoing::Report(seq, _)) = self.messages.iter().find(|queued| queued.is_first_report())
            && *seq < oldest
        {
            self.remove(Outgoing::is_first_report);
            self.dropped += 1;
        }
    }

    fn take_batch(&mut self, channels: &Channels) -> Vec<(String, Vec<u8>)> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MESSAGES
            && bytes < BATCH_BYTES
            && let Some(index) =
                self.messages.iter().position(|queued| self.released || queued.goes_before_the_welcome())
            && let Some(message) = self.messages.remove(index)
        {
            let payload = message.payload();
            bytes += payload.len();
            let channel = if matches!(message, Outgoing::Hello(_)) { &channels.join } else { &channels.reports };
            batch.push((channel.clone(), payload.to_vec()));
        }
        self.bytes -= bytes;
        self.publishing = !batch.is_empty();
        batch
    }
}

impl Outgoing {
    /// Whether it goes although no server is known to listen.
    fn goes_before_the_welcome(&self) -> bool {
        matches!(self, Self::Hello(_) | Self::Notice(_))
    }

    fn is_first_report(&self) -> bool {
        matches!(self, Self::Report(..))
    }

    fn payload(&self) -> &Arc<[u8]> {
        let (Self::Hello(payload)
        | Self::Report(_, payload)
        | Self::Resent(payload)
        | Self::Layouts(payload)
        | Self::Notice(payload)) = self;
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Arc<[u8]> {
        vec![0; length].into()
    }

    fn report(length: usize) -> Outgoing {
        Outgoing::Report(1, bytes(length))
    }

    fn released() -> Queue {
        Queue { released: true, ..Queue::default() }
    }

    fn channels() -> Channels {
        Channels { join: "join".to_owned(), reports: "reports".to_owned() }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_reports_and_keeps_notices() {
        let mut queue = Queue::default();
        queue.push(Outgoing::Notice(bytes(1)));
        for _ in 0..MAX_MESSAGES + 9 {
            queue.push(report(2));
        }
        assert_eq!((queue.messages.len(), queue.dropped), (MAX_MESSAGES, 10));
        assert!(matches!(queue.messages[0], Outgoing::Notice(_)));
        assert_eq!(queue.bytes, 1 + 2 * (MAX_MESSAGES - 1));
        for _ in 0..20 {
            queue.push(report(1 << 20));
        }
        assert!(queue.bytes <= MAX_BYTES);
    }

    #[test]
    fn one_hello_is_enough() {
        let mut queue = released();
        for length in 1..=3 {
            queue.push(Outgoing::Hello(bytes(length)));
            queue.push(report(9));
        }
        let batch = queue.take_batch(&channels());
        let hellos: Vec<_> =
            batch.iter().filter(|(channel, _)| channel == "join").map(|(_, payload)| payload.len()).collect();
        assert_eq!((hellos, batch.len(), queue.bytes, queue.dropped), (vec![3], 4, 0, 0));
        assert_eq!(batch[0].0, "join");
    }

    #[test]
    fn batches_are_bounded() {
        let mut queue = released();
        (0..100).for_each(|_| queue.push(report(1)));
        assert_eq!(queue.take_batch(&channels()).len(), BATCH_MESSAGES);
        (0..3).for_each(|_| queue.push(report(900_000)));
        assert_eq!(queue.take_batch(&channels()).len(), 100 - BATCH_MESSAGES + 2);
    }

    #[test]
    fn reports_wait_until_a_server_is_known_to_listen() {
        let mut queue = Queue::default();
        queue.push(Outgoing::Layouts(bytes(3)));
        (1..=9).for_each(|seq| queue.push(Outgoing::Report(seq, bytes(10))));
        queue.push(Outgoing::Notice(bytes(2)));
        queue.push(Outgoing::Hello(bytes(1)));
        let sizes = |batch: Vec<(String, Vec<u8>)>| batch.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>();
        assert_eq!(sizes(queue.take_batch(&channels())), [1, 2]);
        assert!(queue.take_batch(&channels()).is_empty() && !queue.publishing);
        // Meanwhile the ring has lost all but the last two.
        queue.drop_reports_before(8);
        assert_eq!((queue.dropped, queue.bytes), (7, 23));
        queue.released = true;
        assert_eq!(sizes(queue.take_batch(&channels())), [3, 10, 10]);
        assert_eq!(queue.bytes, 0);
    }
}
