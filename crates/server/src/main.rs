//! `hostwatch-server`: reads its arguments, checks its configuration, and runs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use hostwatch_daemon::settings::{Environment, MistakeList};
use hostwatch_daemon::{Signals, exit, logging};
use hostwatch_server::{Arguments, Source};
use tracing::error;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let source = Source { file: arguments.config, environment: Environment::from_process() };
    let configuration = match source.load() {
        Ok(configuration) => configuration,
        Err(mistakes) => return refuse(&mistakes),
    };
    if arguments.check {
        for warning in configuration.inventory.warnings() {
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    logging::init();
    match run(source, configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure:#}");
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn run(source: Source, configuration: hostwatch_server::Configuration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::register()?;
        let listeners = hostwatch_server::bind(&configuration.settings).await?;
        hostwatch_server::run(source, configuration, listeners, signals).await
    })
}

fn refuse(mistakes: &MistakeList) -> ExitCode {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{mistakes}");
    ExitCode::from(exit::CONFIG)
}
