//! `hostwatch-server`: reads its arguments, checks its configuration, and runs.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use hostwatch_daemon::settings::Environment;
use hostwatch_daemon::{Signals, exit, logging};
use hostwatch_server::{Acl, Arguments, Command, Settings, Source};
use tracing::error;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let source = Source { file: arguments.config, environment: Environment::from_process() };
    if let Some(Command::Health) = arguments.command {
        return print_health(&source);
    }
    let configuration = match source.load() {
        Ok(configuration) => configuration,
        Err(mistakes) => {
            logging::complain(mistakes);
            return ExitCode::from(exit::CONFIG);
        }
    };
    if arguments.check {
        for warning in configuration.inventory.warnings() {
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Acl(acl)) = arguments.command {
        return print_acl(&acl, &configuration.settings);
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

fn print_health(source: &Source) -> ExitCode {
    // Nobody is left to tell when stdout or stderr is gone.
    match hostwatch_server::health::probe(source) {
        Ok(sentence) => {
            let _ = writeln!(io::stdout(), "{sentence}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "hostwatch-server: {failure:#}");
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn print_acl(acl: &Acl, settings: &Settings) -> ExitCode {
    let user = settings.redis.username.as_deref().unwrap_or("hostwatch-server");
    let server = acl.server.then_some(user);
    match hostwatch_server::acl::print(&settings.redis.names, server, &acl.hosts, acl.password_file.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(io::stderr(), "hostwatch-server: {failure:#}");
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
