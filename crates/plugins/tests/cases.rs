//! Every plugin over files that were written for it: `cases/PLUGIN/CASE/{parameters.toml,proc/…,expected.txt}`.
//! With UPDATE_EXPECTED=1 the expected results are written instead of compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod case;

use std::fs;
use std::path::{Path, PathBuf};

use hostwatch_plugins::{CollectError, Descriptor, PLUGINS, Samples, find};

/// What reads no file of the host has its tests elsewhere.
const OF_NO_FILES: [&str; 6] = ["client", "exec", "scrape", "systemd", "timex", "uname"];

#[test]
fn every_case_gives_what_is_expected() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for plugin in PLUGINS.iter().filter(|plugin| !OF_NO_FILES.contains(&plugin.name)) {
        let cases = directories(&cases().join(plugin.name));
        assert!(!cases.is_empty(), "the plugin {} has no cases", plugin.name);
        for case in cases {
            let expected = case.join("expected.txt");
            let found = result(plugin, &case);
            if update {
                fs::write(&expected, found).unwrap();
            } else if fs::read_to_string(&expected).unwrap() != found {
                wrong.push(format!("{} is not:\n{found}", expected.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_cases_belongs_to_a_plugin() {
    for folder in directories(&cases()) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(find(name).is_some(), "there is no plugin {name}");
    }
}

/// What a plugin says about a case: a page, or an error whose paths are relative to the case.
fn result(plugin: &Descriptor, case: &Path) -> String {
    match page(plugin, case) {
        Ok(page) => page,
        Err(error) => format!("error: {error}\n"),
    }
    .replace(&format!("{}/", case.display()), "")
}

fn page(plugin: &Descriptor, case: &Path) -> Result<String, CollectError> {
    let mut plugin = case::build(plugin, case);
    let mut samples = Samples::new();
    samples.collect(&mut *plugin)?;
    // Clocks are the one thing that no folder can hold.
    let line = |line: &str| match line.split_once(' ') {
        Some((series @ "node_time_seconds", _)) => format!("{series} NOW"),
        Some((series, _)) if series.starts_with("node_textfile_mtime_seconds") => format!("{series} THEN"),
        _ => line.to_owned(),
    };
    let page: String = samples.text().lines().map(|text| line(text) + "\n").collect();
    Ok(page + &samples.message().map_or_else(String::new, |message| format!("message: {message}\n")))
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn directories(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let mut directories: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
}
