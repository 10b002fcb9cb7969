//! The central daemon: hands every host its configuration, receives every host's reports, shows the fleet on one page.
//!
//! One task owns the fleet (`ingest`), one speaks to Redis on its behalf (`outbox`), and readers look at snapshots
//! (`directory`). Tasks meet only at bounded queues.

pub mod acl;
mod annotations;
mod arguments;
mod clock;
mod directory;
mod fleet;
pub mod health;
mod http;
mod ingest;
mod inventory;
mod judge;
mod keys;
mod layouts;
mod load;
mod metrics;
mod outbox;
mod page;
mod settings;
mod state;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hostwatch_bus::{LinkState, Password, Quota};
use hostwatch_daemon::settings::{Environment, MistakeList};
use hostwatch_daemon::{Secret, ServiceManager, Shutdown, Signal, Signals, Tasks, Watchdog};
use hostwatch_wire::Life;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

pub use arguments::{Acl, Arguments, Command};
pub use load::{Configuration, load};
pub use settings::Settings;

use clock::Now;
use directory::Directory;
use fleet::{Fleet, Identity};
use ingest::{Ingest, Reload};
use judge::{Board, Judge, JudgeTask};
use metrics::Metrics;
use outbox::Outbox;
use page::Page;
use state::StateDirectory;
use web::{Change, Gate, Watch};

/// Messages that wait to be taken in, at most: more than a second's worth of what one Redis can deliver.
const INBOX_MESSAGES: usize = 1 << 17;
/// Bytes that wait to be taken in, at most.
const INBOX_BYTES: usize = 256 << 20;
/// What one host may say in a second: ten reports, two hundred that it was asked for again, and as much to spare.
const QUOTA: Quota = Quota { messages: 500.0, bytes: (8 << 20) as f64 };
/// How long a loop may be silent before the watchdog takes it for hung.
const SILENCE: Duration = Duration::from_secs(20);
/// How often the loop that waits for signals turns when none comes.
const TICK: Duration = Duration::from_secs(1);
/// How long everything may take at shutdown.
const DRAIN: Duration = Duration::from_secs(8);

/// What a running server was started with, and needs again at a reload.
pub struct Source {
    /// `server.toml`.
    pub file: PathBuf,
    /// The process's environment.
    pub environment: Environment,
}

impl Source {
    /// Reads and checks the whole configuration.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(&self) -> Result<Configuration, MistakeList> {
        load(&self.file, &self.environment)
    }
}

/// Binds the addresses that the settings name.
///
/// # Errors
/// When one is not to be had.
pub async fn bind(settings: &Settings) -> anyhow::Result<Vec<TcpListener>> {
    http::bind(&settings.web.listen_address).await
}

