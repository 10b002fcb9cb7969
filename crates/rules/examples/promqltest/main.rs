//! Runs files in the format of Prometheus's own tests of PromQL (`promql/promqltest/testdata/*.test`): prints each
//! failure, and for each file how many evaluations passed, failed, or use what is not supported.
//!
//! ```text
//! cargo run -p hostwatch-rules --example promqltest -- [--unsupported] FILE…
//! ```

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod script;
mod series;

use std::process::ExitCode;

use script::{Outcome, Script};

fn main() -> anyhow::Result<ExitCode> {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|it| it.starts_with("--"));
    let shows_unsupported = flags.iter().any(|flag| flag == "--unsupported");
    let mut total = [0; 3];
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let mut counts = [0; 3];
        for (line, outcome) in Script::parse(&text).map_err(|error| error.context(file.clone()))?.run() {
            match &outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => println!("{file}:{line}: failed: {why}"),
                Outcome::Unsupported(why) if shows_unsupported => println!("{file}:{line}: unsupported: {why}"),
                Outcome::Unsupported(_) => {}
            }
            counts[outcome.index()] += 1;
        }
        println!("{file}: {} passed, {} failed, {} unsupported", counts[0], counts[1], counts[2]);
        total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    println!("{} passed, {} failed, {} unsupported", total[0], total[1], total[2]);
    Ok(ExitCode::from(u8::from(total[1] > 0)))
}
