//! `cargo xtask run`: a whole hostwatch on this machine, beside an installed one, until Ctrl-C.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hostwatch_testkit::{
    Client, ClientSetup, Process, Profile, Redis, Server, ServerSetup, build, eventually_every, root,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::copy::copy_folder;
use crate::install::install;

/// The port that the shipped configuration names.
const PORT: u16 = 10120;

/// How long this machine may take from the start of its client until it is `up`.
const UP_DEADLINE: Duration = Duration::from_secs(60);

/// How often the three processes are looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// How long a process may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Runs until a signal comes or one of the three processes ends.
///
/// # Errors
/// When something is missing, does not start, or ends by itself.
pub(crate) fn run(directory: Option<PathBuf>) -> Result<()> {
    install(&["redis-server"])?;
    let programs = build(Profile::Dev)?;
    let root = root()?;
    let directory = directory.unwrap_or_else(|| root.join("target/run"));
    let _lock = prepare(&directory, &root.join("packaging/config"))?;

    // From here on a signal stops our processes instead of this one.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("register signals")?;
    }
    let stop = || stop.load(Ordering::Relaxed);

    let mut redis = Redis::start()?;
    let mut server = Server::start(&ServerSetup {
        redis_url: redis.unix_url(),
        directory: Some(directory.clone()),
        listen_address: Some(listen_address()),
        program: Some(programs.server),
        ..ServerSetup::default()
    })?;
    let mut client = Client::start(&ClientSetup {
        redis_url: redis.unix_url(),
        directory: Some(directory),
        program: Some(programs.client),
        ..ClientSetup::default()
    })?;
    let outcome = match wait_until_up(&mut server, stop) {
        Ok(Some(host)) => {
            tell(&server, &host);
            watch(&mut [&mut client.process, &mut server.process, &mut redis.process], stop)
        }
        // Stopped before it was up.
        Ok(None) => Ok(()),
        Err(error) => Err(anyhow!("{error:#}\n{}", client.process.show_log())),
    };
    println!("stopping");
    // The other way round than they were started: the client can still say goodbye, the server still hears it.
    let mut stopped = Vec::new();
    for process in [&mut client.process, &mut server.process, &mut redis.process] {
        stopped.push(stop_process(process));
    }
    outcome.and(stopped.into_iter().collect())
}

/// Copies the shipped configuration, once: a directory that is kept holds what was edited. Returns what keeps a second
/// run out of it.
fn prepare(directory: &Path, shipped: &Path) -> Result<File> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let lock = File::create(directory.join("lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!("another `cargo xtask run` uses {}", directory.display()),
        Err(TryLockError::Error(error)) => return Err(error).context("lock"),
    }
    let config = directory.join("config");
    if !config.exists() {
        // In two steps, so that a copy that was cut short is never taken for a whole one.
        let partial = directory.join("config.partial");
        copy_folder(shipped, &partial)?;
        std::fs::rename(&partial, &config).with_context(|| config.display().to_string())?;
    }
    Ok(lock)
}

/// The usual port, or any free one where an installed hostwatch has that.
fn listen_address() -> String {
    let usual = format!("127.0.0.1:{PORT}");
    if TcpListener::bind(&usual).is_ok() { usual } else { "127.0.0.1:0".to_owned() }
}

/// The id of this machine once it is `up`, or `None` when it was asked to stop before.
fn wait_until_up(server: &mut Server, stop: impl Fn() -> bool) -> Result<Option<String>> {
    server.eventually("this machine is up", UP_DEADLINE, |page| {
        // The only client of this Redis is ours.
        let up = page.series("hostwatch_host_up").find(|sample| sample.value == 1.0);
        match up.and_then(|sample| sample.label("instance")) {
            Some(host) => Ok(Some(host.to_owned())),
            None if stop() => Ok(None),
            None => bail!("no hostwatch_host_up is 1 on its page"),
        }
    })
}

fn tell(server: &Server, host: &str) {
    let config = server.config_directory();
    let metrics = server.url("/metrics");
    println!();
    println!("{host} is up");
    println!("overview   {}", server.url("/"));
    println!("metrics    {metrics}");
    println!();
    println!("To see a change applied, edit {}", config.join("templates.toml").display());
    println!("or a file of                  {}", config.join("services").display());
    println!("apply      kill -HUP {}", server.process.pid());
    println!("look       curl -s {metrics} | grep hostwatch_host_config_revision_info");
    println!("logs       {}", config.with_file_name("*.log").display());
    println!();
    println!("Ctrl-C stops all of it.");
}

/// Waits for a signal. The processes are essential: one that ends is a failure.
fn watch(processes: &mut [&mut Process], stop: impl Fn() -> bool) -> Result<()> {
    eventually_every(WATCH_INTERVAL, "a reason to stop", Duration::MAX, || {
        if stop() {
            return Ok(Ok(()));
        }
        for process in &mut *processes {
            if let Some(exit) = process.exited()? {
                return Ok(Err(anyhow!("{} has ended: {exit}\n{}", process.name(), process.show_log())));
            }
        }
        bail!("all is well")
    })?
}

fn stop_process(process: &mut Process) -> Result<()> {
    if process.exited()?.is_none() {
        let exit = process.terminate(STOP_DEADLINE)?;
        if !exit.success() {
            bail!("{} stopped with {exit}\n{}", process.name(), process.show_log());
        }
    }
    Ok(())
}
