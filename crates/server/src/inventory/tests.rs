//! Inventories from text: what a host has to run, and what is said about mistakes.

use std::path::PathBuf;

use hostwatch_daemon::settings::Mistakes;
use hostwatch_wire::{HostId, Parameter, ServiceConfig};

use super::{Inventory, Labels, Origin, Sources};

const SERVICES: &str = r#"
[services.cpu]
plugin = "cpu"
interval = "${cpu_interval}"

[services.disk]
plugin = "disk"
interval = "1m"
timeout = "5s"
parameters = { mounts = ["/", "${data}"], all = true }
"#;

const TEMPLATES: &str = r#"
[templates.linux]
services = ["cpu"]
vars = { cpu_interval = "10s" }

[templates.database]
extends = ["linux"]
services = ["disk"]
vars = { cpu_interval = "5s", data = "/var/lib" }
"#;

fn sources(services: &str, templates: &str, hosts: &str) -> Sources {
    let file = |name: &str, text: &str| vec![(PathBuf::from(name), text.to_owned())];
    Sources {
        hosts: file("hosts.toml", hosts),
        templates: file("templates.toml", templates),
        services: file("services.toml", services),
        rules: Vec::new(),
    }
}

fn read(hosts: &str) -> Inventory {
    let mistakes = Mistakes::default();
    let inventory = Inventory::read(&sources(SERVICES, TEMPLATES, hosts), &mistakes);
    mistakes.into_result().unwrap();
    inventory
}

fn mistakes(services: &str, templates: &str, hosts: &str) -> Vec<String> {
    let mistakes = Mistakes::default();
    let _ = Inventory::read(&sources(services, templates, hosts), &mistakes);
    mistakes.into_result().map_or_else(|list| list.lines().map(str::to_owned).collect(), |()| Vec::new())
}

fn host(id: &str) -> HostId {
    id.parse().unwrap()
}

fn services(inventory: &Inventory, id: &str) -> Vec<ServiceConfig> {
    inventory.plan(&host(id), &Labels::new()).unwrap().1.services.clone()
}

#[test]
fn templates_extend_and_the_more_particular_variable_wins() {
    let inventory = read(
        r#"
        [hosts.a]
        templates = ["linux"]
        [hosts.b]
        templates = ["database"]
        [hosts.c]
        templates = ["database"]
        vars = { cpu_interval = "1s" }
        services.disk.interval = "2m"
        services.disk.parameters.all = false
        "#,
    );
    let intervals = |id| services(&inventory, id).iter().map(|service| service.interval_ms).collect::<Vec<_>>();
    assert_eq!(intervals("a"), [10_000]);
    assert_eq!(intervals("b"), [5_000, 60_000]);
    assert_eq!(intervals("c"), [1_000, 120_000]);
    let disk = &services(&inventory, "c")[1];
    assert_eq!(disk.timeout_ms, Some(5_000));
    assert_eq!(disk.parameters["all"], Parameter::Boolean(false));
    assert_eq!(disk.parameters["mounts"], Parameter::List(vec!["/".to_owned(), "/var/lib".to_owned()]));
}

#[test]
fn the_first_match_that_holds_decides() {
    let inventory = read(
        r#"
        [hosts.web-1]
        templates = []
        [[match]]
        host = "web-*"
        labels = { role = "db" }
        trust_labels = true
        templates = ["database"]
        [[match]]
        host = "web-*"
        templates = ["linux"]
        "#,
    );
    let claimed = Labels::from([("role".to_owned(), "db".to_owned())]);
    let plan = |id: &str, claimed: &Labels| {
        inventory.plan(&host(id), claimed).map(|(origin, plan)| (origin, plan.services.len()))
    };
    assert_eq!(plan("web-1", &claimed), Some((Origin::Configured, 0)));
    assert_eq!(plan("web-2", &claimed), Some((Origin::Matched, 2)));
    assert_eq!(plan("web-2", &Labels::new()), Some((Origin::Matched, 1)));
    assert_eq!(plan("db-1", &claimed), None);
}

