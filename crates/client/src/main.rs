//! The program hostwatch-client: reads its arguments and settings, and does what they ask for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hostwatch_client::{
    Arguments, Command, DEFAULT_FILE, Settings, Source, Surroundings, health, load, once, run, status_file_of,
    wall_millis,
};
use hostwatch_daemon::settings::MistakeList;
use hostwatch_daemon::{ServiceManager, Signals, exit, logging};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let named = arguments.config.or_else(|| std::env::var_os("HOSTWATCH_CONFIG").map(PathBuf::from));
    let source = Source { optional: named.is_none(), file: named.unwrap_or_else(|| DEFAULT_FILE.into()) };
    if let Some(Command::Health) = arguments.command {
        return answer(print_health(&status_file_of(&source, &Surroundings::of_process())));
    }
    let read = move || load(&source, &Surroundings::of_process());
    let settings = match read() {
        Ok(settings) => settings,
        Err(mistakes) => {
            logging::complain(mistakes);
            return ExitCode::from(exit::CONFIG);
        }
    };
    if arguments.check {
        ExitCode::SUCCESS
    } else if arguments.once {
        answer(once(&settings.access, &arguments.plugin, &mut std::io::stdout().lock()))
    } else {
        answer(serve(settings, read))
    }
}

fn answer(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(format_args!("hostwatch-client: {error:#}"));
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn print_health(status_file: &Path) -> anyhow::Result<()> {
    let sentence = health(status_file, wall_millis()).map_err(anyhow::Error::msg)?;
    writeln!(std::io::stdout(), "{sentence}")?;
    Ok(())
}

fn serve(settings: Settings, reread: impl FnMut() -> Result<Settings, MistakeList>) -> anyhow::Result<()> {
    logging::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // They write files and look names up, which may take long.
        .max_blocking_threads(32)
        .build()?;
    let outcome = runtime.block_on(async {
        let signals = Signals::register()?;
        run(settings, reread, signals, ServiceManager::new()).await
    });
    // A plugin that hangs must not keep the process: nobody waits for its thread.
    runtime.shutdown_background();
    outcome
}
