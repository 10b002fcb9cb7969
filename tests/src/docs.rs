//! Documents that stay true: what they name exists, what exists is named, and what they tell people to type works.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What the README may tell people to type: the module `readme` runs the first, `.ci/run` the second.
const COMMANDS: [&str; 2] = ["cargo xtask run", "cargo xtask test"];

fn root() -> PathBuf {
    hostwatch_testkit::root().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The entries of a folder that belong to the repository: neither hidden nor built.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.starts_with('.') && name != "target"
    });
    entries.sort();
    entries
}

/// All files of the repository whose names end with `.extension`.
fn files(extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} file");
    found
}

/// What stands between backticks on the lines of a text.
fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The targets of a document's links into the repository, as paths.
fn links(document: &Path) -> BTreeSet<PathBuf> {
    let text = read(document);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let inside = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let folder = document.parent().unwrap();
    inside
        .map(|target| {
            let path = folder.join(target.split('#').next().unwrap());
            path.canonicalize().unwrap_or_else(|error| panic!("{}: {target}: {error}", document.display()))
        })
        .collect()
}

#[test]
fn the_code_map_names_what_there_is_and_nothing_else() {
    let root = root();
    let text = read(root.join("ARCHITECTURE.md"));
    let (_, map) = text.split_once("\n## Code map\n").expect("ARCHITECTURE.md has a code map");
    let map = map.split("\n## ").next().unwrap();
    let named: BTreeSet<&str> = in_backticks(map).collect();
    for path in &named {
        assert!(root.join(path).exists(), "the code map names {path}, which does not exist");
    }
    for krate in entries(&root.join("crates")) {
        let path = format!("crates/{}/", krate.file_name().unwrap().to_string_lossy());
        assert!(named.contains(path.as_str()), "the code map has no {path}");
    }
    for folder in entries(&root).iter().filter(|path| path.is_dir()) {
        let path = format!("{}/", folder.file_name().unwrap().to_string_lossy());
        assert!(named.iter().any(|named| named.starts_with(&path)), "the code map has nothing of {path}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for path in files("rs") {
        assert!(read(&path).starts_with("//! "), "{}: does not begin with //!", path.display());
    }
}

#[test]
fn links_lead_somewhere_and_every_document_is_linked() {
    let linked: BTreeSet<PathBuf> = files("md").iter().flat_map(|document| links(document)).collect();
    for path in files("md") {
        let path = path.canonicalize().unwrap();
        let is_entry = path == root().join("README.md").canonicalize().unwrap();
        assert!(is_entry || linked.contains(&path), "no document links {}", path.display());
    }
}

#[test]
fn the_readme_shows_commands_that_are_run_by_us() {
    let readme = read(root().join("README.md"));
    let mut commands = BTreeSet::new();
    for block in readme.split("\n```").skip(1).step_by(2) {
        let (language, lines) = block.split_once('\n').expect("a fence ends its line");
        match language {
            "sh" => commands.extend(lines.lines()),
            "console" => commands.extend(lines.lines().filter_map(|line| line.strip_prefix("$ "))),
            _ => {}
        }
    }
    assert_eq!(commands, BTreeSet::from(COMMANDS));
}

#[test]
fn what_is_unreleased_is_in_the_changelog() {
    let changelog = read(root().join("CHANGELOG.md"));
    assert!(changelog.contains("\n## [Unreleased]\n"), "CHANGELOG.md has no section [Unreleased]");
}
