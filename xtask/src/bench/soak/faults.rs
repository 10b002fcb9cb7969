//! The faults, and the order in which they come.

use std::fmt;
use std::time::Duration;

use hostwatch_testkit::Traffic;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// No fault lasts longer, so that there is time to recover before the next one.
const LONGEST: Duration = Duration::from_secs(10);

/// Something that goes wrong, and how long it does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    RedisStops(Duration),
    RedisIsKilled(Duration),
    RedisHangs(Duration),
    SubscribersAreCutOff,
    KeysAreLost,
    ServerIsKilled(Duration),
    ServerRestarts,
    ClientRestarts,
    WayIsSpoilt(Way, Traffic, Duration),
}

/// Whose way to Redis.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// That of some clients, the one that is a process of its own among them.
    OfClients,
    OfServer,
}

/// All kinds of faults in random order, and then again in another one: none comes much more often than another.
pub(super) struct Deck {
    random: StdRng,
    kinds: Vec<fn(&mut StdRng) -> Fault>,
}

/// The kinds, each with what is random about it.
const KINDS: [fn(&mut StdRng) -> Fault; 12] = [
    |random| Fault::RedisStops(time(random)),
    |random| Fault::RedisIsKilled(time(random)),
    |random| Fault::RedisHangs(time(random)),
    |_| Fault::SubscribersAreCutOff,
    |_| Fault::KeysAreLost,
    |random| Fault::ServerIsKilled(time(random)),
    |_| Fault::ServerRestarts,
    |_| Fault::ClientRestarts,
    |random| Fault::WayIsSpoilt(Way::OfClients, Traffic::Stalled, time(random)),
    |random| Fault::WayIsSpoilt(Way::OfClients, Traffic::Cut(random.random_range(0..400)), time(random)),
    |random| Fault::WayIsSpoilt(Way::OfServer, Traffic::Swallowed, time(random)),
    |random| Fault::WayIsSpoilt(Way::OfServer, Traffic::Cut(random.random_range(0..4_000)), time(random)),
];

impl Deck {
    pub(super) fn new(random: StdRng) -> Self {
        Self { random, kinds: Vec::new() }
    }

    pub(super) fn draw(&mut self) -> Fault {
        if self.kinds.is_empty() {
            self.kinds.extend(KINDS);
            self.kinds.shuffle(&mut self.random);
        }
        let kind = self.kinds.pop().expect("it was filled just now");
        kind(&mut self.random)
    }
}

fn time(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(500..=LONGEST.as_millis() as u64))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedisStops(time) => write!(f, "Redis is stopped for {:.1} s", time.as_secs_f64()),
            Self::RedisIsKilled(time) => write!(f, "Redis is killed and away for {:.1} s", time.as_secs_f64()),
            Self::RedisHangs(time) => write!(f, "Redis hangs for {:.1} s", time.as_secs_f64()),
            Self::SubscribersAreCutOff => f.write_str("Redis closes the connection of every subscriber"),
            Self::KeysAreLost => f.write_str("Redis loses its keys"),
            Self::ServerIsKilled(time) => write!(f, "the server is killed and away for {:.1} s", time.as_secs_f64()),
            Self::ServerRestarts => f.write_str("the server restarts"),
            Self::ClientRestarts => f.write_str("the client restarts"),
            Self::WayIsSpoilt(way, traffic, time) => {
                let whose = match way {
                    Way::OfClients => "every tenth client",
                    Way::OfServer => "the server",
                };
                write!(f, "the way of {whose} to Redis is spoilt ({traffic:?}) for {:.1} s", time.as_secs_f64())
            }
        }
    }
}
