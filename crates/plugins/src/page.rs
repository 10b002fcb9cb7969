//! Samples as a page of Prometheus's text format 0.0.4, for people who ask a client what it would report.

use hostwatch_wire::Layout;
use hostwatch_wire::text::{Format, write_series, write_value};

/// Appends every family of `layout` with `values`, of which there is one for each series.
pub fn write_text(layout: &Layout, values: &[f64], page: &mut Vec<u8>) {
    let mut values = values.iter();
    for family in &layout.families {
        Format::Text.write_header(page, &family.name, family.kind, &family.help);
        for (series, value) in family.series.iter().zip(&mut values) {
            if write_series(page, family, series) {
                page.push(b'}');
            } else {
                // Without labels the brace that write_series() opened has no use.
                page.pop();
            }
            page.push(b' ');
            write_value(page, *value);
            page.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::MetricType;

    use super::*;
    use crate::Samples;

    #[test]
    fn series_with_and_without_labels() {
        let mut samples = Samples::new();
        samples.begin();
        samples.family("plain", MetricType::Gauge, "No label.");
        samples.push(&[], 0.5);
        samples.family("labelled_total", MetricType::Counter, "Two labels.");
        samples.push(&[("a", "1"), ("b", "x\"y")], 2.0);
        samples.push(&[("a", "2"), ("b", "z")], 3e9);
        samples.finish().unwrap();
        let mut page = Vec::new();
        write_text(samples.layout(), samples.values(), &mut page);
        let expected = "# HELP plain No label.\n\
                        # TYPE plain gauge\n\
                        plain 0.5\n\
                        # HELP labelled_total Two labels.\n\
                        # TYPE labelled_total counter\n\
                        labelled_total{a=\"1\",b=\"x\\\"y\"} 2\n\
                        labelled_total{a=\"2\",b=\"z\"} 3000000000\n";
        assert_eq!(String::from_utf8(page).unwrap(), expected);
    }
}
