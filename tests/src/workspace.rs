//! Who may depend on whom, and what every crate has in common.

use std::collections::BTreeMap;

use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What a crate may depend on, of ours, outside its tests.
const MAY_DEPEND_ON: [(&str, &[&str]); 11] = [
    ("hostwatch-adjtimex", &[]),
    ("hostwatch-wire", &[]),
    ("hostwatch-daemon", &[]),
    ("hostwatch-testkit", &[]),
    ("hostwatch-rules", &[]),
    ("hostwatch-bus", &["hostwatch-wire"]),
    ("hostwatch-plugins", &["hostwatch-adjtimex", "hostwatch-wire"]),
    ("hostwatch-client", &["hostwatch-wire", "hostwatch-bus", "hostwatch-plugins", "hostwatch-daemon"]),
    ("hostwatch-server", &["hostwatch-wire", "hostwatch-bus", "hostwatch-daemon", "hostwatch-rules"]),
    ("hostwatch-tests", &[]),
    (
        "xtask",
        &[
            "hostwatch-bus",
            "hostwatch-client",
            "hostwatch-daemon",
            "hostwatch-plugins",
            "hostwatch-server",
            "hostwatch-testkit",
            "hostwatch-wire",
        ],
    ),
];

fn metadata() -> Metadata {
    let root = hostwatch_testkit::root().unwrap();
    MetadataCommand::new().current_dir(root).no_deps().exec().unwrap()
}

fn ours(metadata: &Metadata) -> BTreeMap<String, &Package> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (package.name.to_string(), package)).collect();
    assert!(packages.len() >= MAY_DEPEND_ON.len(), "{packages:?}");
    packages
}

#[test]
fn crates_depend_on_each_other_as_the_table_says() {
    let metadata = metadata();
    let packages = ours(&metadata);
    let table = BTreeMap::from(MAY_DEPEND_ON);
    for (name, package) in &packages {
        let allowed = table.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the table"));
        for dependency in package.dependencies.iter().filter(|it| it.kind != DependencyKind::Development) {
            let is_ours = packages.contains_key(&dependency.name);
            assert!(!is_ours || allowed.contains(&dependency.name.as_str()), "{name} depends on {}", dependency.name);
        }
    }
    for name in table.keys() {
        assert!(packages.contains_key(*name), "{name} is in the table and not in the workspace");
    }
}

#[test]
fn bus_alone_names_redis() {
    let metadata = metadata();
    let users: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| package.dependencies.iter().any(|dependency| dependency.name == "redis"))
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(users, ["hostwatch-bus"]);
}

#[test]
fn every_crate_inherits_the_lints_and_is_not_published() {
    let metadata = metadata();
    let lints = |path: &Utf8Path| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let mut workspace = lints(&metadata.workspace_root.join("Cargo.toml"))["workspace"]["lints"].clone();
    for package in &metadata.packages {
        let own = &lints(&package.manifest_path)["lints"];
        if package.name == "hostwatch-adjtimex" {
            // The one exception: it may have an `unsafe` block where it says so.
            workspace["rust"]["unsafe_code"] = "deny".into();
            assert_eq!(*own, workspace);
            workspace["rust"]["unsafe_code"] = "forbid".into();
        } else {
            assert_eq!(own.get("workspace"), Some(&toml::Value::from(true)), "{}", package.manifest_path);
        }
        assert_eq!(package.publish.as_deref(), Some(&[][..]), "{}", package.manifest_path);
        assert!(package.description.is_some(), "{}", package.manifest_path);
    }
}

/// Fuzzing is no part of the workspace, and nothing else looks at its lock file.
#[test]
fn the_lock_file_of_the_fuzz_targets_is_up_to_date() {
    let manifest = hostwatch_testkit::root().unwrap().join("fuzz/Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).other_options(["--locked".to_owned()]).exec();
    metadata.unwrap_or_else(|error| panic!("`cargo update --workspace` in fuzz/ mends it: {error}"));
}
