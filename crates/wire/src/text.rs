//! Prometheus text format 0.0.4: what a series looks like on a page, for everybody who writes one.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::{Family, Series};

/// The `Content-Type` of a page in this format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends the `# HELP` and `# TYPE` lines of a family.
pub fn write_header(page: &mut Vec<u8>, name: &str, kind: &str, help: &str) {
    page.extend_from_slice(b"# HELP ");
    page.extend_from_slice(name.as_bytes());
    page.push(b' ');
    write_escaped(page, help, |_| false);
    page.extend_from_slice(b"\n# TYPE ");
    page.extend_from_slice(name.as_bytes());
    page.push(b' ');
    page.extend_from_slice(kind.as_bytes());
    page.push(b'\n');
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
        write_header(&mut page, "x", "gauge", "a \"b\"\nc\\d");
        assert_eq!(String::from_utf8(page).unwrap(), "# HELP x a \"b\"\\nc\\\\d\n# TYPE x gauge\n");
    }
}
