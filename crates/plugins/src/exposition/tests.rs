//! Pages as people and exporters write them, and as nobody should.

use hostwatch_wire::text::Format;
use proptest::prelude::*;

use super::{MAX_SERIES, Mistake, Origin, Page};
use crate::Samples;

const TEXT: Origin = Origin::Exporter(Format::Text);
const OPEN_METRICS: Origin = Origin::Exporter(Format::OpenMetrics);

/// What a page says, written as text format 0.0.4, without the lines of HELP.
fn read(page: &str, origin: Origin) -> Result<String, String> {
    let mut parsed = Page::default();
    parsed.parse(page.as_bytes(), origin).map_err(|mistake| mistake.to_string())?;
    let text = written(&parsed);
    Ok(text.lines().filter(|line| !line.starts_with("# HELP")).map(|line| format!("{line}\n")).collect())
}

fn written(page: &Page) -> String {
    let mut samples = Samples::new();
    samples.begin();
    page.push_to(&mut samples);
    samples.finish().unwrap();
    assert_eq!(samples.values().len(), page.len());
    samples.text()
}

#[test]
fn what_is_inside_quotes_is_no_syntax() {
    for labels in [
        r#"{a="b,c",d="e}"}"#,
        r##"{a="# {x=\"1\"} 2"}"##,
        r#"{a="\\",b="\"",c="\n"}"#,
        r#"{a="=",b=" ",c="	"}"#,
        r#"{a="ü€😀"}"#,
        r#"{a=""}"#,
    ] {
        assert_eq!(read(&format!("x{labels} 1"), TEXT), Ok(format!("# TYPE x untyped\nx{labels} 1\n")));
    }
    let spaced = "  x\t{ a = \"b\" , c=\"d\", }\t 1 \n";
    assert_eq!(read(spaced, TEXT).unwrap(), "# TYPE x untyped\nx{a=\"b\",c=\"d\"} 1\n");
    // Prometheus keeps what is no escape.
    assert_eq!(read(r#"x{a="C:\temp"} 1"#, TEXT).unwrap(), "# TYPE x untyped\nx{a=\"C:\\\\temp\"} 1\n");
}

#[test]
fn numbers_as_go_writes_them() {
    for (number, expected) in [
        ("1e+06", "1000000"),
        ("-1.5E-3", "-0.0015"),
        ("+Inf", "+Inf"),
        ("-inf", "-Inf"),
        ("nan", "NaN"),
        (".5", "0.5"),
        ("3.", "3"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        let expected: f64 = expected.parse().unwrap();
        let mut page = Page::default();
        page.parse(format!("x {number}").as_bytes(), TEXT).unwrap();
        let found = page.series[0].value;
        assert!(found == expected || (found.is_nan() && expected.is_nan()), "{number}: {found}");
    }
}

#[test]
fn families_may_be_scattered_and_come_in_one_order() {
    let page = "b 1\n# TYPE a gauge\na{x=\"2\"} 2\n\n# a comment\nc 3\n# HELP a Of a.\na{x=\"1\"} 1";
    let expected = "# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n# TYPE b untyped\nb 1\n# TYPE c untyped\nc 3\n";
    assert_eq!(read(page, TEXT).unwrap(), expected);
    let mut page = Page::default();
    page.parse(b"# HELP a C:\\\\a\\nb \"c\"\n#TYPE a counter\na 1 1700000000000\n", TEXT).unwrap();
    assert_eq!(written(&page), "# HELP a C:\\\\a\\nb \"c\"\n# TYPE a counter\na 1\n");
}

#[test]
fn everything_that_open_metrics_has() {
    let page = r#"# TYPE requests counter
# HELP requests Of \"everything\".
# UNIT requests
requests_total{code="200"} 5 1700000000.5 # {trace_id="a},b"} 0.67 1700000000.1
requests_created{code="200"} 1.6e9
# TYPE seconds histogram
seconds_bucket{le="1.0"} 1 # {id="x"} 0.5
seconds_bucket{le="10.0"} 2
seconds_bucket{le="+Inf"} 2
seconds_count 2
seconds_sum 3.5
# TYPE build info
build_info{version="1"} 1
# TYPE mode stateset
mode{mode="on"} 1
mode{mode="off"} 0
# TYPE sizes gaugehistogram
sizes_bucket{le="+Inf"} 1
sizes_gcount 1
sizes_gsum 2
# TYPE quick summary
quick{quantile="0.5"} NaN
quick_count 0
quick_sum 0
# TYPE other unknown
other 1
nobody 2
# EOF
"#;
    let expected = r#"# TYPE build_info gauge
build_info{version="1"} 1
# TYPE mode gauge
mode{mode="off"} 0
mode{mode="on"} 1
# TYPE nobody untyped
nobody 2
# TYPE other untyped
other 1
# TYPE quick summary
quick{quantile="0.5"} NaN
quick_sum 0
quick_count 0
# TYPE requests_created gauge
requests_created{code="200"} 1600000000
# TYPE requests_total counter
requests_total{code="200"} 5
# TYPE seconds histogram
seconds_bucket{le="1"} 1
seconds_bucket{le="10"} 2
seconds_bucket{le="+Inf"} 2
seconds_sum 3.5
seconds_count 2
# TYPE sizes_bucket untyped
sizes_bucket{le="+Inf"} 1
# TYPE sizes_gcount untyped
sizes_gcount 1
# TYPE sizes_gsum untyped
sizes_gsum 2
"#;
    assert_eq!(read(page, OPEN_METRICS).unwrap(), expected);
    assert_eq!(read("# EOF", OPEN_METRICS).unwrap(), "");
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (page, mistake) in [
        ("x 1\nx{a=\"b} 1\n", "line 2: the value of the label \"a\" has no end"),
        ("x{a=\"b\" c=\"d\"} 1", "line 1: expected a comma or a brace behind a label, found \"c=\\\"d\\\"} 1\""),
        ("x{a} 1", "line 1: the label \"a\" has no value in quotes"),
        ("x{a=b} 1", "line 1: the label \"a\" has no value in quotes"),
        ("x{1=\"b\"} 1", "line 1: expected the name of a label, found \"1=\\\"b\\\"} 1\""),
        ("x{\"a.b\",c=\"d\"} 1", "line 1: expected the name of a label, found \"\\\"a.b\\\",c=\\\"d\\\"} 1\""),
        ("x{,} 1", "line 1: expected the name of a label, found \",} 1\""),
        ("{a=\"b\"} 1", "line 1: \"{a=\\\"b\\\"} 1\" is no metric name"),
        ("x", "line 1: no value"),
        ("x{a=\"b\"}", "line 1: no value"),
        ("x 0x10", "line 1: \"0x10\" is no number"),
        ("x 1 2.5", "line 1: \"2.5\" is no timestamp"),
        ("x 1 2 3", "line 1: \"3\" behind the timestamp"),
        ("x 1 # {a=\"b\"} 1", "line 1: \"#\" is no timestamp"),
        ("<html>\n", "line 1: \"<html>\" is no metric name"),
        ("# TYPE x gauge\n# TYPE x gauge", "line 2: a second TYPE of \"x\""),
        ("# HELP x a\n# HELP x a", "line 2: a second HELP of \"x\""),
        ("# TYPE h histogram\nh 1", "line 2: \"h\" is the name of a histogram, whose series are called otherwise"),
        ("# TYPE s summary\ns 1", "line 2: no label quantile in a series of a summary"),
        ("# TYPE h histogram\nh_bucket{le=\"x\"} 1", "line 2: \"x\" is no number"),
        ("h_sum 1\n# TYPE h histogram\nh_count 1", "line 2: h_sum is also a series of the family h"),
    ] {
        assert_eq!(read(page, TEXT), Err(mistake.to_owned()), "{page:?}");
    }
    for (page, mistake) in [
        ("x 1\n", "line 1: the page has no # EOF, so that its end is missing"),
        ("# EOF\nx 1\n", "line 2: there is something behind # EOF"),
        ("# TYPE x counter\nx 1\n# EOF\n", "line 2: \"x\" is the name of a total, whose series are called otherwise"),
        ("x 1 # a\n# EOF", "line 1: expected an exemplar, found \"# a\""),
    ] {
        assert_eq!(read(page, OPEN_METRICS), Err(mistake.to_owned()), "{page:?}");
    }
    let mut page = Page::default();
    let mistake = page.parse(b"x 1\ny \xff\n", TEXT);
    assert_eq!(mistake, Err(Mistake { line: 2, what: "not UTF-8".to_owned() }));
    assert!(page.is_empty());
}

#[test]
fn what_cannot_travel_is_left_out_and_counted() {
    let long = "v".repeat(1_025);
    let page = format!("up 1\nx{{a=\"{long}\"}} 1\nx 1\nx 2\ny{{__a=\"b\"}} 1\n{long} 1\nz{{instance=\"i\"}} 1\n");
    let mut parsed = Page::default();
    parsed.parse(page.as_bytes(), TEXT).unwrap();
    assert_eq!(parsed.left_out(), Some((5, "line 1: up: the name is reserved")));
    assert_eq!(
        written(&parsed),
        "# HELP x \n# TYPE x untyped\nx 1\n# HELP z \n# TYPE z untyped\nz{exported_instance=\"i\"} 1\n"
    );
    parsed.parse(b"x 1\n", TEXT).unwrap();
    assert_eq!(parsed.left_out(), None);
}

#[test]
fn a_page_without_bounds_is_refused() {
    let series: String = (0..=MAX_SERIES).map(|number| format!("x{{n=\"{number}\"}} 1\n")).collect();
    let expected = format!("line {}: more than {MAX_SERIES} series", MAX_SERIES + 1);
    assert_eq!(read(&series, TEXT), Err(expected));
    let labels: String = (0..65).map(|number| format!("l{number}=\"\",")).collect();
    assert_eq!(read(&format!("x{{{labels}}} 1"), TEXT), Err("line 1: more than 64 labels".to_owned()));
    let families: String = (0..=10_000).map(|number| format!("x{number} 1\n")).collect();
    assert_eq!(read(&families, TEXT), Err("line 10001: more than 10000 families".to_owned()));
}

/// Series with names and values of every kind, each labelled so that none stands twice.
fn series() -> impl Strategy<Value = Vec<(String, f64)>> {
    proptest::collection::vec(("[^\\x00]{0,12}", any::<f64>()), 0..20)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

proptest! {
    #[test]
    fn any_bytes_are_a_page_or_a_mistake(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for origin in [Origin::File, TEXT, OPEN_METRICS] {
            let mut page = Page::default();
            if page.parse(&bytes, origin).is_ok() {
                written(&page);
            }
        }
    }

    #[test]
    fn anything_alike_is_a_page_or_a_mistake(
        lines in proptest::collection::vec(
            "(# (TYPE|HELP) [abh](_sum|_total)? (gauge|counter|histogram|summary|info)|[abh](_sum|_bucket|_total|_created)?\
             (\\{(le|a|job)=\"[\\\\01.\"]{0,3}\"(,b=\"[\\\\n]\")?\\})? [01.]{1,2}( 1)?|# EOF)",
            0..12,
        ),
    ) {
        for origin in [Origin::File, TEXT, OPEN_METRICS] {
            let mut page = Page::default();
            if page.parse(lines.join("\n").as_bytes(), origin).is_ok() {
                let once = written(&page);
                // What was written is read as the same.
                page.parse(once.as_bytes(), TEXT).unwrap();
                prop_assert_eq!(written(&page), once);
            }
        }
    }

    #[test]
    fn every_value_comes_back(series in series()) {
        let lines = series.iter().enumerate();
        let text: String =
            lines.map(|(number, (label, value))| format!("x{{n=\"{number}\",v=\"{}\"}} {value}\n", escaped(label))).collect();
        let mut page = Page::default();
        page.parse(text.as_bytes(), Origin::File).unwrap();
        prop_assert_eq!(page.len(), series.len());
        for found in &page.series {
            let labels = page.labels_of(found);
            let (number, label) = (page.text(&labels[0].value), page.text(&labels[1].value));
            let (expected, value) = &series[number.parse::<usize>().unwrap()];
            prop_assert_eq!(label, expected);
            prop_assert!(found.value == *value || (found.value.is_nan() && value.is_nan()));
        }
    }
}
