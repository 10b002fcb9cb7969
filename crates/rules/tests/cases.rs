//! Our own cases, in the format of Prometheus's tests of PromQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/promqltest/script.rs"]
mod script;
#[path = "../examples/promqltest/series.rs"]
mod series;

use std::path::Path;

use script::{Outcome, Script};

#[test]
fn all_cases_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut evaluations = 0;
    let mut wrong = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (line, outcome) in Script::parse(&std::fs::read_to_string(&path).unwrap()).unwrap().run() {
            evaluations += 1;
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => wrong.push(format!("{name}:{line}: {why}")),
                Outcome::Unsupported(why) => wrong.push(format!("{name}:{line}: not supported: {why}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(evaluations > 100, "only {evaluations} evaluations were found in {}", folder.display());
}

#[test]
fn a_wrong_expectation_fails() {
    let outcome = |script: &str| Script::parse(script).unwrap().run().pop().unwrap().1.index();
    let loaded = |rest: &str| format!("load 1m\n  a{{b=\"c\"}} 1+2x2 _ stale\n{rest}");
    assert_eq!(outcome(&loaded("eval instant at 2m a\n a{b=\"c\"} 5")), 0);
    for wrong in ["a{b=\"c\"} 5.1", "a{b=\"d\"} 5", "", "a{b=\"c\"} 5\n a{b=\"d\"} 5", "expect fail"] {
        assert_eq!(outcome(&loaded(&format!("eval instant at 2m a\n {wrong}"))), 1, "{wrong}");
    }
    assert_eq!(outcome(&loaded("eval instant at 4m a")), 0);
    assert_eq!(outcome("eval range from 0 to 1m step 1m a"), 2);
    assert_eq!(outcome("eval instant at 1m topk(1, a)"), 2);
    assert_eq!(outcome("eval instant at 1m a +"), 1);
    for broken in ["load", "eval instant at x y", "a 1", "load 1m\n a{b=\"c} 1", "load 1m\n a 1+x"] {
        assert!(Script::parse(broken).is_err(), "{broken}");
    }
}
