//! Clients that share this process: the client daemon itself, each a task, with directories of its own and a /proc that costs
//! nothing to read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hostwatch_client::{Settings, Source, Status, Surroundings};
use hostwatch_daemon::{ServiceManager, Shutdown, Signals};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Longer than a client takes to say goodbye.
const GOODBYE: Duration = Duration::from_secs(15);

/// Some clients of this process. They end with it.
pub(super) struct Crowd {
    runtime: Runtime,
    clients: JoinSet<Result<()>>,
    stop: Shutdown,
    directory: TempDir,
    hosts: Vec<String>,
}

impl Crowd {
    /// Starts one client for each address of Redis.
    ///
    /// # Errors
    /// When there is no room for their files.
    pub(super) fn start(redis_urls: &[String]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("proc"))?;
        fs::write(directory.path().join("proc/loadavg"), "0.5 0.4 0.3 1/100 4242\n")?;
        let mut crowd = Self { runtime, clients: JoinSet::new(), stop: Shutdown::new(), directory, hosts: Vec::new() };
        for (number, url) in redis_urls.iter().enumerate() {
            crowd.add(format!("crowd-{number}"), url)?;
        }
        Ok(crowd)
    }

    fn add(&mut self, host: String, redis_url: &str) -> Result<()> {
        let settings = settings(self.directory.path(), &host, redis_url)?;
        let again = settings.clone();
        let (stop, manager) = (Signals::of_owner(self.stop.clone()), ServiceManager::new());
        let client = hostwatch_client::run(settings, move || Ok(again.clone()), stop, manager);
        self.clients.spawn_on(client, self.runtime.handle());
        self.hosts.push(host);
        Ok(())
    }

    /// Who they are.
    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Fails when one of them has ended.
    pub(super) fn is_alive(&mut self) -> Result<()> {
        match self.clients.try_join_next() {
            None => Ok(()),
            Some(ended) => bail!("a client of this process has ended: {ended:?}"),
        }
    }

    /// The newest number of each, as its status says that was written at `since_ms` or later.
    pub(super) fn newest_reports(&self, since_ms: u64) -> Result<BTreeMap<String, u64>> {
        let newest = self.hosts.iter().map(|host| {
            let status = read_status(&status_file(self.directory.path(), host), since_ms)?;
            Ok((host.clone(), status.last_seq))
        });
        newest.collect()
    }

    /// Has all of them say goodbye.
    ///
    /// # Errors
    /// When one of them does not end, or not well.
    pub(super) fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.context("a client of this process")??;
            }
            anyhow::Ok(())
        };
        self.runtime.block_on(async { tokio::time::timeout(GOODBYE, all).await.context("goodbye")? })
    }
}

/// What a client says of itself, if that is not older than `since_ms`.
pub(super) fn read_status(file: &Path, since_ms: u64) -> Result<Status> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    let status: Status = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
    anyhow::ensure!(status.time_ms >= since_ms, "{} is old", file.display());
    Ok(status)
}

/// Through a file, as an operator would.
fn settings(directory: &Path, host: &str, redis_url: &str) -> Result<Settings> {
    let (state, procfs) = (directory.join(host), directory.join("proc"));
    let text = format!(
        "host = {host:?}\nstate_directory = {state:?}\nstatus_file = {:?}\n\n[redis]\nurl = {redis_url:?}\n\n\
         [paths]\nprocfs = {procfs:?}\n",
        status_file(directory, host)
    );
    let file = directory.join(format!("{host}.toml"));
    fs::write(&file, text)?;
    Ok(hostwatch_client::load(&Source { file, optional: false }, &Surroundings::default())?)
}

fn status_file(directory: &Path, host: &str) -> PathBuf {
    directory.join(format!("{host}.status"))
}
