//! `hostwatch-server`: reads its arguments, checks its configuration, and runs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hostwatch_daemon::settings::{Environment, MistakeList};
use hostwatch_daemon::{Signals, exit, logging};
use hostwatch_server::Source;
use tracing::error;

/// Watches a fleet of Linux servers: hands every host its configuration over Redis, receives its reports, and shows
/// all of them on one page for Prometheus.
///
/// SIGHUP reads the configuration again and puts it in force, unless there is a mistake in it. SIGTERM stops.
#[derive(Parser)]
#[command(name = "hostwatch-server", version)]
struct Arguments {
    /// The configuration; it names the files of hosts, templates and services.
    #[arg(long, value_name = "FILE", env = "HOSTWATCH_CONFIG", default_value = hostwatch_server::default_file().as_os_str())]
    config: PathBuf,

    /// Check the configuration, print every mistake in it, and exit: 0 when there is none, 78 otherwise.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let source = Source { file: arguments.config, environment: Environment::from_process() };
    let configuration = match source.load() {
        Ok(configuration) => configuration,
        Err(mistakes) => return refuse(&mistakes),
    };
    if arguments.check {
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
