//! `server.toml`: read strictly, every mistake at once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use hostwatch_bus::Address;
use hostwatch_daemon::settings::{Document, Environment, Located, Mistakes, SecretSource, Table, TlsFiles};
use hostwatch_wire::Names;

use crate::fleet::Timing;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// What `server.toml` and the environment say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server keeps what survives it.
    pub state_directory: PathBuf,
    /// How Redis is reached.
    pub redis: Redis,
    /// What people and Prometheus reach.
    pub web: Web,
    /// Where hosts, templates and services are defined.
    pub inventory: InventoryFiles,
    /// How long things may take.
    pub timing: Timing,
}

/// `[redis]`
#[derive(Debug, Clone)]
pub struct Redis {
    /// `redis://`, `rediss://` or `redis+unix://`.
    pub address: Address,
    /// The ACL user.
    pub username: Option<String>,
    /// Where the password comes from; without it the systemd credential `redis.password`, if there is one.
    pub password: Option<SecretSource>,
    /// What an encrypted connection needs.
    pub tls: TlsFiles,
    /// The names of keys and channels.
    pub names: Names,
}

/// `[web]`
#[derive(Debug, Clone)]
pub struct Web {
    /// Where to listen.
    pub listen_address: Vec<SocketAddr>,
    /// The `job` label of every host's series.
    pub job: String,
    /// Where others reach this server; by default where they ask.
    pub external_url: Option<Uri>,
    /// Who may ask, and over what kind of connection; without it everybody, over a plain one.
    pub config_file: Option<Located<PathBuf>>,
}

/// `[inventory]`: files and globs, relative to `server.toml`.
#[derive(Debug, Clone)]
pub struct InventoryFiles {
    /// Files with `[hosts.ID]` and `[[match]]`.
    pub hosts: Vec<Located<String>>,
    /// Files with `[templates.NAME]`.
    pub templates: Vec<Located<String>>,
    /// Files with `[services.NAME]`.
    pub services: Vec<Located<String>>,
    /// Files with `[rules.NAME]`.
    pub rules: Vec<Located<String>>,
}

impl Settings {
    /// Reads `text`, the content of `file`; whatever is wrong is entered in `mistakes` and replaced by its default.
    #[must_use]
    pub fn read(file: &Path, text: &str, environment: &Environment, mistakes: &Mistakes) -> Self {
        let document = Document::parse(file, text, mistakes);
        let mut root = document.root(environment, mistakes);
        let state_directory = root.string("state_directory").map_or_else(default_state_directory, |path| {
            if !path.value.starts_with('/') {
                mistakes.add(&path.place, format_args!("{:?} is not an absolute path", path.value));
            }
            path.value.into()
        });
        let redis = read_redis(root.table("redis"));
        let web = read_web(root.table("web"), file.parent().unwrap_or(Path::new(".")));
        let inventory = read_inventory(root.table("inventory"), &root);
        let (liveness, delivery) = (root.table("liveness"), root.table("delivery"));
        let timing = read_timing(liveness, delivery);
        root.finish();
        Self { state_directory, redis, web, inventory, timing }
    }
}

/// `$STATE_DIRECTORY` is set by systemd.
fn default_state_directory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| "/var/lib/hostwatch-server".into(), PathBuf::from)
}

fn read_redis(table: Option<Table<'_>>) -> Redis {
    let mut redis = Redis {
        address: "redis://127.0.0.1:6379".parse().expect("the default is an address"),
        username: None,
        password: None,
        tls: TlsFiles::default(),
        names: Names::new("hostwatch").expect("the default is a prefix"),
    };
    let Some(mut table) = table else { return redis };
    if let Some(address) = table.parsed("url") {
        redis.address = address.value;
    }
    redis.username = table.string("username").map(|name| name.value);
    redis.password = table.secret("password");
    redis.tls = table.table("tls").map(TlsFiles::read).unwrap_or_default();
    if !redis.tls.is_empty() && !redis.address.is_tls() {
        let what = format_args!("is for rediss:// only, and the url is {}", redis.address);
        table.mistakes().add(&table.place_of("tls"), what);
    }
    if let Some(prefix) = table.string("prefix") {
        match Names::new(&prefix.value) {
            Ok(names) => redis.names = names,
            Err(error) => table.mistakes().add(&prefix.place, error),
        }
    }
    table.finish();
    redis
}