/// Runs the server until a signal asks it to stop.
///
/// # Errors
/// When it cannot start, or when a part that it cannot do without ends.
pub async fn run(
    source: Source,
    configuration: Configuration,
    listeners: Vec<TcpListener>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let Configuration { settings, inventory, web } = configuration;
    inventory.warnings().iter().for_each(|warning| warn!("{warning}"));
    let state = StateDirectory::open(&settings.state_directory)?;
    let identity = Identity { server: state.server_id(), life: Life(rand::random()) };
    let metrics = Metrics::new()?;
    let directory = Arc::new(Directory::default());
    let names = settings.redis.names.clone();

    let (inbox_sender, inbox) = hostwatch_bus::inbox(INBOX_MESSAGES, INBOX_BYTES);
    let inbox_sender = inbox_sender.with_quota(QUOTA);
    let (link, driver) = hostwatch_bus::link(bus_settings(&settings)?, inbox_sender.clone());

    let saved = state.load_fleet()?;
    let fleet = Fleet::new(
        names.clone(),
        identity,
        settings.timing.clone(),
        inventory,
        saved,
        Arc::clone(&directory),
        Now::read(),
    );
    // The link remembers what is wanted; there is no connection yet that could confirm it.
    let _ = link.psubscribe(&names.join_pattern()).await;
    let _ = link.subscribe(&fleet.known_hosts().map(|host| names.reports(host)).collect::<Vec<_>>()).await;
    let outbox = Outbox::new(names.clone(), identity, metrics.clone());
    let job: Arc<str> = settings.web.job.as_str().into();
    let board = Arc::new(Board::default());
    let judge =
        Judge::new(Arc::clone(&board), Arc::clone(&directory), Arc::clone(&job), state.load_alerts()?, Now::read());
    let (feed, observations) = judge::feed();
    let page = Page { directory, board, metrics: metrics.clone(), job };
    let gate = Gate::new(web, &metrics);
    let app = http::App::new(page, settings.web.external_url.clone(), link.state(), outbox.clone(), Arc::clone(&gate));
    let (reloads_sender, reloads) = mpsc::channel(1);

    let shutdown = Shutdown::new();
    let manager = ServiceManager::new();
    let mut watchdog = Watchdog::new();
    let mut tasks = Tasks::new(shutdown.clone());
    let beat = watchdog.pulse("redis link", SILENCE);
    let driver = driver.on_progress(move || beat.beat());
    // The link outlives whoever still has something to say over it.
    let link_shutdown = Shutdown::new();
    tasks.spawn("redis link", end_well(driver.run(link_shutdown.clone())));
    let carrying = outbox.clone().run(link.clone(), watchdog.pulse("outbox", SILENCE), shutdown.clone());
    tasks.spawn("outbox", async move {
        let _last = link_shutdown.drop_guard();
        carrying.await
    });
    let judging = JudgeTask { feed: observations, state: state.clone(), metrics: metrics.clone() };
    tasks.spawn("judge", judging.run(judge, watchdog.pulse("judge", SILENCE), shutdown.clone()));
    let ingest = Ingest {
        inbox,
        inbox_sender,
        outbox,
        feed,
        link: link.clone(),
        names,
        reloads,
        state,
        metrics: metrics.clone(),
    };
    tasks.spawn("ingest", ingest.run(fleet, watchdog.pulse("ingest", SILENCE), shutdown.clone()));
    for listener in listeners {
        let address = listener.local_addr()?;
        let pulse = watchdog.pulse("http", SILENCE);
        tasks.spawn(format!("http on {address}"), http::serve(listener, app.clone(), pulse, shutdown.clone()));
        let scheme = gate.config().scheme();
        info!("listening on {scheme}://{address}");
    }
    tasks.spawn("status", end_well(follow_link(link.state(), manager.clone(), shutdown.clone())));
    let pulse = watchdog.pulse("signals", SILENCE);
    tasks.spawn("watchdog", end_well(watchdog.run(manager.clone(), shutdown.clone())));
    log_start(&settings, identity);
    applied(&metrics);
    manager.ready();

    let watch = Watch::new(Arc::clone(&gate));
    let mut reloader = Reloader { source, settings, reloads: reloads_sender, metrics, gate, watch };
    let ended = loop {
        pulse.beat();
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break None,
                Signal::Reload => {
                    manager.reloading();
                    reloader.reload().await;
                    manager.ready();
                }
            },
            ended = tasks.first_end() => break Some(ended),
            () = tokio::time::sleep(TICK) => reloader.look(),
        }
    };
    info!("stopping");
    manager.stopping();
    let drained = tasks.drain(DRAIN).await;
    match ended {
        Some(error) => Err(error),
        None => drained,
    }
}

/// What a reload needs.
struct Reloader {
    source: Source,
    settings: Settings,
    reloads: mpsc::Sender<Reload>,
    metrics: Metrics,
    gate: Arc<Gate>,
    watch: Watch,
}

