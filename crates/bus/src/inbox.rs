//! The queue between the connection's reader and whoever handles messages, bounded by count and by bytes.
//!
//! The reader must never wait, because a reader that waits is a subscriber whose buffer Redis throws away. So what does not
//! fit is dropped and counted here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::quota::{Flood, Quota, Quotas};

/// Makes a queue for at most `max_messages` messages (at least 1) whose memory stays within `max_bytes`.
///
/// A message takes the bytes of its channel name and payload and a small constant, from its arrival until it is dropped, also
/// after it was taken out of the queue. One that is larger than `max_bytes` never fits.
#[must_use]
pub fn inbox(max_messages: usize, max_bytes: usize) -> (InboxSender, Inbox) {
    let (sender, receiver) = mpsc::channel(max_messages.max(1));
    let dropped = Arc::default();
    let held = Arc::new(Held { bytes: AtomicUsize::new(0), max_bytes });
    (InboxSender { sender, dropped, held, quotas: None }, Inbox { receiver })
}

/// A message that was published on a channel this link is subscribed to.
#[derive(Debug)]
pub struct Message {
    /// The channel it was published on, also when a pattern brought it here.
    pub channel: String,
    /// What was published.
    pub payload: Vec<u8>,
    _reservation: Reservation,
}

/// The end of the queue that messages are taken from.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Message>,
}

impl Inbox {
    /// The next message; `None` once every sender is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<Message> {
        self.receiver.recv().await
    }

    /// The next message if there is one already.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

/// The end of the queue that messages are put into.
#[derive(Debug, Clone)]
pub struct InboxSender {
    sender: mpsc::Sender<Message>,
    /// Written by whoever offers a message, read by the daemon's metrics.
    dropped: Arc<AtomicU64>,
    held: Arc<Held>,
    /// Locked by the reader for each message, and for a moment by whoever asks who floods.
    quotas: Option<Arc<Mutex<Quotas>>>,
}

impl InboxSender {
    /// The same, where no channel may say more than `quota`.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quotas: Some(Arc::new(Mutex::new(Quotas::new(quota)))), ..self }
    }

    /// The channels that said more than they may since the last call, and how much of it was dropped.
    #[must_use]
    pub fn take_floods(&self) -> Vec<Flood> {
        self.quotas.as_ref().map_or_else(Vec::new, |quotas| lock(quotas).take_floods())
    }

    /// Queues a message that arrived now, or drops and counts it when it does not fit or its channel has said too much.
    /// Never waits.
    pub fn offer(&self, channel: String, payload: Vec<u8>) {
        let bytes = size_of::<Message>() + channel.len() + payload.len();
        if let Some(quotas) = &self.quotas
            && !lock(quotas).take(&channel, channel.len() + payload.len(), Instant::now())
        {
            return;
        }
        let queued = Reservation::of(bytes, &self.held).is_some_and(|reservation| {
            let message = Message { channel, payload, _reservation: reservation };
            self.sender.try_send(message).is_ok()
        });
        if !queued {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many messages were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes the messages hold that wait or are being handled.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.bytes.load(Ordering::Relaxed)
    }
}

fn lock(quotas: &Mutex<Quotas>) -> MutexGuard<'_, Quotas> {
    quotas.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes all messages of an inbox hold together.
#[derive(Debug)]
struct Held {
    bytes: AtomicUsize,
    max_bytes: usize,
}

/// A message's share of its inbox's bytes, given back when it is dropped.
#[derive(Debug)]
struct Reservation {
    bytes: usize,
    held: Arc<Held>,
}

impl Reservation {
    fn of(bytes: usize, held: &Arc<Held>) -> Option<Self> {
        let fits = |held_bytes: usize| held_bytes.checked_add(bytes).filter(|sum| *sum <= held.max_bytes);
        held.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self { bytes, held: Arc::clone(held) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERHEAD: usize = size_of::<Message>();

    #[test]
    fn the_count_is_bounded_and_what_does_not_fit_is_counted() {
        let (sender, mut inbox) = inbox(2, usize::MAX);
        for payload in ["a", "b", "c"] {
            sender.offer("channel".into(), payload.into());
        }
        assert_eq!((sender.len(), inbox.len(), sender.dropped()), (2, 2, 1));
        assert_eq!(inbox.try_recv().unwrap().payload, b"a");
        sender.offer("channel".into(), "d".into());
        assert_eq!(inbox.try_recv().unwrap().payload, b"b");
        assert_eq!(inbox.try_recv().unwrap().payload, b"d");
        assert!(inbox.try_recv().is_none() && inbox.is_empty() && sender.is_empty());
        assert_eq!((sender.dropped(), sender.bytes()), (1, 0));
    }

    #[test]
    fn bytes_are_bounded_until_the_message_is_dropped() {
        let (sender, mut inbox) = inbox(100, 2 * (OVERHEAD + 10));
        for _ in 0..3 {
            sender.offer("12345".into(), "67890".into());
        }
        assert_eq!((sender.len(), sender.dropped()), (2, 1));
        let message = inbox.try_recv().unwrap();
        sender.offer("12345".into(), "67890".into());
        assert_eq!(sender.dropped(), 2, "a message that is being handled still holds its bytes");
        drop(message);
        sender.offer("12345".into(), "67890".into());
        assert_eq!((sender.len(), sender.dropped()), (2, 2));
    }

    #[test]
    fn a_message_larger_than_the_inbox_never_fits_and_leaves_no_trace() {
        let (sender, _inbox) = inbox(10, OVERHEAD + 10);
        sender.offer(String::new(), vec![0; 11]);
        assert_eq!((sender.dropped(), sender.bytes()), (1, 0));
        sender.offer(String::new(), vec![0; 10]);
        assert_eq!((sender.dropped(), sender.bytes()), (1, OVERHEAD + 10));
    }

    #[test]
    fn an_inbox_nobody_reads_any_more_holds_nothing() {
        let (sender, inbox) = inbox(10, 1000);
        sender.offer("channel".into(), "payload".into());
        drop(inbox);
        sender.offer("channel".into(), "payload".into());
        assert_eq!((sender.dropped(), sender.bytes()), (1, 0));
    }
}