#[test]
fn the_same_work_has_the_same_content() {
    let inventory = read(
        r#"
        [hosts.a]
        templates = ["linux"]
        labels = { env = "prod" }
        [hosts.b]
        templates = ["linux"]
        [hosts.c]
        templates = ["linux"]
        vars = { cpu_interval = "11s" }
        "#,
    );
    let content = |id| inventory.plan(&host(id), &Labels::new()).unwrap().1.content;
    assert_eq!(content("a"), content("b"));
    assert_ne!(content("a"), content("c"));
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let services = r#"
[services.cpu]
plugin = "cpu"
interval = "soon"
[services.load]
plugin = "load"
interval = "${load_interval}"
[services.slow]
plugin = "slow"
interval = "1s"
timeout = "2s"
"#;
    let templates = r#"
[templates.one]
extends = ["two"]
services = ["cpu", "cpuu", "load", "slow"]
[templates.two]
extends = ["one"]
"#;
    let hosts = r#"
[hosts.a]
templates = ["one", "three"]
services.disk.interval = "1s"
"#;
    let found = mistakes(services, templates, hosts);
    let expected = [
        "hosts.toml:3: hosts.a.templates[1]: there is no template \"three\"; there are: one, two",
        "hosts.toml:4: hosts.a.services.disk: none of the host's templates has this service; they have: cpu, load, slow",
        "services.toml:4: services.cpu.interval: \"soon\" is not a duration; write a number and a unit, such as \"10s\", from 100ms to 1d (needed for hosts.toml:2: hosts.a)",
        "services.toml:7: services.load.interval: ${load_interval} is not set; set it in `vars` of a template, host or match (needed for hosts.toml:2: hosts.a)",
        "services.toml:11: services.slow.timeout: the timeout is longer than the interval; write one that is at most as long",
        "templates.toml:4: templates.one.services[1]: there is no service \"cpuu\"; there are: cpu, load, slow",
    ];
    for line in expected {
        assert!(found.iter().any(|mistake| mistake == line), "{line}\nis not in\n{}", found.join("\n"));
    }
    assert!(found.iter().any(|mistake| mistake.contains("a template cannot extend itself")), "{found:#?}");
}

#[test]
fn mistakes_within_the_files() {
    let found = mistakes(
        "[services.cpu]\nplugin = \"cpu\"\n[services.\"a b\"]\nplugin = \"x\"\ninterval = \"1s\"\n",
        "[templates.linux]\nservice = [\"cpu\"]\n",
        "[hosts.\"we*\"]\n[hosts.a.labels]\ninstance = \"x\"\n\"a-b\" = \"y\"\n[[match]]\nhost = \"[\"\nlabels = { role = \"x\" }\n",
    );
    for part in [
        "services.cpu.interval",
        "is not a valid name",
        "templates.linux.service",
        "hosts.\"we*\"",
        "is a reserved label",
        "is not a label name",
        "match[0].host",
        "trust_labels = true",
    ] {
        assert!(found.iter().any(|mistake| mistake.contains(part)), "{part}\nis not in\n{}", found.join("\n"));
    }
}

#[test]
fn a_broken_file_does_not_make_others_wrong() {
    let found = mistakes("[services.cpu\n", TEMPLATES, "");
    assert!(found.iter().all(|mistake| mistake.starts_with("services.toml:")), "{found:#?}");
    assert!(!found.is_empty());
}

#[test]
fn a_name_is_defined_once() {
    let mut twice = sources(SERVICES, TEMPLATES, "[hosts.a]\n");
    twice.hosts.push((PathBuf::from("hosts.d/more.toml"), "[hosts.a]\n".to_owned()));
    let mistakes = Mistakes::default();
    let _ = Inventory::read(&twice, &mistakes);
    let list = mistakes.into_result().unwrap_err();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines, ["hosts.d/more.toml:1: hosts.a: already defined at hosts.toml:1: hosts.a"]);
}
