//! From definitions to plans: templates are followed, variables expanded, overrides applied, names looked up.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::settings::{Located, Mistakes, Place, Scalar};
use hostwatch_wire::{
    ContentHash, HostConfig, Life, MAX_SERVICES, Parameter, Parameters, Revision, ServerBody, ServerId, ServerMessage,
    ServiceConfig,
};

use super::definitions::{Assignment, Definitions, RunSettings, Service, Vars};
use super::{Inventory, Labels, MatchRule, Plan, RuleText, Trigger};

/// A client refuses to run anything more often.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_hours(24);

/// Resolves every host and every `[[match]]`; whatever is wrong is entered in `mistakes`, each once.
pub(super) fn resolve(definitions: &Definitions, mistakes: &Mistakes) -> Inventory {
    let mut resolver = Resolver {
        definitions,
        mistakes,
        reported: HashSet::new(),
        templates: HashMap::new(),
        subject: String::new(),
        sendable: HashSet::new(),
        compiled: HashMap::new(),
        lists: HashMap::new(),
        warnings: Vec::new(),
    };
    resolver.check_templates();
    let hosts = definitions
        .hosts
        .values()
        .map(|host| {
            let plan = resolver.plan(&host.place, &host.assignment, host.labels.clone(), &host.overrides);
            (host.id.clone(), Arc::new(plan))
        })
        .collect();
    let rules = definitions
        .rules
        .iter()
        .map(|rule| MatchRule {
            host: rule.host.clone(),
            claimed: rule.claimed.clone(),
            plan: Arc::new(resolver.plan(&rule.place, &rule.assignment, Labels::new(), &[])),
        })
        .collect();
    let fleet_rules = resolver.fleet_rules();
    Inventory { hosts, rules, fleet_rules, warnings: resolver.warnings }
}

pub(super) struct Resolver<'a> {
    pub(super) definitions: &'a Definitions,
    mistakes: &'a Mistakes,
    /// A template's mistake shows up in every host that uses it; it is reported the first time.
    reported: HashSet<String>,
    /// The templates that were followed already.
    templates: HashMap<&'a str, Rc<Selection<'a>>>,
    /// Whom the plan is for that is being made, to be named in mistakes.
    subject: String,
    /// What was tried already whether it can be sent: many hosts have the same.
    sendable: HashSet<ContentHash>,
    /// The triggers that were made already, or found wrong.
    pub(super) compiled: HashMap<(&'a str, RuleText), Option<Arc<Trigger>>>,
    /// The lists of triggers that hosts have.
    pub(super) lists: HashMap<Vec<*const Trigger>, Arc<[Arc<Trigger>]>>,
    /// What is allowed, but hardly meant.
    pub(super) warnings: Vec<String>,
}

/// What the templates of a host amount to.
#[derive(Default)]
struct Selection<'a> {
    services: BTreeMap<&'a str, &'a Service>,
    vars: Vars,
}

impl<'a> Resolver<'a> {
    /// Templates that no host uses are checked as well.
    fn check_templates(&mut self) {
        for name in self.definitions.templates.keys() {
            let _ = self.template(name, &mut Vec::new());
        }
    }

