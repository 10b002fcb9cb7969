//! What a host says: hello on its join channel, everything else on its reports channel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EncodedLayout, Epoch, HostId, LayoutId, MAX_SERVICES, Revision, ServerId, ServiceName, Values, bounded};

/// The most labels that a host claims.
pub const MAX_CLAIMED_LABELS: usize = 64;
/// The longest message of a service, in bytes.
pub const MAX_SERVICE_MESSAGE_BYTES: usize = 4_096;
const MAX_FACT_BYTES: usize = 256;
const MAX_NAME_BYTES: usize = 128;
const MAX_REASON_BYTES: usize = 1_024;
const MAX_LAYOUTS: usize = 1_000;
const MAX_SERVERS: usize = 16;
/// So many epochs of one host are told apart.
pub const MAX_EPOCHS: usize = 64;

/// A message of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostMessage<'a> {
    /// Who speaks; the channel has to say the same.
    pub host: HostId,
    /// The life of the client that the message is about: for a report the one that collected it.
    pub epoch: Epoch,
    /// What it says.
    #[serde(borrow)]
    pub body: HostBody<'a>,
}

/// What a host has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostBody<'a> {
    /// "Here I am", repeated until a welcome comes.
    Hello(Box<Hello>),
    /// The results of one tick.
    #[serde(borrow)]
    Report(Report<'a>),
    /// Layouts that were asked for, or that did not fit in their report.
    Layouts(Layouts),
    /// A configuration is in force.
    Applied(Applied),
    /// Reports that were asked for are no longer held.
    Gone(Gone),
    /// The client stops on purpose.
    Goodbye(Goodbye),
}

/// Says who the host is, what it runs and what it still holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The host's wall clock when it said so, in milliseconds since 1970.
    #[serde(deserialize_with = "bounded::exact")]
    pub sent_at_ms: u64,
    /// The client's version.
    #[serde(deserialize_with = "bounded::text::<_, MAX_NAME_BYTES>")]
    pub client_version: String,
    /// What the machine is.
    pub facts: Facts,
    /// Labels that the host claims for itself.
    #[serde(deserialize_with = "bounded::map::<_, _, MAX_CLAIMED_LABELS>")]
    pub labels: BTreeMap<String, ClaimedValue>,
    /// The configuration in force.
    pub revision: Option<Revision>,
    /// The reports that the host can still send, the current epoch's included, and the epochs of which none is left.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_EPOCHS>")]
    pub ring: Vec<RingRange>,
}

/// The value of a claimed label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimedValue(
    #[serde(deserialize_with = "bounded::text::<_, { crate::metric::MAX_LABEL_VALUE_BYTES }>")] pub String,
);

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// The operating system's name and version, as in `/etc/os-release`.
    #[serde(deserialize_with = "bounded::text::<_, MAX_FACT_BYTES>")]
    pub os: String,
    /// The kernel's release, as `uname -r` prints it.
    #[serde(deserialize_with = "bounded::text::<_, MAX_FACT_BYTES>")]
    pub kernel: String,
    /// The processor's architecture, as `uname -m` prints it.
    #[serde(deserialize_with = "bounded::text::<_, MAX_FACT_BYTES>")]
    pub architecture: String,
    /// Logical processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// When the machine started, in seconds since 1970.
    pub boot_time_seconds: u64,
}

/// The reports of one epoch that a ring holds. An empty range, with `first` behind `last`, tells of an epoch whose reports have
/// all left the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingRange {
    /// Which life collected them.
    pub epoch: Epoch,
    /// The oldest one.
    #[serde(deserialize_with = "bounded::exact")]
    pub first: u64,
    /// The newest one.
    #[serde(deserialize_with = "bounded::exact")]
    pub last: u64,
    /// What each server has acknowledged of this epoch.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SERVERS>")]
    pub acked: Vec<Acked>,
}

/// The highest cumulative acknowledgement that was heard from one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// Whose.
    pub server: ServerId,
    /// Every report up to here is settled.
    #[serde(deserialize_with = "bounded::exact")]
    pub up_to: u64,
}

/// The results of every service that was due at one tick; without services it is a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report<'a> {
    /// Counts the reports of an epoch from 1.
    #[serde(deserialize_with = "bounded::exact")]
    pub seq: u64,
    /// The oldest report of this epoch that the ring still held when this one was made.
    #[serde(deserialize_with = "bounded::exact")]
    pub oldest_seq: u64,
    /// What each server had acknowledged of this epoch when this one was made.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SERVERS>")]
    pub acked: Vec<Acked>,
    /// The host's wall clock at the tick, in milliseconds since 1970.
    #[serde(deserialize_with = "bounded::exact")]
    pub collected_at_ms: u64,
    /// The configuration in force.
    pub revision: Option<Revision>,
    /// Layouts that this server life has not seen yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, MAX_LAYOUTS>")]
    pub layouts: Vec<EncodedLayout>,
    /// One result for each service that was due.
    #[serde(borrow, deserialize_with = "bounded::list::<_, _, MAX_SERVICES>")]
    pub services: Vec<ServiceReport<'a>>,
}

/// The result of one run of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport<'a> {
    /// Which service.
    #[serde(deserialize_with = "bounded::borrowed_text::<_, MAX_NAME_BYTES>")]
    pub service: &'a str,
    /// How it went.
    pub status: Status,
    /// What there is to say about it: an error, or the output of a check.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::optional_text::<_, MAX_SERVICE_MESSAGE_BYTES>"
    )]
    pub message: Option<&'a str>,
    /// How long the run took, in microseconds.
    #[serde(deserialize_with = "bounded::exact")]
    pub duration_us: u64,
    /// What the values mean; nothing when there are none.
    pub layout: Option<LayoutId>,
    /// The values, in the order of the layout's series.
    #[serde(borrow)]
    pub values: Values<'a>,
}

/// How the run of a service went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It measured.
    Ok,
    /// It could not, and its message says why.
    Failed,
    /// It did not end within its timeout, or an earlier run still has not.
    TimedOut,
}

impl Status {
    /// The word for people and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Layouts on their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layouts {
    /// Each once.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_LAYOUTS>")]
    pub layouts: Vec<EncodedLayout>,
}

/// Which configuration a host has put in force, and what of it could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Which one.
    pub revision: Revision,
    /// The services that do not run.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SERVICES>")]
    pub refused: Vec<Refusal>,
}

/// A service that a host does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which service.
    pub service: ServiceName,
    /// Why.
    #[serde(deserialize_with = "bounded::text::<_, MAX_REASON_BYTES>")]
    pub reason: String,
}

/// The host no longer holds some of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Of this epoch, every report up to here.
    #[serde(deserialize_with = "bounded::exact")]
    pub up_to: u64,
}

/// The client stops on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// The last report of this epoch; 0 when there was none.
    #[serde(deserialize_with = "bounded::exact")]
    pub last_seq: u64,
}

impl Refusal {
    /// A refusal whose reason is cut to what the wire carries.
    #[must_use]
    pub fn new(service: ServiceName, reason: &str) -> Self {
        Self { service, reason: reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned() }
    }
}

impl<'a> ServiceReport<'a> {
    /// A result without values; the message is cut to what the wire carries.
    #[must_use]
    pub fn without_values(service: &'a str, status: Status, message: &'a str, duration_us: u64) -> Self {
        let message = &message[..message.floor_char_boundary(MAX_SERVICE_MESSAGE_BYTES)];
        Self { service, status, message: Some(message), duration_us, layout: None, values: Values::default() }
    }
}
