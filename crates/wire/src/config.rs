//! The configuration of one host, as the server resolved it from the templates.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, SeqAccessDeserializer};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{ContentHash, ServiceName, bounded};

/// The most services that one host runs.
pub const MAX_SERVICES: usize = 1_000;
const MAX_PARAMETERS: usize = 64;
const MAX_PARAMETER_BYTES: usize = 4_096;
const MAX_PARAMETER_LIST: usize = 256;
const MAX_PLUGIN_BYTES: usize = 128;

/// Which host configuration is meant: the larger number is the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Grows with every change; in practice the time of the change in milliseconds since 1970.
    #[serde(deserialize_with = "bounded::exact")]
    pub number: u64,
    /// The hash of the content.
    pub content: ContentHash,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.content)
    }
}

/// What one host has to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostConfig {
    /// Which one this is.
    pub revision: Revision,
    /// The services, sorted by name.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SERVICES>")]
    pub services: Vec<ServiceConfig>,
}

/// One service of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// The operator's name for it.
    pub name: ServiceName,
    /// Which plugin runs. Whether the client has it is for the client to say.
    #[serde(deserialize_with = "bounded::text::<_, MAX_PLUGIN_BYTES>")]
    pub plugin: String,
    /// How often, in milliseconds.
    #[serde(deserialize_with = "bounded::exact")]
    pub interval_ms: u64,
    /// How long one run may take, in milliseconds; the client has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What the plugin is told.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "bounded::map::<_, _, MAX_PARAMETERS>"
    )]
    pub parameters: Parameters,
}

/// A plugin's parameters by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Parameter {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A text of at most 4,096 bytes.
    Text(String),
    /// A list of at most 256 such texts.
    List(Vec<String>),
}

// Derived code would buffer the value in whatever size it claims before it looks at its type.
impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParameterVisitor)
    }
}

struct ParameterVisitor;

impl<'de> Visitor<'de> for ParameterVisitor {
    type Value = Parameter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, a number, a text or a list of texts")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Parameter, E> {
        Ok(Parameter::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parameter, E> {
        Ok(Parameter::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parameter, E> {
        let value = value.try_into().map_err(|_| E::custom(format_args!("{value} is above 2^63 - 1")))?;
        Ok(Parameter::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Parameter, E> {
        Ok(Parameter::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Parameter, E> {
        bounded::text::<_, MAX_PARAMETER_BYTES>(BorrowedStrDeserializer::new(value)).map(Parameter::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Parameter, A::Error> {
        let texts: Vec<Text> = bounded::list::<_, _, MAX_PARAMETER_LIST>(SeqAccessDeserializer::new(seq))?;
        Ok(Parameter::List(texts.into_iter().map(|Text(text)| text).collect()))
    }
}

#[derive(Deserialize)]
struct Text(#[serde(deserialize_with = "bounded::text::<_, MAX_PARAMETER_BYTES>")] String);

impl HostConfig {
    /// The hash by which two configurations count as the same.
    #[must_use]
    pub fn content_hash(services: &[ServiceConfig]) -> ContentHash {
        let bytes = rmp_serde::to_vec_named(services).expect("services hold nothing that MessagePack lacks");
        ContentHash::of(&bytes)
    }
}
