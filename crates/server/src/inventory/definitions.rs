//! What the inventory's files say, word for word: names are not looked up yet and variables not expanded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use hostwatch_daemon::settings::{Document, Environment, Located, Mistakes, Place, Scalar, Table};
use hostwatch_wire::{HostId, ServiceName, is_label_name, is_reserved_label};

use super::{Labels, Sources};

/// How often a rule over the fleet may be evaluated.
const MIN_RULE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_RULE_INTERVAL: Duration = Duration::from_hours(24);

/// Everything that the files define.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    pub(super) services: BTreeMap<String, Service>,
    pub(super) templates: BTreeMap<String, Template>,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) rules: Vec<Rule>,
    pub(super) fleet_rules: BTreeMap<String, FleetRule>,
    /// Whether every service and template that the files define is here: only then is a missing one a mistake.
    pub(super) complete: bool,
}

/// `[services.NAME]`
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) plugin: String,
    pub(super) run: RunSettings,
    pub(super) triggers: Vec<AlertDefinition>,
    place: Place,
}

/// `[[services.NAME.triggers]]`, or what a rule over the fleet has of it.
#[derive(Debug)]
pub(super) struct AlertDefinition {
    pub(super) alert: Located<String>,
    pub(super) expr: Located<String>,
    pub(super) recover: Option<Located<String>>,
    pub(super) hold: Option<Located<String>>,
    pub(super) keep_firing_for: Option<Located<String>>,
    pub(super) labels: Vec<(Located<String>, Located<String>)>,
    pub(super) annotations: Vec<(Located<String>, Located<String>)>,
}

/// `[rules.NAME]`: a rule over the fleet.
#[derive(Debug)]
pub(super) struct FleetRule {
    pub(super) interval: Option<Located<Duration>>,
    pub(super) kind: FleetRuleKind,
    place: Place,
}

#[derive(Debug)]
pub(super) enum FleetRuleKind {
    Alert(Box<AlertDefinition>),
    Record { name: Located<String>, expr: Located<String>, labels: Labels },
}

/// How a service runs: what a host may say otherwise.
#[derive(Debug, Default, Clone)]
pub(super) struct RunSettings {
    pub(super) interval: Option<Located<String>>,
    pub(super) timeout: Option<Located<String>>,
    pub(super) parameters: BTreeMap<String, Located<Scalar>>,
}

/// `[templates.NAME]`
#[derive(Debug)]
pub(super) struct Template {
    pub(super) extends: Vec<Located<String>>,
    pub(super) services: Vec<Located<String>>,
    pub(super) vars: Vars,
    place: Place,
}

/// `[hosts.ID]`
#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) labels: Labels,
    pub(super) assignment: Assignment,
    pub(super) overrides: Vec<(Located<String>, RunSettings)>,
    pub(super) place: Place,
}

/// `[[match]]`
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) host: GlobMatcher,
    pub(super) claimed: Labels,
    pub(super) assignment: Assignment,
    pub(super) place: Place,
}

/// Which templates apply, and with which variables.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    pub(super) templates: Vec<Located<String>>,
    pub(super) vars: Vars,
}

/// Variables by name.
pub(super) type Vars = BTreeMap<String, String>;

impl Definitions {
    /// Reads every file; whatever is wrong is entered in `mistakes`.
    #[must_use]
    pub(crate) fn read(sources: &Sources, mistakes: &Mistakes) -> Self {
        let mut definitions = Self { complete: true, ..Self::default() };
        definitions.complete &= each_file(&sources.services, mistakes, |root| definitions.read_services(root));
        definitions.complete &= each_file(&sources.templates, mistakes, |root| definitions.read_templates(root));
        each_file(&sources.hosts, mistakes, |root| {
            definitions.read_hosts(root);
            definitions.read_rules(root);
        });
        each_file(&sources.rules, mistakes, |root| definitions.read_fleet_rules(root));
        definitions
    }

    /// Whether a rule over the fleet records a series called `name`.
    pub(super) fn records(&self, name: &str) -> bool {
        self.fleet_rules.values().any(|rule| match &rule.kind {
            FleetRuleKind::Record { name: recorded, .. } => recorded.value == name,
            FleetRuleKind::Alert(_) => false,
        })
    }

    fn read_services(&mut self, root: &mut Table<'_>) {
        for (name, mut table) in root.entries("services") {
            table.require("plugin", "write the name of a plugin, such as \"cpu\"");
            table.require("interval", "write a duration, such as \"10s\"");
            let plugin = table.string("plugin");
            let run = RunSettings::read(&mut table);
            let triggers = read_triggers(&mut table);
            let parsed = parse_name::<ServiceName>(&name, table.mistakes());
            let place = name.place.clone();
            match (parsed, plugin) {
                (Some(parsed), Some(plugin)) => {
                    let service = Service { name: parsed, plugin: plugin.value, run, triggers, place };
                    insert(&mut self.services, &name, service, |service| &service.place, table.mistakes());
                }
                _ => self.complete = false,
            }
            table.finish();
        }
    }

    fn read_templates(&mut self, root: &mut Table<'_>) {
        for (name, mut table) in root.entries("templates") {
            let template = Template {
                extends: list(table.strings("extends")),
                services: list(table.strings("services")),
                vars: read_vars(&mut table),
                place: name.place.clone(),
            };
            insert(&mut self.templates, &name, template, |template| &template.place, table.mistakes());
            table.finish();
        }
    }

