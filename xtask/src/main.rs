//! The chores of this repository: `cargo xtask run`, `test`, `bench`, `deb` and `image`. There is no other entry point.
#![expect(clippy::print_stdout, reason = "a chore talks to the person who started it")]

mod bench;
mod copy;
mod deb;
mod image;
mod install;
mod manuals;
mod run;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use bench::Bench;
use clap::Parser;
use deb::Deb;
use image::Image;

/// Chores of the hostwatch repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Starts a private Redis, the server and a client of this machine with the shipped configuration, until Ctrl-C.
    Run {
        /// Where its configuration, state and logs live [default: target/run, which is kept].
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Runs every check of the repository; the last line is `N passed, N failed`.
    Test {
        /// Leave out the tests that need Prometheus, packages, images or a machine that boots.
        #[arg(long)]
        quick: bool,
        /// Run the system tests of one module so often instead, and stop at the first run that fails.
        #[arg(long, requires = "module", conflicts_with = "quick", value_parser = clap::value_parser!(u32).range(1..))]
        repeat: Option<u32>,
        /// The module, as tests/src has it: faults.
        #[arg(requires = "repeat")]
        module: Option<String>,
    },
    /// Measures, and asserts nothing; only `soak` fails, when a report was lost.
    #[command(subcommand)]
    Bench(Bench),
    /// Builds the Debian packages.
    Deb(Deb),
    /// Builds the Docker images.
    Image(Image),
}

fn main() -> ExitCode {
    let outcome = match Chore::parse() {
        Chore::Run { directory } => run::run(directory),
        Chore::Test { repeat: Some(times), module: Some(module), .. } => test::repeat(times, &module),
        Chore::Test { quick, .. } => return test::run(quick),
        Chore::Bench(bench) => bench.run(),
        Chore::Deb(deb) => deb.run(),
        Chore::Image(image) => image.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
