//! Layouts: the names, labels and types of a service's series, without their values.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::metric::{MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, is_label_name, is_metric_name, is_reserved_metric};
use crate::{Label, LayoutId, MetricType, Suffix};

/// Families of a layout.
pub const MAX_FAMILIES: usize = 10_000;
const MAX_SERIES: usize = 50_000;
/// Labels of a series.
pub const MAX_LABELS: usize = 64;
/// Bytes of what a family says about itself.
pub const MAX_HELP_BYTES: usize = 1_024;

/// The series of one service, in the order of their values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Layout {
    /// The families, each name once.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_FAMILIES>")]
    pub families: Vec<Family>,
}

/// All series of one metric name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`
    #[serde(deserialize_with = "bounded::text::<_, MAX_NAME_BYTES>")]
    pub name: String,
    /// What the `# TYPE` line says.
    #[serde(rename = "type")]
    pub kind: MetricType,
    /// What the `# HELP` line says, unescaped.
    #[serde(deserialize_with = "bounded::text::<_, MAX_HELP_BYTES>")]
    pub help: String,
    /// The series, in the order of their values.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SERIES>")]
    pub series: Vec<Series>,
}

/// One time series of a family.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Series {
    /// What its name carries behind the family's.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub suffix: Suffix,
    /// Its labels, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, MAX_LABELS>")]
    pub labels: Vec<Label>,
}

fn is_plain(suffix: &Suffix) -> bool {
    *suffix == Suffix::None
}

/// Why a layout is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLayout {
    /// The bytes are no layout.
    #[error("malformed layout: {0}")]
    Malformed(String),
    /// More than 50,000 series in all.
    #[error("a layout holds at most {MAX_SERIES} series")]
    TooManySeries,
    /// More of something than a decoder takes.
    #[error("{what} is above the limit of {max}")]
    TooLong {
        /// Of what.
        what: String,
        /// How much is allowed, in bytes or elements.
        max: usize,
    },
    /// Not a metric name.
    #[error("{0:?} is not a metric name")]
    MetricName(String),
    /// A name that the server or Prometheus sets.
    #[error("the name {0:?} is reserved")]
    Reserved(String),
    /// Not a label name.
    #[error("{0:?} is not a label name")]
    LabelName(String),
    /// A family or a series that stands twice.
    #[error("{0} stands twice")]
    Duplicate(String),
    /// Labels that are not sorted by name.
    #[error("the labels of {0} are not sorted by name")]
    Unsorted(String),
    /// A suffix that the family's type does not have.
    #[error("a family of type {kind} has no series {name}")]
    Suffix {
        /// The type of the family.
        kind: &'static str,
        /// The full name of the series.
        name: String,
    },
}

impl Layout {
    /// How many series, and so how many values, there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.families.iter().map(|family| family.series.len()).sum()
    }

    /// Whether there is no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks what the types alone do not say: names, reserved names, order, lengths, and that nothing stands twice.
    /// What passes here can be decoded again.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidLayout> {
        if self.len() > MAX_SERIES {
            return Err(InvalidLayout::TooManySeries);
        }
        check_length(self.families.len(), MAX_FAMILIES, || "the number of families".to_owned())?;
        let mut names = HashSet::new();
        for family in &self.families {
            family.check(&mut names)?;
        }
        Ok(())
    }
}

impl Family {
    /// `names` holds every sample name that the families before this one have taken.
    fn check(&self, names: &mut HashSet<String>) -> Result<(), InvalidLayout> {
        if !is_metric_name(&self.name) {
            return Err(InvalidLayout::MetricName(self.name.clone()));
        }
        if is_reserved_metric(&self.name) {
            return Err(InvalidLayout::Reserved(self.name.clone()));
        }
        check_length(self.help.len(), MAX_HELP_BYTES, || format!("the help of {}", self.name))?;
        for suffix in self.kind.suffixes() {
            let name = format!("{}{}", self.name, suffix.as_str());
            if let Some(name) = names.replace(name) {
                return Err(InvalidLayout::Duplicate(name));
            }
        }
        let mut seen = HashSet::with_capacity(self.series.len());
        for series in &self.series {
            self.check_series(series)?;
            if !seen.insert(series) {
                return Err(InvalidLayout::Duplicate(format!("a series of {}", self.name)));
            }
        }
        Ok(())
    }

    fn check_series(&self, series: &Series) -> Result<(), InvalidLayout> {
        if !self.kind.suffixes().contains(&series.suffix) {
            return Err(InvalidLayout::Suffix {
                kind: self.kind.text_format_name(),
                name: format!("{}{}", self.name, series.suffix.as_str()),
            });
        }
        check_length(series.labels.len(), MAX_LABELS, || format!("the number of labels of {}", self.name))?;
        for label in &series.labels {
            if !is_label_name(&label.name) {
                return Err(InvalidLayout::LabelName(label.name.clone()));
            }
            if matches!(label.name.as_str(), "instance" | "job") || label.name.starts_with("__") {
                return Err(InvalidLayout::Reserved(label.name.clone()));
            }
            let what = || format!("the value of label {} of {}", label.name, self.name);
            check_length(label.value.len(), MAX_LABEL_VALUE_BYTES, what)?;
        }
        for pair in series.labels.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(InvalidLayout::Duplicate(format!("label {} of {}", pair[0].name, self.name)));
            }
            if pair[0].name > pair[1].name {
                return Err(InvalidLayout::Unsorted(self.name.clone()));
            }
        }
        Ok(())
    }
}

fn check_length(length: usize, max: usize, what: impl Fn() -> String) -> Result<(), InvalidLayout> {
    if length > max { Err(InvalidLayout::TooLong { what: what(), max }) } else { Ok(()) }
}

/// A layout as it travels: its canonical bytes, of which its id is the hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncodedLayout(serde_bytes::ByteBuf);

impl EncodedLayout {
    /// The canonical bytes of `layout`.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let bytes = rmp_serde::to_vec_named(layout).expect("a layout holds nothing that MessagePack lacks");
        Self(bytes.into())
    }

    /// The hash of the bytes.
    #[must_use]
    pub fn id(&self) -> LayoutId {
        LayoutId::of(&self.0)
    }

    /// Length of the bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.0.len()
    }

    /// Decodes and checks.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode(&self) -> Result<Layout, InvalidLayout> {
        let layout: Layout = crate::codec::from_bytes(&self.0).map_err(InvalidLayout::Malformed)?;
        layout.check()?;
        Ok(layout)
    }
}
