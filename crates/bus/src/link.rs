//! The handle that commands go through. It holds no connection of its own: the driver puts the present one in its place.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redis::{Arg, Cmd, Value, cmd, from_redis_value};
use tokio::sync::{Notify, watch};

use crate::session::Session;
use crate::subscriptions::{Subject, Subscriptions, Ticket};
use crate::{Driver, Error, InboxSender, Settings};

/// A chunk of pipelined commands ends after so many commands or bytes. More would not be faster, and pings wait behind it.
const CHUNK_COMMANDS: usize = 128;
const CHUNK_BYTES: usize = 256 * 1024;

/// How many keys Redis looks at for one SCAN command.
const SCAN_COUNT: usize = 1000;

/// Makes a link whose messages go into `inbox`. Nothing is connected before the driver runs.
#[must_use]
pub fn link(settings: Settings, inbox: InboxSender) -> (Link, Driver) {
    let waiting = LinkState::Waiting { since: Instant::now(), attempts: 0, reason: "not connected yet".into() };
    let shared =
        Arc::new(Shared { current: Mutex::default(), changed: Notify::new(), state: watch::Sender::new(waiting) });
    (Link { shared: Arc::clone(&shared) }, Driver::new(settings, inbox, shared))
}

/// Whether Redis is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// There is no connection, and commands fail.
    Waiting {
        /// When the last connection was lost, or the link was made.
        since: Instant,
        /// How many attempts have failed since then.
        attempts: u32,
        /// Why the last attempt failed or the connection was lost, for people.
        reason: String,
    },
    /// There is a connection, and Redis has confirmed every subscription that is wanted.
    Connected {
        /// When the last subscription was confirmed.
        since: Instant,
        /// 1 for the first connection, and one more for each that follows.
        generation: u64,
    },
}

/// A value that is kept in a key and announced on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The key that keeps the payload.
    pub key: String,
    /// The channel on which it is announced.
    pub channel: String,
    /// The value of the key, and the message.
    pub payload: Vec<u8>,
}

/// Sends commands over the present connection. Clones share it.
///
/// Every command fails at once with [`Error::Disconnected`] while there is no connection, and with [`Error::TimedOut`] when
/// Redis does not answer it in time. Dropping a command's future is safe, but does not call the command back.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

/// What links and their driver share.
pub(crate) struct Shared {
    pub(crate) current: Mutex<Current>,
    /// Wakes the driver when a link has changed the subscriptions.
    pub(crate) changed: Notify,
    /// Written by the driver, read by everybody.
    pub(crate) state: watch::Sender<LinkState>,
}

/// What has to change together.
#[derive(Default)]
pub(crate) struct Current {
    pub(crate) subscriptions: Subscriptions,
    /// Set while the link is connected.
    pub(crate) session: Option<Session>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Follows the state of the link.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Gives the present connection up, so that the driver makes another one; without one it does nothing. For callers who
    /// see that nothing comes through although Redis answers.
    pub fn reconnect(&self) {
        if let Some(session) = &self.shared.lock().session {
            session.close();
        }
    }

    /// Listens to these channels from now on, across reconnects. `Ok` means that Redis has confirmed each of them.
    ///
    /// After any error they stay wanted, and the link is not connected again before they are confirmed. A refusal ends the
    /// connection, since a link that is deaf on one channel must not look sound; [`Link::unsubscribe`] takes the wish back.
    /// A channel that a pattern matches too is heard twice.
    pub async fn subscribe(&self, channels: &[String]) -> Result<(), Error> {
        self.change(|subscriptions| subscriptions.want(channels.iter().cloned().map(Subject::Channel))).await
    }

    /// Listens to all channels that match the glob pattern, otherwise as [`Link::subscribe`]. An ACL has to grant the pattern
    /// itself.
    pub async fn psubscribe(&self, pattern: &str) -> Result<(), Error> {
        self.change(|subscriptions| subscriptions.want([Subject::Pattern(pattern.to_owned())])).await
    }

    /// Listens to these channels no more. Messages that are on their way may still arrive. It succeeds while there is no
    /// connection.
    pub async fn unsubscribe(&self, channels: &[String]) -> Result<(), Error> {
        self.forget(channels.iter().cloned().map(Subject::Channel)).await
    }

    /// Takes a pattern back, otherwise as [`Link::unsubscribe`].
    pub async fn punsubscribe(&self, pattern: &str) -> Result<(), Error> {
        self.forget([Subject::Pattern(pattern.to_owned())]).await
    }

