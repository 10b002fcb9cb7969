//! Samples as a page of Prometheus's text format 0.0.4, for people who ask a client what it would report.

use hostwatch_wire::text::{Format, write_series, write_value};

use crate::Samples;

impl Samples {
    /// Every family with its values, after a collection that finished well.
    ///
    /// # Panics
    /// Never: what is written was text before.
    #[must_use]
    pub fn text(&self) -> String {
        let (mut page, mut values) = (Vec::new(), self.values().iter());
        for family in &self.layout().families {
            Format::Text.write_header(&mut page, &family.name, family.kind, &family.help);
            for (series, value) in family.series.iter().zip(&mut values) {
                if write_series(&mut page, family, series) {
                    page.push(b'}');
                } else {
                    // Without labels the brace that write_series() opened has no use.
                    page.pop();
                }
                page.push(b' ');
                write_value(&mut page, *value);
                page.push(b'\n');
            }
        }
        String::from_utf8(page).expect("names, labels and help are text, and a number is ASCII")
    }
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::MetricType;

    use super::*;

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
        let expected = "# HELP plain No label.\n\
                        # TYPE plain gauge\n\
                        plain 0.5\n\
                        # HELP labelled_total Two labels.\n\
                        # TYPE labelled_total counter\n\
                        labelled_total{a=\"1\",b=\"x\\\"y\"} 2\n\
                        labelled_total{a=\"2\",b=\"z\"} 3000000000\n";
        assert_eq!(samples.text(), expected);
    }
}
