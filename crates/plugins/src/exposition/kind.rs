//! The types of families in both formats, and what they become on the wire.

use hostwatch_wire::text::Format;
use hostwatch_wire::{MetricType, Suffix};

/// The types of both formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    /// A counter of OpenMetrics, whose series are called `…_total`.
    Total,
    Gauge,
    Histogram,
    /// Of OpenMetrics; its series travel as families of no known type.
    GaugeHistogram,
    Summary,
    /// Of OpenMetrics; its series are called `…_info`.
    Info,
    Unknown,
}

impl Kind {
    pub(super) fn parse(word: &str, format: Format) -> Option<Self> {
        Some(match (word, format) {
            ("counter", Format::Text) => Self::Counter,
            ("counter", Format::OpenMetrics) => Self::Total,
            ("gauge", _) => Self::Gauge,
            ("histogram", _) => Self::Histogram,
            ("summary", _) => Self::Summary,
            ("untyped", Format::Text) | ("unknown", Format::OpenMetrics) => Self::Unknown,
            ("gaugehistogram", Format::OpenMetrics) => Self::GaugeHistogram,
            ("info", Format::OpenMetrics) => Self::Info,
            ("stateset", Format::OpenMetrics) => Self::Gauge,
            _ => return None,
        })
    }

    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Counter | Self::Total => MetricType::Counter,
            Self::Gauge | Self::Info => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Summary => MetricType::Summary,
            Self::GaugeHistogram | Self::Unknown => MetricType::Unknown,
        }
    }

    /// What the names of all series end with.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Total => "_total",
            Self::Info => "_info",
            _ => "",
        }
    }
}

/// Which of the families that `find` knows has series of this name beside those of its own.
pub(crate) fn owner_of<T>(name: &str, find: impl Fn(&str) -> Option<(T, MetricType)>) -> Option<T> {
    [Suffix::Bucket, Suffix::Sum, Suffix::Count].into_iter().find_map(|suffix| {
        let (base, kind) = find(name.strip_suffix(suffix.as_str())?)?;
        kind.suffixes().contains(&suffix).then_some(base)
    })
}

/// The label that tells series of this type and ending apart.
pub(super) fn bound_name(kind: MetricType, suffix: Suffix) -> Option<&'static str> {
    match (kind, suffix) {
        (MetricType::Histogram, Suffix::Bucket) => Some("le"),
        (MetricType::Summary, Suffix::None) => Some("quantile"),
        _ => None,
    }
}
