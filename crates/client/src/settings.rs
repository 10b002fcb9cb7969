//! The client's settings: `client.toml` and the environment, checked as a whole. Every mistake is reported in one run.

mod allowed;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostwatch_bus::Address;
use hostwatch_daemon::Secret;
use hostwatch_daemon::settings::{
    Document, Environment, Located, MistakeList, Mistakes, SecretSource, Table, TlsFiles, TlsPem,
};
use hostwatch_plugins::{Access, Roots};
use hostwatch_wire::{HostId, MAX_CLAIMED_LABELS, Names, is_label_name, is_reserved_label};

use crate::ring::Limits;
use crate::runner::Budget;

use allowed::allowed;

/// Where the package puts the file.
pub const DEFAULT_FILE: &str = "/etc/hostwatch/client.toml";
const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/hostwatch-client";
const DEFAULT_RUNTIME_DIRECTORY: &str = "/run/hostwatch-client";
const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379";
const DEFAULT_PREFIX: &str = "hostwatch";
/// The systemd credential that is looked for when no password is set.
const CREDENTIAL: &str = "redis.password";
/// The wire carries no longer value of a label.
const MAX_LABEL_VALUE_BYTES: usize = 1_024;
const MIB: u64 = 1 << 20;

/// What the client runs by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this host is.
    pub host: HostId,
    /// What it claims of itself.
    pub labels: BTreeMap<String, String>,
    /// Where the last configuration and the ring are kept.
    pub state_directory: PathBuf,
    /// What `health` looks at.
    pub status_file: PathBuf,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// What plugins may touch.
    pub access: Access,
    /// How many series the host may report.
    pub series: Budget,
    /// What the ring holds.
    pub buffer: Limits,
}

/// How Redis is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisSettings {
    /// Where it is.
    pub address: Address,
    /// As whom to connect.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// What an encrypted connection needs.
    pub tls: TlsPem,
    /// What keys and channels are called.
    pub names: Names,
}

/// Where the settings come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Whether the file may be missing: in a container the environment is enough.
    pub optional: bool,
}

/// What the process was started with, beside its settings.
#[derive(Default)]
pub struct Surroundings {
    /// `HOSTWATCH_*`.
    pub environment: Environment,
    /// The machine's name.
    pub hostname: String,
    /// systemd's `$STATE_DIRECTORY`.
    pub state_directory: Option<PathBuf>,
    /// systemd's `$RUNTIME_DIRECTORY`.
    pub runtime_directory: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            environment: Environment::from_process(),
            hostname: gethostname::gethostname().to_string_lossy().into_owned(),
            state_directory: directory("STATE_DIRECTORY"),
            runtime_directory: directory("RUNTIME_DIRECTORY"),
        }
    }
}

/// systemd separates several directories by colons; the first one is the unit's main one.
fn directory(variable: &str) -> Option<PathBuf> {
    let directories = std::env::var_os(variable)?;
    let first = std::env::split_paths(&directories).next()?;
    (!first.as_os_str().is_empty()).then_some(first)
}

/// Reads and checks the settings, password included.
///
/// # Errors
/// Every mistake, one per line.
pub fn load(source: &Source, surroundings: &Surroundings) -> Result<Settings, MistakeList> {
    let mistakes = Mistakes::default();
    let text = match std::fs::read_to_string(&source.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && source.optional => String::new(),
        Err(error) => {
            mistakes.add_file(&source.file, error);
            String::new()
        }
        Ok(text) => text,
    };
    let settings = check(&source.file, &text, surroundings, &mistakes);
    mistakes.into_result().map(|()| settings.expect("settings without a mistake are complete"))
}

/// Checks `text`; without any mistake there is an answer.
fn check(file: &Path, text: &str, surroundings: &Surroundings, mistakes: &Mistakes) -> Option<Settings> {
    let document = Document::parse(file, text, mistakes);
    let mut root = document.root(&surroundings.environment, mistakes);

    let host = host(&mut root, &surroundings.hostname);
    let labels = labels(&mut root);
    let state_directory = path(&mut root, "state_directory")
        .or_else(|| surroundings.state_directory.clone())
        .unwrap_or_else(|| DEFAULT_STATE_DIRECTORY.into());
    let status_file = status_file(&mut root, surroundings);
    let redis = root.table("redis").map(redis);
    let roots = root.table("paths").map(roots);
    let allowed = root.table("allow").map(allowed);
    let buffer = root.table("buffer").map(buffer);
    let series = root.table("series").map(series);
    root.finish();
    let access = Access { roots: roots?, allowed: allowed?, ..Access::default() };
    Some(Settings {
        host: host?,
        labels,
        state_directory,
        status_file,
        redis: redis??,
        access,
        series: series?,
        buffer: buffer?,
    })
}

/// The status file alone, for whoever asks about a client that runs: whether its settings have got a mistake since then
/// does not matter.
#[must_use]
pub fn status_file_of(source: &Source, surroundings: &Surroundings) -> PathBuf {
    let ignored = Mistakes::default();
    let text = std::fs::read_to_string(&source.file).unwrap_or_default();
    let document = Document::parse(&source.file, &text, &ignored);
    status_file(&mut document.root(&surroundings.environment, &ignored), surroundings)
}

