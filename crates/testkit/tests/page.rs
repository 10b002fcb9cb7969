//! What the reader of pages takes and what it refuses.

use hostwatch_testkit::Page;

fn page(text: &str) -> Page {
    Page::parse(text).expect(text)
}

fn refused(text: &str) -> String {
    Page::parse(text).expect_err(text).to_string()
}

#[test]
fn samples_families_and_values() {
    let page = page(concat!(
        "# HELP a_total back\\\\slash and\\nline\n",
        "# TYPE a_total counter\n",
        "a_total{x=\"1\",y=\"q\\\"\\\\\\n}\"} 1.5e3\n",
        "a_total{ x = \"2\" , } -Inf 1700000000000\n",
        "# a comment\n",
        "\n",
        "plain NaN\n",
    ));
    assert_eq!(page.samples.len(), 3);
    assert_eq!(page.kind("a_total"), Some("counter"));
    assert_eq!(page.kind("plain"), None);
    assert_eq!(page.families["a_total"].help.as_deref(), Some("back\\slash and\nline"));
    assert_eq!(page.value("a_total", &[("x", "1")]), Some(1500.0));
    assert_eq!(page.value("a_total", &[("x", "2")]), Some(f64::NEG_INFINITY));
    assert_eq!(page.value("a_total", &[("x", "3")]), None);
    assert_eq!(page.samples[0].label("y"), Some("q\"\\\n}"));
    assert!(page.value("plain", &[]).unwrap().is_nan());
    assert_eq!(page.series("a_total").count(), 2);
}

#[test]
fn histograms_and_summaries_are_one_family() {
    let page = page(concat!(
        "# TYPE h histogram\n",
        "h_bucket{le=\"0.1\"} 1\n",
        "h_bucket{le=\"+Inf\"} 2\n",
        "h_sum 3\n",
        "h_count 2\n",
        "# TYPE s summary\n",
        "s{quantile=\"0.5\"} 1\n",
        "s_sum 3\n",
        "s_count 2\n",
    ));
    assert_eq!(page.families.keys().collect::<Vec<_>>(), ["h", "s"]);
    assert!(refused("# TYPE h histogram\nh_bucket 1\n").contains("no label \"le\""));
    assert!(refused("# TYPE h histogram\nh 1\n").contains("bare name"));
}

#[test]
fn malformed_pages_are_refused() {
    for (text, what) in [
        ("a 1", "no line feed"),
        ("a\n", "no value"),
        ("a{} \n", "no value"),
        ("a one\n", "is no number"),
        ("a infinity\n", "is no number"),
        ("a 1 2.5\n", "is no timestamp"),
        ("a 1 2 3\n", "behind the timestamp"),
        ("1a 1\n", "no metric name"),
        ("a-b 1\n", "no metric name"),
        (" a 1\n", "no metric name"),
        ("a 1\r\n\u{feff}b 1\n", "no metric name"),
        ("a{b} 1\n", "without a value"),
        ("a{b=1} 1\n", "without quotes"),
        ("a{b=\"1} 1\n", "does not end"),
        ("a{b=\"1\\\"} 1\n", "does not end"),
        ("a{b=\"\\t\"} 1\n", "unknown escape"),
        ("a{b=\"1\"c=\"2\"} 1\n", "no comma"),
        ("a{b=\"1\",b=\"2\"} 1\n", "twice"),
        ("a{b:c=\"1\"} 1\n", "no label name"),
        ("a{,} 1\n", "without a value"),
        ("a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 2\n", "on the page already"),
        ("a 1\n# TYPE a gauge\n", "has samples already"),
        ("# TYPE a gauge\n# TYPE a gauge\n", "second TYPE"),
        ("# HELP a x\n# HELP a x\n", "second HELP"),
        ("# HELP a \\t\n", "unknown escape"),
        ("# TYPE a\n", "without a type"),
        ("# TYPE a Gauge\n", "is no type"),
        ("# TYPE a-b gauge\n", "no metric name"),
        ("# TYPE a gauge\n# TYPE b gauge\na 1\n", "not together"),
        ("a{x=\"1\"} 1\nb 1\na{x=\"2\"} 1\n", "not together"),
    ] {
        let error = refused(text);
        assert!(error.contains(what), "{text:?}: {error}");
    }
    assert!(refused("a 1\nb b\n").starts_with("page, line 2: "));
}

#[test]
fn an_ambiguous_question_is_a_mistake() {
    let page = page("a{x=\"1\"} 1\na{x=\"2\"} 1\n");
    assert_eq!(page.value("a", &[("x", "2")]), Some(1.0));
    assert!(std::panic::catch_unwind(|| page.value("a", &[])).is_err());
}