impl Reloader {
    /// Reads and checks everything, then puts it in force; or keeps what is in force and says why.
    async fn reload(&mut self) {
        let timer = self.metrics.apply_seconds.start_timer();
        match self.source.load() {
            Ok(Configuration { settings, inventory, web }) => {
                warn_of_restart(&self.settings, &settings);
                inventory.warnings().iter().for_each(|warning| warn!("{warning}"));
                let (done, applied_now) = oneshot::channel();
                let reload = Reload { inventory, timing: settings.timing.clone(), done };
                if self.reloads.send(reload).await.is_ok() && applied_now.await.is_ok() {
                    self.gate.put(web);
                    applied(&self.metrics);
                }
            }
            Err(mistakes) => {
                self.metrics.reload_successful.set(0);
                for mistake in mistakes.lines() {
                    error!("{mistake}");
                }
                error!("the configuration was not reloaded; the previous one stays in force");
            }
        }
        timer.observe_duration();
    }

    /// Takes what has changed in `web.yml` and its certificates, which needs no signal: they are renewed by programs.
    fn look(&mut self) {
        match self.watch.look() {
            None => {}
            Some(Change::Applied(file)) => {
                self.metrics.web_reload_successful.set(1);
                info!("{} or a file that it names has changed, and is in force", file.display());
            }
            Some(Change::Refused(mistakes)) => {
                self.metrics.web_reload_successful.set(0);
                for mistake in mistakes.lines() {
                    error!("{mistake}");
                }
                error!("what has changed for HTTP was not taken; the previous stays in force");
            }
        }
    }
}

fn applied(metrics: &Metrics) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    metrics.reload_successful.set(1);
    metrics.web_reload_successful.set(1);
    metrics.reload_success_timestamp.set(now as i64);
}

/// Says which settings a reload does not change.
fn warn_of_restart(in_force: &Settings, read: &Settings) {
    let changed = [
        ("state_directory", in_force.state_directory != read.state_directory),
        ("redis.url", in_force.redis.address != read.redis.address),
        ("redis.password", in_force.redis.password != read.redis.password),
        ("redis.tls", in_force.redis.tls != read.redis.tls),
        ("redis.username", in_force.redis.username != read.redis.username),
        ("redis.prefix", in_force.redis.names != read.redis.names),
        ("web.listen_address", in_force.web.listen_address != read.web.listen_address),
        ("web.job", in_force.web.job != read.web.job),
        ("web.external_url", in_force.web.external_url != read.web.external_url),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        warn!("{key} has changed, which takes effect at the next restart");
    }
}

fn bus_settings(settings: &Settings) -> anyhow::Result<hostwatch_bus::Settings> {
    let password = match &settings.redis.password {
        Some(source) => Some(source.read().context("cannot read the password for Redis")?),
        None => Secret::credential("redis.password").context("cannot read the credential redis.password")?,
    };
    let pem = settings.redis.tls.load()?;
    Ok(hostwatch_bus::Settings {
        address: settings.redis.address.clone(),
        username: settings.redis.username.clone(),
        password: password.map(|password| Password::new(password.expose())),
        tls: hostwatch_bus::Tls { ca: pem.ca, identity: pem.identity },
        client_name: "hostwatch-server".to_owned(),
        outlives_others: true,
        timing: hostwatch_bus::Timing::default(),
    })
}

fn log_start(settings: &Settings, identity: Identity) {
    let Identity { server, life } = identity;
    let version = env!("CARGO_PKG_VERSION");
    let redis = &settings.redis.address;
    info!("hostwatch-server {version} runs: server {server}, life {life}, Redis at {redis}");
}

/// Keeps the service manager's status line true.
async fn follow_link(mut state: watch::Receiver<LinkState>, manager: ServiceManager, shutdown: Shutdown) {
    loop {
        let status = match &*state.borrow_and_update() {
            LinkState::Connected { .. } => "connected to Redis".to_owned(),
            LinkState::Waiting { since, reason, .. } => {
                let minutes = Instant::now().saturating_duration_since(*since).as_secs() / 60;
                format!("waiting for Redis for {minutes} min: {reason}")
            }
        };
        manager.status(&status);
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// A task that cannot fail.
async fn end_well(future: impl Future<Output = ()>) -> anyhow::Result<()> {
    future.await;
    Ok(())
}