    /// `place` is where the host or match stands that the plan is for.
    fn plan(
        &mut self,
        place: &Place,
        assignment: &'a Assignment,
        labels: Labels,
        overrides: &'a [(Located<String>, RunSettings)],
    ) -> Plan {
        self.subject = place.to_string();
        let mut selection = Selection::default();
        for template in &assignment.templates {
            self.select_template(template, &mut Vec::new(), &mut selection);
        }
        selection.vars.extend(assignment.vars.clone());

        let mut own: BTreeMap<&str, &RunSettings> = BTreeMap::new();
        for (service, run) in overrides {
            if selection.services.contains_key(service.value.as_str()) {
                own.insert(&service.value, run);
            } else {
                let known = allowed(selection.services.keys().copied());
                self.report_missing(
                    &service.place,
                    &format!("none of the host's templates has this service; they have: {known}"),
                );
            }
        }
        let services: Vec<ServiceConfig> = selection
            .services
            .values()
            .filter_map(|service| self.service(service, own.get(service.name.as_str()).copied(), &selection.vars))
            .collect();
        let mut triggers = Vec::new();
        for service in selection.services.values() {
            self.triggers(service, &selection.vars, &mut triggers);
        }
        let triggers = self.shared(triggers);
        let plan = Plan::new(labels, services, triggers);
        if plan.services.len() > MAX_SERVICES {
            let count = plan.services.len();
            self.report(place, &format!("the templates give {count} services; a host runs at most {MAX_SERVICES}"));
        } else if self.sendable.insert(plan.content)
            && let Err(error) = check_sendable(&plan)
        {
            self.report(place, &format!("this configuration cannot be sent to a host: {error}"));
        }
        plan
    }

    /// Adds a template that `name` refers to. `path` holds the templates that led here.
    fn select_template(&mut self, name: &'a Located<String>, path: &mut Vec<&'a str>, selection: &mut Selection<'a>) {
        let Some((defined, _)) = self.definitions.templates.get_key_value(&name.value) else {
            let known = allowed(self.definitions.templates.keys().map(String::as_str));
            self.report_missing(&name.place, &format!("there is no template {:?}; there are: {known}", name.value));
            return;
        };
        if let Some(begin) = path.iter().position(|above| *above == name.value) {
            let circle = path[begin..].join(" extends ");
            self.report(&name.place, &format!("a template cannot extend itself: {circle} extends {}", name.value));
            return;
        }
        let selected = self.template(defined, path);
        selection.services.extend(selected.services.iter().map(|(name, service)| (*name, *service)));
        selection.vars.extend(selected.vars.clone());
    }