fn status_file(root: &mut Table<'_>, surroundings: &Surroundings) -> PathBuf {
    path(root, "status_file").unwrap_or_else(|| {
        let directory = surroundings.runtime_directory.clone();
        directory.unwrap_or_else(|| DEFAULT_RUNTIME_DIRECTORY.into()).join("status.json")
    })
}

fn host(root: &mut Table<'_>, hostname: &str) -> Option<HostId> {
    if root.has("host") {
        return root.parsed("host").map(|host| host.value);
    }
    let _ = root.string("host");
    match hostname.parse() {
        Ok(host) => Some(host),
        Err(error) => {
            root.mistakes().add(
                &root.place_of("host"),
                format_args!("set it, since this machine's hostname does not do: {error}"),
            );
            None
        }
    }
}

fn labels(root: &mut Table<'_>) -> BTreeMap<String, String> {
    let (place, mistakes) = (root.place_of("labels"), root.mistakes());
    let mut labels = BTreeMap::new();
    for (name, value) in root.string_map("labels") {
        if !is_label_name(&name.value) {
            mistakes.add(&name.place, "is not a label name: letters, digits and '_', the first no digit, 200 at most");
        } else if is_reserved_label(&name.value) {
            mistakes.add(&name.place, "is set by the server or by Prometheus; choose another name");
        } else if value.value.len() > MAX_LABEL_VALUE_BYTES {
            mistakes.add(&value.place, format_args!("is longer than {MAX_LABEL_VALUE_BYTES} bytes"));
        } else {
            labels.insert(name.value, value.value);
        }
    }
    if labels.len() > MAX_CLAIMED_LABELS {
        mistakes.add(&place, format_args!("{} labels are more than the {MAX_CLAIMED_LABELS} allowed", labels.len()));
    }
    labels
}

fn redis(mut table: Table<'_>) -> Option<RedisSettings> {
    let address = match table.has("url") {
        true => table.parsed("url").map(|url| url.value),
        false => {
            let _ = table.string("url");
            DEFAULT_REDIS.parse().ok()
        }
    };
    let username = table.string("username").map(|username| username.value);
    let password = password(&mut table);
    let tls = tls(&mut table, address.as_ref());
    let prefix = table.string("prefix");
    let names = match Names::new(prefix.as_ref().map_or(DEFAULT_PREFIX, |prefix| &prefix.value)) {
        Ok(names) => Some(names),
        Err(error) => {
            table.mistakes().add(&table.place_of("prefix"), error);
            None
        }
    };
    table.finish();
    Some(RedisSettings { address: address?, username, password, tls, names: names? })
}

fn tls(table: &mut Table<'_>, address: Option<&Address>) -> TlsPem {
    let files = table.table("tls").map(TlsFiles::read).unwrap_or_default();
    if !files.is_empty() && address.is_some_and(|address| !address.is_tls()) {
        table.mistakes().add(&table.place_of("tls"), "is for rediss:// only, and the url is another one");
    }
    files.load().unwrap_or_else(|unusable| {
        table.mistakes().add(&unusable.place, unusable.what);
        TlsPem::default()
    })
}

fn password(table: &mut Table<'_>) -> Option<Secret> {
    let source = table.secret("password");
    let secret = match &source {
        Some(source) => source.read().map(Some),
        None => Secret::credential(CREDENTIAL),
    };
    secret.unwrap_or_else(|error| {
        let place = match source {
            Some(SecretSource::File(path)) => path.place,
            Some(SecretSource::Value(_)) | None => table.place_of("password_file"),
        };
        table.mistakes().add(&place, format_args!("cannot read the password: {error}"));
        None
    })
}

fn roots(mut table: Table<'_>) -> Roots {
    let default = Roots::default();
    let roots = Roots {
        procfs: path(&mut table, "procfs").unwrap_or(default.procfs),
        sysfs: path(&mut table, "sysfs").unwrap_or(default.sysfs),
        rootfs: path(&mut table, "rootfs").unwrap_or(default.rootfs),
    };
    table.finish();
    roots
}

fn buffer(mut table: Table<'_>) -> Limits {
    let max_age = table.duration("max_age", Duration::from_secs(60)..=Duration::from_secs(86_400));
    // One message takes up to 1 MiB, and a ring has to hold its newest report.
    let max_size = table.size("max_size", 2 * MIB..=1_024 * MIB);
    table.finish();
    Limits {
        max_age: max_age.map_or(Duration::from_secs(15 * 60), |age| age.value),
        max_size: usize::try_from(max_size.map_or(16 * MIB, |size| size.value)).unwrap_or(usize::MAX),
    }
}

fn series(mut table: Table<'_>) -> Budget {
    // One layout of the wire holds up to 50,000.
    let per_service = table.integer("per_service", 100..=50_000);
    let per_host = table.integer("per_host", 100..=1_000_000);
    table.finish();
    let number =
        |set: Option<Located<i64>>, default| set.and_then(|set| usize::try_from(set.value).ok()).unwrap_or(default);
    Budget { per_service: number(per_service, 10_000), per_host: number(per_host, 30_000) }
}

/// A path, which has to be absolute: a daemon's working directory is no place that anybody thinks of.
fn path(table: &mut Table<'_>, key: &str) -> Option<PathBuf> {
    let path = table.string(key)?.map(PathBuf::from);
    if !path.value.is_absolute() {
        table.mistakes().add(&path.place, format_args!("{:?} is not an absolute path; begin it with /", path.value));
    }
    Some(path.value)
}

#[cfg(test)]
mod tests;
