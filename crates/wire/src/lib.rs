//! What hostwatch's daemons say to each other: messages, channel and key names, encoding.
//!
//! No I/O and no clock. A message is one version byte followed by MessagePack with named fields. Everything that
//! is decoded here came from a network: lengths are bounded before memory is allocated for them, and names are
//! checked by the types that hold them, so that a decoded value is a valid one.

mod bounded;
mod codec;
mod config;
mod host_message;
mod ids;
mod layout;
mod metric;
mod names;
mod server_message;
pub mod text;
mod values;

pub use codec::{DecodeError, EncodeError, MAX_MESSAGE_BYTES, PROTOCOL_VERSION};
pub use config::{HostConfig, MAX_SERVICES, Parameter, Parameters, Revision, ServiceConfig};
pub use host_message::{
    Acked, Applied, ClaimedValue, Facts, Gone, Goodbye, Hello, HostBody, HostMessage, Layouts, MAX_CLAIMED_LABELS,
    MAX_EPOCHS, MAX_SERVICE_MESSAGE_BYTES, Refusal, Report, RingRange, ServiceReport, Status,
};
pub use ids::{ContentHash, Epoch, HostId, InvalidName, LayoutId, Life, ServerId, ServiceName};
pub use layout::{EncodedLayout, Family, InvalidLayout, Layout, MAX_FAMILIES, MAX_HELP_BYTES, MAX_LABELS, Series};
pub use metric::{
    Label, MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, MetricType, Suffix, is_label_name, is_metric_name, is_reserved_label,
    is_reserved_metric,
};
pub use names::{Channel, InvalidPrefix, Names};
pub use server_message::{Ack, Known, Resend, SeqRange, ServerBody, ServerMessage, WantLayout, Welcome};
pub use values::Values;
