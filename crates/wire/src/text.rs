//! Prometheus text format 0.0.4 and OpenMetrics 1.0: what a series looks like on a page, for everybody who writes one.
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use crate::{Family, MetricType, Series};

/// The formats of a page. Their samples are the same but for the numbers in `le` and `quantile`; their headers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of a page.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The name of the family that a family called `name` in the text format is here: OpenMetrics has a counter's `_total`
    /// in its samples only.
    #[must_use]
    pub fn family_name(self, name: &str, kind: MetricType) -> &str {
        match self {
            Self::OpenMetrics if kind == MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        }
    }

    /// Appends the lines that say what a family is. `name` is that of the text format; a counter that OpenMetrics cannot
    /// call one, for want of `_total`, is of an unknown type there.
    pub fn write_header(self, page: &mut Vec<u8>, name: &str, kind: MetricType, help: &str) {
        let kind = match self {
            Self::OpenMetrics if kind == MetricType::Counter && !name.ends_with("_total") => MetricType::Unknown,
            _ => kind,
        };
        let (name, kind) = (
            self.family_name(name, kind),
            match self {
                Self::Text => kind.text_format_name(),
                Self::OpenMetrics => kind.open_metrics_name(),
            },
        );
        page.extend_from_slice(b"# HELP ");
        page.extend_from_slice(name.as_bytes());
        page.push(b' ');
        write_escaped(page, help, |byte| byte == b'"' && self == Self::OpenMetrics);
        page.extend_from_slice(b"\n# TYPE ");
        page.extend_from_slice(name.as_bytes());
        page.push(b' ');
        page.extend_from_slice(kind.as_bytes());
        page.push(b'\n');
    }

    /// Appends what ends a page.
    pub fn write_end(self, page: &mut Vec<u8>) {
        if self == Self::OpenMetrics {
            page.extend_from_slice(b"# EOF\n");
        }
    }

    /// Appends a series of a family of type `kind` as [`write_series`] wrote it. OpenMetrics wants whole numbers in `le` and
    /// `quantile` to have a fraction: `1.0`.
    pub fn write_ready_series(self, page: &mut Vec<u8>, kind: MetricType, series: &[u8]) {
        let label = match (self, kind) {
            (Self::OpenMetrics, MetricType::Histogram) => &b"le=\""[..],
            (Self::OpenMetrics, MetricType::Summary) => &b"quantile=\""[..],
            _ => return page.extend_from_slice(series),
        };
        // The braces and commas of the series stand before a label's name, whatever other values hold.
        let begins = |at: usize| at > 0 && matches!(series[at - 1], b'{' | b',') && series[at..].starts_with(label);
        let value = (0..series.len()).find(|at| begins(*at)).map(|at| at + label.len());
        let digits = value.map_or(0, |value| series[value..].iter().take_while(|byte| byte.is_ascii_digit()).count());
        match value {
            Some(value) if digits > 0 && series.get(value + digits) == Some(&b'"') => {
                page.extend_from_slice(&series[..value + digits]);
                page.extend_from_slice(b".0");
                page.extend_from_slice(&series[value + digits..]);
            }
            _ => page.extend_from_slice(series),
        }
    }
}

/// Appends the name of a series with its labels and an open brace, `name{a="b"`, so that more labels can follow.
/// Returns whether there was a label.
pub fn write_series(page: &mut Vec<u8>, family: &Family, series: &Series) -> bool {
    page.extend_from_slice(family.name.as_bytes());
    page.extend_from_slice(series.suffix.as_str().as_bytes());
    page.push(b'{');
    for (index, label) in series.labels.iter().enumerate() {
        if index > 0 {
            page.push(b',');
        }
        write_label(page, &label.name, &label.value);
    }
    !series.labels.is_empty()
}

/// Appends `name="value"`, escaped.
pub fn write_label(page: &mut Vec<u8>, name: &str, value: &str) {
    page.extend_from_slice(name.as_bytes());
    page.extend_from_slice(b"=\"");
    write_escaped(page, value, |byte| byte == b'"');
    page.push(b'"');
}

