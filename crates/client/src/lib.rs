//! hostwatch-client: runs the services that its server hands it over Redis, and reports what they measure.
//!
//! One task owns the client's state and never waits for Redis, a disk or a plugin; the tasks around it publish, follow the
//! link and write files.

mod agent;
mod alarm;
mod arguments;
mod clock;
mod config_file;
mod container;
mod follower;
mod main_loop;
mod once;
mod outbox;
mod pool;
mod replies;
mod reporter;
mod ring;
mod ring_file;
mod runner;
mod schedule;
mod session;
mod settings;
mod state;
mod status;
mod ticks;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hostwatch_bus::{Link, LinkState, Timing};
use hostwatch_daemon::settings::MistakeList;
use hostwatch_daemon::{ServiceManager, Shutdown, Signals, Tasks, Watchdog, files};
use hostwatch_wire::Epoch;
use tokio::sync::{Notify, mpsc, watch};

use crate::agent::{Agent, Parts};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::follower::follow;
use crate::main_loop::{MainLoop, Shown};
use crate::outbox::{Channels, Outbox};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::state::State;
use crate::writer::keep_written;

pub use crate::arguments::{Arguments, Command};
pub use crate::clock::wall_millis;
pub use crate::once::once;
pub use crate::ring::Limits;
pub use crate::runner::Budget;
pub use crate::settings::{DEFAULT_FILE, RedisSettings, Settings, Source, Surroundings, load, status_file_of};
pub use crate::status::{RingStatus, Status, health};

/// Commands wait in the inbox, bounded in number and bytes.
const INBOX_MESSAGES: usize = 256;
const INBOX_BYTES: usize = 8 << 20;
/// How often the connection is tried out: a fleet's pings add up.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Each loop turns every five seconds when idle; these bounds leave room for a slow machine and for a command's own timeout.
const LOOP_PATIENCE: Duration = Duration::from_secs(10);
const PUBLISH_PATIENCE: Duration = Duration::from_secs(20);
/// How long the tasks may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Runs the client until a signal asks it to stop, or an essential task ends. `reread` reads and checks the settings anew
/// when a signal asks for it. To be called on a tokio runtime with time and I/O, and some blocking threads for files.
///
/// # Errors
/// Which essential task ended, and why.
pub async fn run(
    settings: Settings,
    reread: impl FnMut() -> Result<Settings, MistakeList>,
    mut signals: Signals,
    manager: ServiceManager,
) -> anyhow::Result<()> {
    let clock = Clock::start();
    let alarm = Alarm::new(clock).context("the alarm of the main loop")?;
    let epoch = Epoch(rand::random());
    let version = env!("CARGO_PKG_VERSION");
    let address = &settings.redis.address;
    tracing::info!(host = %settings.host, "hostwatch-client {version} for host {}, epoch {epoch}, Redis at {address}", settings.host);

    if let Some(blindness) = container::blindness(&settings.access.roots) {
        tracing::warn!("{blindness}");
    }
    let state = State::open(&settings);
    let (config, ring) = state.load(&settings.host, Ring::new(epoch, settings.buffer), clock);

    let shutdown = Shutdown::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let mut watchdog = Watchdog::new();
    let (inbox_sender, inbox) = hostwatch_bus::inbox(INBOX_MESSAGES, INBOX_BYTES);
    let (link, driver) = hostwatch_bus::link(bus_settings(&settings), inbox_sender.clone());
    let names = &settings.redis.names;
    listen(&link, names.commands(&settings.host)).await;

    let driver_pulse = watchdog.pulse("link to Redis", LOOP_PATIENCE);
    let driver = driver.on_progress(move || driver_pulse.beat());
    tasks.spawn("link to Redis", essential(driver.run(shutdown.clone())));

    let outbox = Outbox::default();
    let channels = Channels { join: names.join(&settings.host), reports: names.reports(&settings.host) };
    let publisher_pulse = watchdog.pulse("publisher", PUBLISH_PATIENCE);
    let publisher = outbox.clone().publish(link.clone(), channels, publisher_pulse, shutdown.clone());
    tasks.spawn("publisher", essential(publisher));

    let read_config_again = Arc::new(Notify::new());
    let (link_events_sender, link_events) = mpsc::channel(4);
    let key = names.config_key(&settings.host);
    let follower = follow(link.clone(), key, Arc::clone(&read_config_again), link_events_sender, shutdown.clone());
    tasks.spawn("follower of the link", essential(follower));

    let (config_file, config_content) = watch::channel(None);
    tasks.spawn(
        "writer of the configuration",
        essential(keep_written(state.config_file(), files::write_atomically, config_content, shutdown.clone())),
    );
    let (status_file, status_content) = watch::channel(None);
    let status_writer = keep_written(settings.status_file.clone(), files::replace, status_content, shutdown.clone());
    tasks.spawn("writer of the status", essential(status_writer));

    let mut agent = Agent::new(Parts {
        host: settings.host.clone(),
        labels: settings.labels.clone(),
        access: settings.access.clone(),
        budget: settings.series,
        clock,
        ring,
        pool: Pool::new(clock),
        outbox: outbox.clone(),
        config_file,
        read_config_again,
    });
    config.into_iter().for_each(|config| agent.start_from(config));

    let mut main_loop = MainLoop {
        agent,
        settings,
        reread,
        clock,
        alarm,
        manager: manager.clone(),
        pulse: watchdog.pulse("main loop", LOOP_PATIENCE),
        inbox,
        inbox_sender,
        link: link.state(),
        redis: link,
        link_events,
        progress: outbox.progress(),
        outbox,
        status_file,
        shown: Shown::default(),
    };
    tasks.spawn("watchdog", essential(watchdog.run(manager.clone(), shutdown)));
    manager.ready();

    let outcome = tokio::select! {
        ended = main_loop.run(&mut signals) => ended.context("the alarm of the main loop"),
        error = tasks.first_end() => Err(error),
    };
    manager.stopping();
    if outcome.is_ok() {
        tracing::info!("stopping");
        main_loop.say_goodbye().await;
    }
    state.save(main_loop.agent.take_ring(), main_loop.settings.host.clone()).await;
    let drained = tasks.drain(DRAIN_LIMIT).await;
    // A client that has stopped is not a client that hangs.
    let _ = std::fs::remove_file(&main_loop.settings.status_file);
    outcome.and(drained)
}

fn bus_settings(settings: &Settings) -> hostwatch_bus::Settings {
    hostwatch_bus::Settings {
        address: settings.redis.address.clone(),
        username: settings.redis.username.clone(),
        password: settings.redis.password.as_ref().map(|secret| hostwatch_bus::Password::new(secret.expose())),
        tls: hostwatch_bus::Tls { ca: settings.redis.tls.ca.clone(), identity: settings.redis.tls.identity.clone() },
        client_name: format!("hostwatch-client:{}", settings.host),
        outlives_others: false,
        timing: Timing { ping_interval: PING_INTERVAL, ..Timing::default() },
    }
}

/// Wishes for the commands channel before there is a connection, so that none is ever announced without it.
async fn listen(link: &Link, channel: String) {
    debug_assert!(matches!(*link.state().borrow(), LinkState::Waiting { .. }));
    // It answers that there is no connection yet, and keeps the wish.
    let _ = link.subscribe(&[channel]).await;
}

async fn essential(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    work.await;
    Ok(())
}
