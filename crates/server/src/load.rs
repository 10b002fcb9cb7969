//! Reads the whole configuration: `server.toml` and the files that it names. All of it holds, or none.

use std::fs;
use std::path::{Path, PathBuf};

use hostwatch_daemon::Secret;
use hostwatch_daemon::settings::{Environment, Located, MistakeList, Mistakes, SecretSource};

use crate::inventory::{Inventory, Sources};
use crate::settings::Settings;
use crate::web::WebConfig;

/// A configuration without a mistake.
#[derive(Debug)]
pub struct Configuration {
    /// What `server.toml` says.
    pub settings: Settings,
    /// What the inventory's files say.
    pub inventory: Inventory,
    /// What `web.yml` says, with the certificates that it names.
    pub web: WebConfig,
}

/// Reads and checks everything, starting from `file`.
///
/// # Errors
/// Every mistake in every file.
pub fn load(file: &Path, environment: &Environment) -> Result<Configuration, MistakeList> {
    let mistakes = Mistakes::default();
    let configuration = read(file, &mistakes).map(|text| check(file, &text, environment, &mistakes));
    mistakes.into_result().map(|()| configuration.expect("a file that cannot be read is a mistake"))
}

fn check(file: &Path, text: &str, environment: &Environment, mistakes: &Mistakes) -> Configuration {
    let settings = Settings::read(file, text, environment, mistakes);
    if let Some(SecretSource::File(path)) = &settings.redis.password
        && let Err(error) = Secret::from_file(&path.value)
    {
        mistakes.add(&path.place, format_args!("cannot read the password: {error}"));
    }
    if let Err(unusable) = settings.redis.tls.load() {
        mistakes.add(&unusable.place, unusable.what);
    }
    let web = settings.web.config_file.as_ref().map(|file| WebConfig::load(file, mistakes)).unwrap_or_default();
    let directory = file.parent().unwrap_or(Path::new("."));
    let sources = Sources {
        hosts: read_all(directory, &settings.inventory.hosts, mistakes),
        templates: read_all(directory, &settings.inventory.templates, mistakes),
        services: read_all(directory, &settings.inventory.services, mistakes),
        rules: read_all(directory, &settings.inventory.rules, mistakes),
    };
    let inventory = Inventory::read(&sources, mistakes);
    Configuration { settings, inventory, web }
}

/// The files that match `patterns`. A glob may match none; a plain name has to be there.
fn read_all(directory: &Path, patterns: &[Located<String>], mistakes: &Mistakes) -> Vec<(PathBuf, String)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let Some(full) = directory.join(&pattern.value).to_str().map(str::to_owned) else { continue };
        let matches = match glob::glob(&full) {
            Ok(matches) => matches,
            Err(error) => {
                mistakes.add(&pattern.place, format_args!("{:?} is not a glob: {error}", pattern.value));
                continue;
            }
        };
        let before = files.len();
        for file in matches {
            match file {
                Ok(file) if !files.contains(&file) => files.push(file),
                Ok(_) => {}
                Err(error) => mistakes.add_file(error.path(), format_args!("cannot be read: {}", error.error())),
            }
        }
        let is_glob = pattern.value.contains(['*', '?', '[']);
        if !is_glob && files.len() == before && !Path::new(&full).exists() {
            mistakes.add(&pattern.place, format_args!("there is no file {full}"));
        }
    }
    files.into_iter().filter_map(|file| read(&file, mistakes).map(|text| (file, text))).collect()
}

fn read(file: &Path, mistakes: &Mistakes) -> Option<String> {
    fs::read_to_string(file).map_err(|error| mistakes.add_file(file, format_args!("cannot be read: {error}"))).ok()
}