/// Appends a value: whole numbers without a fraction, all others in the shortest form that reads back the same.
pub fn write_value(page: &mut Vec<u8>, value: f64) {
    /// Up to here every whole number is an `f64` of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.is_nan() {
        page.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        page.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && value.abs() <= EXACT {
        page.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        page.extend_from_slice(zmij::Buffer::new().format(value).as_bytes());
    }
}

/// Escapes `\`, line feed and whatever else `also` names with a backslash.
fn write_escaped(page: &mut Vec<u8>, text: &str, also: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        match byte {
            b'\n' => page.extend_from_slice(b"\\n"),
            b'\\' => page.extend_from_slice(b"\\\\"),
            _ if also(byte) => page.extend_from_slice(&[b'\\', byte]),
            _ => page.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: f64) -> String {
        let mut page = Vec::new();
        write_value(&mut page, value);
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn values() {
        assert_eq!(value(0.0), "0");
        assert_eq!(value(-3.0), "-3");
        assert_eq!(value(0.25), "0.25");
        assert_eq!(value(16_777_216_000.0), "16777216000");
        assert_eq!(value(f64::NAN), "NaN");
        assert_eq!(value(f64::INFINITY), "+Inf");
        assert_eq!(value(f64::NEG_INFINITY), "-Inf");
        for odd in [f64::MIN_POSITIVE, f64::MAX, 1.0 / 3.0, 1e300, -1e-7] {
            assert_eq!(value(odd).parse::<f64>().unwrap(), odd);
        }
    }

    #[test]
    fn what_needs_escaping_is_escaped() {
        let mut page = Vec::new();
        write_label(&mut page, "path", "C:\\a\n\"b\"");
        assert_eq!(String::from_utf8(page).unwrap(), r#"path="C:\\a\n\"b\"""#);
        let mut page = Vec::new();
        Format::Text.write_header(&mut page, "x", MetricType::Gauge, "a \"b\"\nc\\d");
        assert_eq!(String::from_utf8(page).unwrap(), "# HELP x a \"b\"\\nc\\\\d\n# TYPE x gauge\n");
    }

    fn header(name: &str, kind: MetricType) -> String {
        let mut page = Vec::new();
        Format::OpenMetrics.write_header(&mut page, name, kind, "\"Help\".");
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn headers_of_open_metrics() {
        assert_eq!(header("a_total", MetricType::Counter), "# HELP a \\\"Help\\\".\n# TYPE a counter\n");
        assert_eq!(header("a", MetricType::Counter), "# HELP a \\\"Help\\\".\n# TYPE a unknown\n");
        assert_eq!(header("a_total", MetricType::Unknown), "# HELP a_total \\\"Help\\\".\n# TYPE a_total unknown\n");
    }

    #[test]
    fn buckets_of_open_metrics() {
        let bucket = |kind, series: &str| {
            let mut page = Vec::new();
            Format::OpenMetrics.write_ready_series(&mut page, kind, series.as_bytes());
            String::from_utf8(page).unwrap()
        };
        use MetricType::{Gauge, Histogram, Summary};
        assert_eq!(bucket(Histogram, "h_bucket{le=\"1\","), "h_bucket{le=\"1.0\",");
        assert_eq!(bucket(Histogram, "h_bucket{a=\"b\",le=\"10\","), "h_bucket{a=\"b\",le=\"10.0\",");
        assert_eq!(bucket(Histogram, "h_bucket{le=\"0.5\","), "h_bucket{le=\"0.5\",");
        assert_eq!(bucket(Histogram, "h_bucket{le=\"+Inf\","), "h_bucket{le=\"+Inf\",");
        assert_eq!(bucket(Summary, "s{quantile=\"1\","), "s{quantile=\"1.0\",");
        assert_eq!(bucket(Gauge, "g{le=\"1\","), "g{le=\"1\",");
        assert_eq!(bucket(Histogram, "h_sum{"), "h_sum{");
    }
}
