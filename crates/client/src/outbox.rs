//! What waits to be published. The main loop puts messages in and never waits; a task of its own publishes them, many at
//! once. Bounded: when Redis is slow or away the oldest reports leave the queue, not the ring, and are counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hostwatch_bus::{Link, LinkState};
use hostwatch_daemon::{Pulse, Shutdown};
use tokio::sync::{Notify, watch};

/// The most that waits, in messages and in bytes.
const MAX_MESSAGES: usize = 512;
const MAX_BYTES: usize = 8 << 20;
/// The most that is handed to Redis at once.
const BATCH_MESSAGES: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// The task shows that it lives at least this often.
const TICK: Duration = Duration::from_secs(1);

/// A message to publish.
#[derive(Debug, Clone)]
pub(crate) enum Outgoing {
    /// A hello. It goes before all else, and a newer one replaces it.
    Hello(Arc<[u8]>),
    /// A report for the first time.
    Report(Arc<[u8]>),
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
}

impl Outbox {
    /// Adds messages at the end.
    pub(crate) fn push(&self, messages: impl IntoIterator<Item = Outgoing>) {
        let mut queue = self.queue();
        messages.into_iter().for_each(|message| queue.push(message));
        drop(queue);
        self.shared.filled.notify_one();
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

    /// How many messages have left the queue without being published.
    #[must_use]
    pub(crate) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// Follows how publishing goes.
    #[must_use]
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Publishes what is put in, until `shutdown`.
    pub(crate) async fn publish(self, link: Link, channels: Channels, pulse: Pulse, shutdown: Shutdown) {
        let mut state = link.state();
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
            self.queue().publishing = false;
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
            let report = |queued: &Outgoing| matches!(queued, Outgoing::Report(_) | Outgoing::Resent(_));
            let removed = self.remove(report) || self.remove(|_| true);
            self.dropped += u64::from(removed);
        }
    }

    /// Removes the oldest message of which `which` is true, if there is one.
    fn remove(&mut self, which: impl Fn(&Outgoing) -> bool) -> bool {
        let Some(index) = self.messages.iter().position(which) else { return false };
        if let Some(removed) = self.messages.remove(index) {
            self.bytes -= removed.payload().len();
        }
        true
    }

    fn take_batch(&mut self, channels: &Channels) -> Vec<(String, Vec<u8>)> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MESSAGES
            && bytes < BATCH_BYTES
            && let Some(message) = self.messages.pop_front()
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
    fn payload(&self) -> &Arc<[u8]> {
        let (Self::Hello(payload)
        | Self::Report(payload)
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

    fn channels() -> Channels {
        Channels { join: "join".to_owned(), reports: "reports".to_owned() }
    }

    #[test]
    fn a_full_queue_drops_the_oldest_reports_and_keeps_notices() {
        let mut queue = Queue::default();
        queue.push(Outgoing::Notice(bytes(1)));
        for _ in 0..MAX_MESSAGES + 9 {
            queue.push(Outgoing::Report(bytes(2)));
        }
        assert_eq!((queue.messages.len(), queue.dropped), (MAX_MESSAGES, 10));
        assert!(matches!(queue.messages[0], Outgoing::Notice(_)));
        assert_eq!(queue.bytes, 1 + 2 * (MAX_MESSAGES - 1));
        for _ in 0..20 {
            queue.push(Outgoing::Report(bytes(1 << 20)));
        }
        assert!(queue.bytes <= MAX_BYTES);
    }

    #[test]
    fn one_hello_is_enough() {
        let mut queue = Queue::default();
        for length in 1..=3 {
            queue.push(Outgoing::Hello(bytes(length)));
            queue.push(Outgoing::Report(bytes(9)));
        }
        let batch = queue.take_batch(&channels());
        let hellos: Vec<_> =
            batch.iter().filter(|(channel, _)| channel == "join").map(|(_, payload)| payload.len()).collect();
        assert_eq!((hellos, batch.len(), queue.bytes, queue.dropped), (vec![3], 4, 0, 0));
        assert_eq!(batch[0].0, "join");
    }

    #[test]
    fn batches_are_bounded() {
        let mut queue = Queue::default();
        (0..100).for_each(|_| queue.push(Outgoing::Report(bytes(1))));
        assert_eq!(queue.take_batch(&channels()).len(), BATCH_MESSAGES);
        (0..3).for_each(|_| queue.push(Outgoing::Report(bytes(900_000))));
        assert_eq!(queue.take_batch(&channels()).len(), 100 - BATCH_MESSAGES + 2);
    }
}