fn read_web(table: Option<Table<'_>>, directory: &Path) -> Web {
    let listen_address = vec![SocketAddr::from(([127, 0, 0, 1], 10_120))];
    let mut web = Web { listen_address, job: "node".to_owned(), external_url: None, config_file: None };
    let Some(mut table) = table else { return web };
    if let Some(addresses) = table.strings("listen_address") {
        if addresses.value.is_empty() {
            table.mistakes().add(&addresses.place, "is empty; write at least one address, such as \"127.0.0.1:10120\"");
        }
        let parsed = addresses.value.iter().filter_map(|address| {
            let wrong = "is not an address; write IP:PORT, such as \"127.0.0.1:10120\" or \"[::1]:10120\"";
            let parsed = address.value.parse();
            parsed.map_err(|_| table.mistakes().add(&address.place, format_args!("{:?} {wrong}", address.value))).ok()
        });
        web.listen_address = parsed.collect();
    }
    if let Some(job) = table.string("job") {
        if job.value.is_empty() {
            table.mistakes().add(&job.place, "is empty; write the value of the job label, such as \"node\"");
        }
        web.job = job.value;
    }
    if let Some(url) = table.string("external_url") {
        match url.value.parse::<Uri>() {
            Ok(parsed) if is_external(&parsed) => web.external_url = Some(parsed),
            _ => table.mistakes().add(
                &url.place,
                format_args!("{:?} is not an address; write one such as \"https://monitor.example.net\"", url.value),
            ),
        }
    }
    web.config_file = table.string("config_file").map(|path| path.map(|path| directory.join(path)));
    table.finish();
    web
}

/// Prometheus takes a scheme, a host and a path from it, and nothing else.
fn is_external(url: &Uri) -> bool {
    let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    plain && matches!(url.scheme_str(), Some("http" | "https")) && url.query().is_none()
}

fn read_inventory(table: Option<Table<'_>>, root: &Table<'_>) -> InventoryFiles {
    let place = root.place_of("inventory");
    let default = |patterns: &[&str]| -> Vec<Located<String>> {
        patterns.iter().map(|pattern| Located { value: (*pattern).to_owned(), place: place.clone() }).collect()
    };
    let mut files = InventoryFiles {
        hosts: default(&["hosts.toml", "hosts.d/*.toml"]),
        templates: default(&["templates.toml"]),
        services: default(&["services/*.toml"]),
        rules: default(&["rules/*.toml"]),
    };
    let Some(mut table) = table else { return files };
    for (key, patterns) in [
        ("hosts", &mut files.hosts),
        ("templates", &mut files.templates),
        ("services", &mut files.services),
        ("rules", &mut files.rules),
    ] {
        if let Some(list) = table.strings(key) {
            *patterns = list.value;
        }
    }
    table.finish();
    files
}

fn read_timing(liveness: Option<Table<'_>>, delivery: Option<Table<'_>>) -> Timing {
    let mut timing = Timing {
        heartbeat: 10 * SECOND,
        down_after: 60 * SECOND,
        left_grace: 600 * SECOND,
        forget_after: DAY,
        ack_interval: 30 * SECOND,
        silent_percent: 50,
    };
    // A client takes nothing shorter from a server.
    let shortest = SECOND;
    if let Some(mut table) = liveness {
        for (key, value, longest) in [
            ("heartbeat", &mut timing.heartbeat, 300 * SECOND),
            ("down_after", &mut timing.down_after, DAY),
            ("left_grace", &mut timing.left_grace, 30 * DAY),
            ("forget_after", &mut timing.forget_after, 365 * DAY),
        ] {
            if let Some(duration) = table.duration(key, shortest..=longest) {
                *value = duration.value;
            }
        }
        if let Some(percent) = table.integer("silent_percent", 1..=100) {
            timing.silent_percent = percent.value as u8;
        }
        if timing.down_after < 3 * timing.heartbeat {
            let [down_after, heartbeat] = [timing.down_after, timing.heartbeat].map(humantime::format_duration);
            let what =
                format!("{down_after} is shorter than three heartbeats of {heartbeat}: a host would never be stale");
            table.mistakes().add(&table.place_of("down_after"), what);
        }
        table.finish();
    }
    if let Some(mut table) = delivery {
        if let Some(interval) = table.duration("ack_interval", shortest..=600 * SECOND) {
            timing.ack_interval = interval.value;
        }
        table.finish();
    }
    timing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both without a file's word and with the shipped file's.
    #[test]
    fn without_further_words_only_this_machine_is_listened_to() {
        for text in ["", "[web]\n", include_str!("../../../packaging/config/server.toml")] {
            let mistakes = Mistakes::default();
            let settings = Settings::read(Path::new("server.toml"), text, &Environment::default(), &mistakes);
            mistakes.into_result().unwrap();
            assert!(settings.web.listen_address.iter().all(|address| address.ip().is_loopback()), "{text}");
            assert!(settings.redis.address.to_string().contains("127.0.0.1"), "{}", settings.redis.address);
        }
    }
}