    fn read_hosts(&mut self, root: &mut Table<'_>) {
        for (name, mut table) in root.entries("hosts") {
            let assignment = Assignment::read(&mut table);
            let labels = read_labels(&mut table);
            let mut overrides = Vec::new();
            for (service, mut table) in table.entries("services") {
                overrides.push((service, RunSettings::read(&mut table)));
                table.finish();
            }
            if let Some(id) = parse_name::<HostId>(&name, table.mistakes()) {
                let host = Host { id, labels, assignment, overrides, place: name.place.clone() };
                insert(&mut self.hosts, &name, host, |host| &host.place, table.mistakes());
            }
            table.finish();
        }
    }

    fn read_rules(&mut self, root: &mut Table<'_>) {
        for mut table in root.tables("match") {
            table.require("host", "write a glob over host ids, such as \"web-*\"");
            let host = table.parsed::<Glob>("host");
            let assignment = Assignment::read(&mut table);
            let trusted = table.boolean("trust_labels").is_some_and(|trust| trust.value);
            let claimed = read_labels(&mut table);
            if !claimed.is_empty() && !trusted {
                table.mistakes().add(
                    table.place(),
                    "`labels` are what the host claims of itself; say `trust_labels = true` to let them decide",
                );
            }
            if let Some(host) = host {
                let place = table.place().clone();
                self.rules.push(Rule { host: host.value.compile_matcher(), claimed, assignment, place });
            }
            table.finish();
        }
    }

    fn read_fleet_rules(&mut self, root: &mut Table<'_>) {
        for (name, mut table) in root.entries("rules") {
            let place = name.place.clone();
            let interval = table.duration("interval", MIN_RULE_INTERVAL..=MAX_RULE_INTERVAL);
            let kind = match table.has("record") {
                true => read_record(&mut table),
                false => AlertDefinition::read(&mut table).map(|alert| FleetRuleKind::Alert(Box::new(alert))),
            };
            if let Some(kind) = kind {
                let rule = FleetRule { interval, kind, place };
                insert(&mut self.fleet_rules, &name, rule, |rule| &rule.place, table.mistakes());
            }
            table.finish();
        }
    }
}

fn read_triggers(service: &mut Table<'_>) -> Vec<AlertDefinition> {
    let tables = service.tables("triggers").into_iter();
    let read = tables.filter_map(|mut table| {
        let definition = AlertDefinition::read(&mut table);
        table.finish();
        definition
    });
    read.collect()
}

fn read_record(table: &mut Table<'_>) -> Option<FleetRuleKind> {
    table.require("expr", "write a PromQL expression");
    let (name, expr, labels) = (table.string("record"), table.string("expr"), read_labels(table));
    Some(FleetRuleKind::Record { name: name?, expr: expr?, labels })
}

impl AlertDefinition {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        table.require("alert", "write the name of the alert, such as \"HostHighLoad\"");
        table.require("expr", "write a PromQL expression, such as 'node_load1 > 10'");
        let (alert, expr) = (table.string("alert"), table.string("expr"));
        let (recover, hold) = (table.string("recover"), table.string("for"));
        let keep_firing_for = table.string("keep_firing_for");
        let (labels, annotations) = (table.string_map("labels"), table.string_map("annotations"));
        Some(Self { alert: alert?, expr: expr?, recover, hold, keep_firing_for, labels, annotations })
    }
}

impl RunSettings {
    fn read(table: &mut Table<'_>) -> Self {
        Self {
            interval: table.string("interval"),
            timeout: table.string("timeout"),
            parameters: table.scalars("parameters").into_iter().map(|(name, value)| (name.value, value)).collect(),
        }
    }
}

impl Assignment {
    fn read(table: &mut Table<'_>) -> Self {
        Self { templates: list(table.strings("templates")), vars: read_vars(table) }
    }
}

/// Reads each file's tables; false when a file is not TOML throughout, so that some may be missing.
fn each_file(files: &[(PathBuf, String)], mistakes: &Mistakes, mut read: impl FnMut(&mut Table<'_>)) -> bool {
    let environment = Environment::none();
    let mut whole = true;
    for (path, text) in files {
        let document = Document::parse(path, text, mistakes);
        whole &= !document.is_broken();
        let mut root = document.root(&environment, mistakes);
        read(&mut root);
        root.finish();
    }
    whole
}

fn list(value: Option<Located<Vec<Located<String>>>>) -> Vec<Located<String>> {
    value.map(|list| list.value).unwrap_or_default()
}

fn parse_name<T: std::str::FromStr<Err: std::fmt::Display>>(name: &Located<String>, mistakes: &Mistakes) -> Option<T> {
    name.value.parse().map_err(|error| mistakes.add(&name.place, error)).ok()
}

/// Enters a definition, unless its name is taken.
fn insert<T>(
    map: &mut BTreeMap<String, T>,
    name: &Located<String>,
    definition: T,
    place: impl Fn(&T) -> &Place,
    mistakes: &Mistakes,
) {
    match map.get(&name.value) {
        Some(first) => mistakes.add(&name.place, format_args!("already defined at {}", place(first))),
        None => {
            map.insert(name.value.clone(), definition);
        }
    }
}

fn read_vars(table: &mut Table<'_>) -> Vars {
    table.string_map("vars").into_iter().map(|(name, value)| (name.value, value.value)).collect()
}

fn read_labels(table: &mut Table<'_>) -> Labels {
    let mistakes = table.mistakes();
    let mut labels = Labels::new();
    for (name, value) in table.string_map("labels") {
        if !is_label_name(&name.value) {
            mistakes.add(&name.place, "is not a label name: letters, digits and '_', the first no digit");
        } else if is_reserved_label(&name.value) {
            mistakes.add(&name.place, "is a reserved label; hostwatch or Prometheus sets it");
        } else {
            labels.insert(name.value, value.value);
        }
    }
    labels
}
