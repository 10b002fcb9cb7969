//! What plugins report, all cases together: whether it is what dashboards read, and the page docs/plugins.md, which is made
//! from it. With UPDATE_EXPECTED=1 the page is written instead of compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hostwatch_plugins::{Access, Delivery, Descriptor, PLUGINS, Run, Samples};
use hostwatch_wire::{Parameter, Parameters};

/// What dashboards read and nobody reports, by the beginning of the names, and why.
const NOT_REPORTED: [(&str, &str); 2] = [
    ("node_exporter_build_info", "is about another program; hostwatch_host_info has the client's version"),
    ("node_netstat_Tcp_MaxConn", "is no default of node_exporter either, and Linux says -1 on every machine"),
];

/// Plugins whose series, or some of them, are in no folder of cases: what is asked of the kernel or of the client itself.
const OF_NO_FILES: [&str; 5] = ["client", "exec", "filesystem", "timex", "uname"];

/// Cases whose files name what no kernel has.
const HAS_MADE_UP_NAMES: [&str; 2] = ["memory/not-text", "memory/odd-name"];

#[test]
fn what_dashboards_read_is_reported() {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    for plugin in PLUGINS {
        found.extend(families(plugin));
    }
    let (mut covered, mut wrong) = (0, Vec::new());
    let wanted = fs::read_to_string(root().join("tests/dashboards.txt")).unwrap();
    let wanted: Vec<_> = wanted.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &wanted {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, kind) = rest.split_once("} ").unwrap();
        let labels: BTreeSet<String> = labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let reason = NOT_REPORTED.iter().find(|(prefix, _)| name.starts_with(prefix));
        match (found.get(name), reason) {
            (None, Some((_, reason))) => eprintln!("{name} {reason}"),
            (None, None) => wrong.push(format!("{name}: no plugin reports it")),
            (Some(_), Some(_)) => wrong.push(format!("{name}: listed as not reported, and reported")),
            (Some(family), None) => {
                covered += 1;
                if family.kind != kind {
                    wrong.push(format!("{name}: is of the type {}, not {kind}", family.kind));
                }
                if !family.labels.contains(&labels) {
                    wrong.push(format!("{name}: has the labels {:?}, not {labels:?}", family.labels));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{covered} of {} series are reported", wanted.len());
}

#[test]
fn the_page_about_plugins_says_what_they_report() {
    let path = root().join("../../docs/plugins.md");
    let mut page = fs::read_to_string(root().join("tests/plugins-head.txt")).unwrap();
    for plugin in PLUGINS {
        describe(plugin, &mut page);
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some_and(|value| value == "1") {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == page, "docs/plugins.md is out of date: UPDATE_EXPECTED=1 writes it");
}

/// Appends the section of a plugin.
fn describe(plugin: &Descriptor, page: &mut String) {
    let when = if plugin.on_by_default { "by default" } else { "on request" };
    writeln!(page, "\n## `{}`\n\n{}. Runs {when}.", plugin.name, capitalized(plugin.about)).unwrap();
    writeln!(page, "\nThe cost of a sample {}.", cost(plugin.name)).unwrap();
    let parameters = plugin.parameters();
    if !parameters.is_empty() {
        let described = parameters.iter().map(|name| format!("`{name}` ({})", kind_of(plugin, name)));
        writeln!(page, "\nParameters: {}.", described.collect::<Vec<_>>().join(", ")).unwrap();
    }
    let families = families(plugin);
    if families.is_empty() {
        return;
    }
    writeln!(page, "\n| series | type | what |\n| --- | --- | --- |").unwrap();
    for (name, family) in families {
        let labels: BTreeSet<&str> = family.labels.iter().flatten().map(String::as_str).collect();
        let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        writeln!(page, "| `{name}{labels}` | {} | {} |", family.kind, family.help.replace('|', "\\|")).unwrap();
    }
}

/// What a sample of a plugin costs, for people.
fn cost(plugin: &str) -> String {
    let costs = fs::read_to_string(root().join("tests/costs.txt")).unwrap();
    let mut lines = costs.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let (_, cost) = lines.find(|(name, _)| *name == plugin).unwrap_or_else(|| panic!("no cost of {plugin}"));
    match cost.parse::<f64>() {
        Ok(units) => format!("is about {units} × `load`"),
        Err(_) => cost.to_owned(),
    }
}

fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().into_iter().flat_map(char::to_uppercase).chain(rest).collect()
}

/// What a parameter may be: the plugin says it when it gets something else.
fn kind_of(plugin: &Descriptor, name: &str) -> String {
    for wrong in [Parameter::Boolean(true), Parameter::Text(String::new())] {
        let parameters = Parameters::from([(name.to_owned(), wrong)]);
        let error = plugin.build(&Access::default(), &parameters, Duration::MAX).err().map(|error| error.to_string());
        let begin = format!("{name}: expected ");
        let expected =
            error.iter().flat_map(|error| error.split("; ")).find_map(|mistake| mistake.strip_prefix(&begin));
        if let Some((kind, _)) = expected.and_then(|expected| expected.split_once(", found")) {
            return kind.to_owned();
        }
    }
    panic!("{} takes anything as {name}", plugin.name);
}

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// The names of labels that its series have.
    labels: BTreeSet<BTreeSet<String>>,
}

/// What a plugin reports in its cases, or here.
fn families(plugin: &Descriptor) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let cases = root().join("cases").join(plugin.name);
    if cases.exists() {
        for case in directories(&cases).filter(|case| !HAS_MADE_UP_NAMES.iter().any(|made_up| case.ends_with(made_up)))
        {
            add(&fs::read_to_string(case.join("expected.txt")).unwrap(), &mut families);
        }
    }
    if OF_NO_FILES.contains(&plugin.name) {
        add(&live(plugin), &mut families);
    }
    if plugin.name == "textfile" {
        // The others are those of the files.
        families.retain(|name, _| name.starts_with("node_textfile_"));
    }
    families
}

/// A page of the plugin on this machine, within a client that has had every trouble.
fn live(plugin: &Descriptor) -> String {
    let mut access = Access::default();
    let run = Run { plugin: "load", collector: "loadavg", took: Duration::ZERO, succeeded: true, left_out: 1 };
    access.ledger.ran("load", run);
    access.ledger.deliver(Delivery::default());
    let check = ["/bin/echo", "| figure=1"].map(str::to_owned).into();
    access.allowed.exec.insert("it".to_owned(), check);
    let mut parameters = Parameters::new();
    if plugin.name == "exec" {
        parameters.insert("command".to_owned(), Parameter::Text("it".to_owned()));
    }
    let mut plugin = plugin.build(&access, &parameters, Duration::from_secs(60)).unwrap();
    let mut samples = Samples::new();
    samples.collect(&mut *plugin).unwrap();
    samples.text()
}

/// Adds the families of a page.
fn add(page: &str, families: &mut BTreeMap<String, Family>) {
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(family) = families.get_mut(line.split(['{', ' ']).next().unwrap_or_default()) {
            family.labels.insert(labels(line));
        }
    }
}

/// The names of a series' labels: what stands between a quoted value, which may have anything in it, and the next one.
fn labels(line: &str) -> BTreeSet<String> {
    let (mut names, mut rest) = (BTreeSet::new(), line.split_once('{').map_or("", |(_, rest)| rest));
    while let Some((name, value)) = rest.split_once("=\"") {
        names.insert(name.trim_start_matches(',').to_owned());
        let mut is_escaped = false;
        let end = value.find(|character| {
            let ends = character == '"' && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn directories(parent: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
}
