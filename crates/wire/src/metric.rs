//! The grammar of series, as Prometheus's text format 0.0.4 has it, and the names that hosts may not take.

use serde::{Deserialize, Serialize};

use crate::bounded;

/// Bytes of a metric's or label's name.
pub const MAX_NAME_BYTES: usize = 200;
/// Bytes of a label's value.
pub const MAX_LABEL_VALUE_BYTES: usize = 1_024;

/// The type of a family, as in the `# TYPE` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricType {
    /// Only grows, or starts again at zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
    /// Quantiles, a sum and a count.
    Summary,
    /// Not known: `untyped` in the text format, `unknown` in OpenMetrics.
    Unknown,
}

impl MetricType {
    /// The word that text format 0.0.4 uses.
    #[must_use]
    pub fn text_format_name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "untyped",
        }
    }

    /// The word that OpenMetrics uses.
    #[must_use]
    pub fn open_metrics_name(self) -> &'static str {
        if self == Self::Unknown { "unknown" } else { self.text_format_name() }
    }

    /// What the names of this type's series may end with, beside the family's name.
    #[must_use]
    pub fn suffixes(self) -> &'static [Suffix] {
        match self {
            Self::Counter | Self::Gauge | Self::Unknown => &[Suffix::None],
            Self::Histogram => &[Suffix::Bucket, Suffix::Sum, Suffix::Count],
            Self::Summary => &[Suffix::None, Suffix::Sum, Suffix::Count],
        }
    }
}

/// What a series' name carries behind the name of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suffix {
    /// Nothing.
    #[default]
    None,
    /// `_bucket`
    Bucket,
    /// `_sum`
    Sum,
    /// `_count`
    Count,
}

impl Suffix {
    /// The suffix as it stands in a series' name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Bucket => "_bucket",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }
}

/// One label of a series: `(name, value)` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(LabelName, LabelValue)", into = "(String, String)")]
pub struct Label {
    /// `[a-zA-Z_][a-zA-Z0-9_]*`
    pub name: String,
    /// Any UTF-8.
    pub value: String,
}

#[derive(Deserialize)]
struct LabelName(#[serde(deserialize_with = "bounded::text::<_, MAX_NAME_BYTES>")] String);

#[derive(Deserialize)]
struct LabelValue(#[serde(deserialize_with = "bounded::text::<_, MAX_LABEL_VALUE_BYTES>")] String);

impl From<(LabelName, LabelValue)> for Label {
    fn from((name, value): (LabelName, LabelValue)) -> Self {
        Self { name: name.0, value: value.0 }
    }
}

impl From<Label> for (String, String) {
    fn from(label: Label) -> Self {
        (label.name, label.value)
    }
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*` of at most 200 bytes.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    is_identifier(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*` of at most 200 bytes.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    is_identifier(name, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_identifier(name: &str, allowed: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes.iter().all(|byte| allowed(*byte))
}

/// Whether a host may not claim `name` as a label of its own, because the server or Prometheus sets it.
#[must_use]
pub fn is_reserved_label(name: &str) -> bool {
    matches!(name, "instance" | "job" | "alertname" | "severity") || name.starts_with("__")
}

/// Whether a series of a host may not be called `name`.
#[must_use]
pub fn is_reserved_metric(name: &str) -> bool {
    /// Of our own series, a host sends the client's figures about itself and the results of its checks.
    const OURS_FROM_HOSTS: [&str; 3] = ["hostwatch_client_", "hostwatch_check_", "hostwatch_series_dropped"];
    name == "up"
        || name.starts_with("ALERTS")
        || name.starts_with("scrape_")
        || (name.starts_with("hostwatch_") && !OURS_FROM_HOSTS.iter().any(|ours| name.starts_with(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_and_labels() {
        assert!(is_metric_name("node_load1") && is_metric_name("a:b") && is_metric_name("_x"));
        assert!(!is_metric_name("") && !is_metric_name("1a") && !is_metric_name("a-b") && !is_metric_name("a{"));
        assert!(is_label_name("mode") && !is_label_name("a:b") && !is_label_name("é"));
    }

    #[test]
    fn names_that_are_not_a_hosts_to_take() {
        for name in ["up", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds", "hostwatch_host_up"] {
            assert!(is_reserved_metric(name), "{name}");
        }
        assert!(!is_reserved_metric("node_load1") && !is_reserved_metric("hostwatch_client_ring_bytes"));
    }
}