    /// What a template amounts to, its parents first so that it has the last word. Each is followed once.
    fn template(&mut self, name: &'a str, path: &mut Vec<&'a str>) -> Rc<Selection<'a>> {
        if let Some(known) = self.templates.get(name) {
            return Rc::clone(known);
        }
        let template = &self.definitions.templates[name];
        let mut selection = Selection::default();
        path.push(name);
        for parent in &template.extends {
            self.select_template(parent, path, &mut selection);
        }
        path.pop();
        for service in &template.services {
            self.select_service(service, &mut selection);
        }
        selection.vars.extend(template.vars.clone());
        let selection = Rc::new(selection);
        self.templates.insert(name, Rc::clone(&selection));
        selection
    }

    fn select_service(&mut self, name: &'a Located<String>, selection: &mut Selection<'a>) {
        match self.definitions.services.get(&name.value) {
            Some(service) => {
                selection.services.insert(&name.value, service);
            }
            None => {
                let known = allowed(self.definitions.services.keys().map(String::as_str));
                self.report_missing(&name.place, &format!("there is no service {:?}; there are: {known}", name.value));
            }
        }
    }

    fn service(&mut self, service: &Service, own: Option<&RunSettings>, vars: &Vars) -> Option<ServiceConfig> {
        let interval = own.and_then(|own| own.interval.as_ref()).or(service.run.interval.as_ref());
        let timeout = own.and_then(|own| own.timeout.as_ref()).or(service.run.timeout.as_ref());
        let interval_ms = interval.and_then(|interval| self.duration(interval, vars));
        let timeout_ms = timeout.and_then(|timeout| self.duration(timeout, vars));
        if let (Some(interval_ms), Some(timeout_ms), Some(timeout)) = (interval_ms, timeout_ms, timeout)
            && timeout_ms > interval_ms
        {
            self.report(&timeout.place, "the timeout is longer than the interval; write one that is at most as long");
        }
        let mut parameters = service.run.parameters.clone();
        if let Some(own) = own {
            parameters.extend(own.parameters.clone());
        }
        let parameters = parameters.into_iter().map(|(name, value)| Some((name, self.parameter(value, vars)?)));
        let parameters = parameters.collect::<Option<Parameters>>();
        Some(ServiceConfig {
            name: service.name.clone(),
            plugin: service.plugin.clone(),
            interval_ms: interval_ms?,
            timeout_ms,
            parameters: parameters?,
        })
    }

    fn duration(&mut self, text: &Located<String>, vars: &Vars) -> Option<u64> {
        let expanded = self.expand(&text.value, &text.place, vars)?;
        match humantime::parse_duration(&expanded) {
            Ok(duration) if (MIN_INTERVAL..=MAX_INTERVAL).contains(&duration) => Some(duration.as_millis() as u64),
            Ok(_) => {
                self.report_for_subject(&text.place, &format!("{expanded:?} is out of range; allowed is 100ms to 1d"));
                None
            }
            Err(_) => {
                let remedy = match expanded.contains("${") {
                    true => "the value of a variable is not expanded again",
                    false => "write a number and a unit, such as \"10s\", from 100ms to 1d",
                };
                self.report_for_subject(&text.place, &format!("{expanded:?} is not a duration; {remedy}"));
                None
            }
        }
    }

    fn parameter(&mut self, value: Located<Scalar>, vars: &Vars) -> Option<Parameter> {
        Some(match value.value {
            Scalar::Boolean(value) => Parameter::Boolean(value),
            Scalar::Integer(value) => Parameter::Integer(value),
            Scalar::Float(value) => Parameter::Float(value),
            Scalar::Text(text) => Parameter::Text(self.expand(&text, &value.place, vars)?),
            Scalar::List(list) => {
                let expanded = list.iter().map(|text| self.expand(text, &value.place, vars));
                Parameter::List(expanded.collect::<Option<_>>()?)
            }
        })
    }

    /// Replaces every `${name}` by the variable's value; values are not expanded again.
    pub(super) fn expand(&mut self, text: &str, place: &Place, vars: &Vars) -> Option<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                self.report(place, "`${` without a closing `}`");
                return None;
            };
            let Some(value) = vars.get(name) else {
                let remedy = "set it in `vars` of a template, host or match";
                self.report_for_subject(place, &format!("${{{name}}} is not set; {remedy}"));
                return None;
            };
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        Some(expanded)
    }

    /// What is missing may stand in a part of a file that could not be read.
    fn report_missing(&mut self, place: &Place, what: &str) {
        if self.definitions.complete {
            self.report(place, what);
        }
    }

    /// Names one host that the mistake is about; there may be thousands.
    pub(super) fn report_for_subject(&mut self, place: &Place, what: &str) {
        if self.reported.insert(format!("{place}\0{what}")) {
            self.mistakes.add(place, format_args!("{what} (needed for {})", self.subject));
        }
    }

    pub(super) fn report(&mut self, place: &Place, what: &str) {
        if self.reported.insert(format!("{place}\0{what}")) {
            self.mistakes.add(place, what);
        }
    }

    /// Shows in `excerpt` what `what` speaks of.
    pub(super) fn report_excerpt(&mut self, place: &Place, what: &str, excerpt: &str) {
        if self.reported.insert(format!("{place}\0{what}\0{excerpt}")) {
            self.mistakes.add_excerpt(place, what, excerpt);
        }
    }
}

/// Reads the plan as a client will: whatever a limit of the wire forbids, it would refuse.
fn check_sendable(plan: &Plan) -> Result<(), String> {
    let revision = Revision { number: 0, content: plan.content };
    let config = HostConfig { revision, services: plan.services.clone() };
    let message = ServerMessage { server: ServerId(0), life: Life(0), body: ServerBody::Config(config) };
    let bytes = message.encode().map_err(|error| error.to_string())?;
    ServerMessage::decode(&bytes).map(drop).map_err(|error| error.to_string())
}

/// A list for a mistake: what could have been written.
fn allowed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: BTreeSet<&str> = names.collect();
    let mut list = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => list.push_str("(none)"),
        count if count > SHOWN => list.push_str(&format!(" and {} more", count - SHOWN)),
        _ => {}
    }
    list
}