    async fn forget(&self, subjects: impl IntoIterator<Item = Subject>) -> Result<(), Error> {
        match self.change(|subscriptions| subscriptions.unwant(subjects)).await {
            // Subscriptions end with their connection, and the next one will not make these.
            Ok(()) | Err(Error::Disconnected) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn change(&self, change: impl FnOnce(&mut Subscriptions) -> Ticket) -> Result<(), Error> {
        let (ticket, session) = {
            let mut current = self.shared.lock();
            (change(&mut current.subscriptions), current.session.clone())
        };
        self.shared.changed.notify_one();
        session.ok_or(Error::Disconnected)?.settled(ticket).await
    }

    /// Publishes a message and returns how many connections Redis handed it to, which does not prove that they read it.
    pub async fn publish(&self, channel: &str, payload: &[u8]) -> Result<u64, Error> {
        let answer = self.ask_one(publication(channel, payload)).await?;
        Ok(from_redis_value(answer)?)
    }

    /// Publishes many messages in their order, as [`Link::publish`]. A refused one does not keep the others from being sent; the
    /// first refusal is returned at the end.
    pub async fn publish_all(&self, messages: &[(String, Vec<u8>)]) -> Result<Vec<u64>, Error> {
        let answers = self.ask_all(messages, |(channel, payload)| [publication(channel, payload)]).await?;
        answers.into_iter().map(|answer| Ok(from_redis_value(answer)?)).collect()
    }

    /// Reads the keys, `None` for each that does not exist.
    pub async fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let answers = self.ask_all(keys, |key| [command("GET", &[key.as_bytes()])]).await?;
        answers.into_iter().map(|answer| Ok(from_redis_value(answer)?)).collect()
    }

    /// Writes each key and announces it, both or neither. A refused item does not keep the others from being written; the first
    /// refusal is returned at the end.
    ///
    /// The channels must not be among those this link itself listens to: Redis 7.0 garbles the answer then, and the connection
    /// is given up with [`Error::Unexpected`].
    pub async fn retain_all(&self, items: &[Retained]) -> Result<(), Error> {
        let transaction = |Retained { key, channel, payload }: &Retained| {
            [cmd("MULTI"), command("SET", &[key.as_bytes(), payload]), publication(channel, payload), cmd("EXEC")]
        };
        self.ask_all(items, transaction).await.map(drop)
    }

    /// Deletes the keys; one that does not exist is no error.
    pub async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        self.ask_all(keys, |key| [command("DEL", &[key.as_bytes()])]).await.map(drop)
    }

    /// Finds the keys that match the glob pattern, each once and in order. A key that was made or deleted meanwhile may be there
    /// or not; one that is not text is left out.
    pub async fn scan(&self, pattern: &str) -> Result<Vec<String>, Error> {
        let mut found = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let count = SCAN_COUNT.to_string();
            let scan = command("SCAN", &[&cursor, b"MATCH", pattern.as_bytes(), b"COUNT", count.as_bytes()]);
            let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = from_redis_value(self.ask_one(scan).await?)?;
            found.extend(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            if next == b"0" {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn ask_one(&self, command: Cmd) -> Result<Value, Error> {
        self.ask_all(&[command], |command| [command.clone()]).await.map(|mut answers| answers.remove(0))
    }

    /// Sends a group of N commands for each item, many groups at once, and returns the answer to the last command of each
    /// group. A refusal of one group is kept until all have been sent; any other error ends it.
    async fn ask_all<T, const N: usize>(&self, items: &[T], group: fn(&T) -> [Cmd; N]) -> Result<Vec<Value>, Error> {
        let session = self.shared.lock().session.clone().ok_or(Error::Disconnected)?;
        let mut groups = items.iter().map(group).peekable();
        let mut answers = Vec::new();
        let mut refusal = None;
        while groups.peek().is_some() {
            let mut chunk = redis::pipe();
            let mut bytes = 0;
            while chunk.len() < CHUNK_COMMANDS
                && bytes < CHUNK_BYTES
                && let Some(group) = groups.next()
            {
                for command in group {
                    bytes += size(&command);
                    chunk.add_command(command);
                }
            }
            let mut chunk_answers = session.ask(&chunk).await?.into_iter();
            while let Some(first) = chunk_answers.next() {
                let mut last = first;
                for _ in 1..N {
                    refusal = refusal.or_else(|| Error::first_in(&last));
                    last = chunk_answers.next().unwrap_or(Value::Nil);
                }
                refusal = refusal.or_else(|| Error::first_in(&last));
                answers.push(last);
            }
        }
        refusal.map_or(Ok(answers), Err)
    }
}

fn publication(channel: &str, payload: &[u8]) -> Cmd {
    command("PUBLISH", &[channel.as_bytes(), payload])
}

fn command(name: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = cmd(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

fn size(command: &Cmd) -> usize {
    command.args_iter().map(|argument| if let Arg::Simple(bytes) = argument { bytes.len() } else { 0 }).sum()
}
