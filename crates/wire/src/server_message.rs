//! What a server says to one host, on the host's commands channel.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Epoch, HostConfig, LayoutId, Life, MAX_EPOCHS, Revision, ServerId, bounded};

const MAX_RANGES: usize = 1_000;
const MAX_LAYOUTS: usize = 1_000;

/// A message of a server. The retained configuration of a host is one too: its body is then [`ServerBody::Config`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerMessage {
    /// Which server.
    pub server: ServerId,
    /// Which life of it: a new one has seen no layout yet.
    pub life: Life,
    /// What it says.
    pub body: ServerBody,
}

/// What a server has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerBody {
    /// The server listens: the answer to a hello, or the announcement of a new life.
    Welcome(Welcome),
    /// What the host has to run from now on.
    Config(HostConfig),
    /// What has arrived.
    Ack(Ack),
    /// What has not arrived and is wanted.
    Resend(Resend),
    /// What is needed to read the host's reports.
    WantLayout(WantLayout),
}

/// The server listens to this host's reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The epoch of the hello that this answers; none when the server announces itself.
    pub answers: Option<Epoch>,
    /// The configuration that should be in force; none for a host that is not configured here.
    pub revision: Option<Revision>,
    /// What the server has of each epoch.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_EPOCHS>")]
    pub known: Vec<Known>,
    /// The longest time between two reports, in milliseconds.
    #[serde(deserialize_with = "bounded::exact")]
    pub heartbeat_ms: u64,
    /// The time between two acknowledgements, in milliseconds.
    #[serde(deserialize_with = "bounded::exact")]
    pub ack_interval_ms: u64,
}

/// What the server has of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which life of the client.
    pub epoch: Epoch,
    /// Every report up to here is settled.
    #[serde(deserialize_with = "bounded::exact")]
    pub up_to: u64,
}

/// Cumulative acknowledgement: received, or known to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which life of the client.
    pub epoch: Epoch,
    /// Every report up to here is settled.
    #[serde(deserialize_with = "bounded::exact")]
    pub up_to: u64,
    /// Whether this answers a goodbye.
    #[serde(default)]
    pub goodbye: bool,
}

/// Reports that the server lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// Which life of the client.
    pub epoch: Epoch,
    /// Exactly these.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_RANGES>")]
    pub ranges: Vec<SeqRange>,
}

/// Reports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SeqRange {
    /// At least 1.
    pub first: u64,
    /// At least `first`.
    pub last: u64,
}

impl<'de> Deserialize<'de> for SeqRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(deserialize_with = "bounded::exact")]
            first: u64,
            #[serde(deserialize_with = "bounded::exact")]
            last: u64,
        }
        let Raw { first, last } = Raw::deserialize(deserializer)?;
        if first == 0 || first > last {
            return Err(serde::de::Error::custom(format_args!("{first} to {last} is no range of reports")));
        }
        Ok(Self { first, last })
    }
}

/// Layouts that reports referred to and that the server does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantLayout {
    /// Each once.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_LAYOUTS>")]
    pub layouts: Vec<LayoutId>,
}
