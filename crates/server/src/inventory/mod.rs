//! What the operator wants watched, resolved: for every host a plan, and rules for hosts that nobody named.
//!
//! `definitions` reads the files, `resolve` turns them into plans. A checked inventory cannot fail any more.

mod compile;
mod definitions;
mod resolve;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use globset::GlobMatcher;
use hostwatch_daemon::settings::Mistakes;
use hostwatch_wire::{ContentHash, HostConfig, HostId, ServiceConfig};

pub(crate) use definitions::Definitions;
pub(crate) use rules::{AlertRule, FleetRule, FleetRuleKind, RuleText, Trigger};

/// Labels by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// The texts of the inventory's files, with the paths to name in mistakes.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files with `[hosts.ID]` and `[[match]]`.
    pub hosts: Vec<(PathBuf, String)>,
    /// Files with `[templates.NAME]`.
    pub templates: Vec<(PathBuf, String)>,
    /// Files with `[services.NAME]`.
    pub services: Vec<(PathBuf, String)>,
    /// Files with `[rules.NAME]`.
    pub rules: Vec<(PathBuf, String)>,
}

/// Everything that is to be watched.
#[derive(Debug, Default)]
pub struct Inventory {
    hosts: BTreeMap<HostId, Arc<Plan>>,
    rules: Vec<MatchRule>,
    fleet_rules: Vec<Arc<FleetRule>>,
    warnings: Vec<String>,
}

/// What one host has to run, without a revision.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The labels that the operator gave the host.
    pub labels: Labels,
    /// Its services, sorted by name.
    pub services: Vec<ServiceConfig>,
    /// The hash of the services: two plans with the same one are the same work.
    pub content: ContentHash,
    /// The triggers of its services; one list for all hosts that have the same.
    pub triggers: Arc<[Arc<Trigger>]>,
}

impl Plan {
    fn new(labels: Labels, services: Vec<ServiceConfig>, triggers: Arc<[Arc<Trigger>]>) -> Self {
        let content = HostConfig::content_hash(&services);
        Self { labels, services, content, triggers }
    }

    /// The service called `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceConfig> {
        let index = self.services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
        Some(&self.services[index])
    }
}

/// `[[match]]`: what a host runs that joined and that no file names.
#[derive(Debug)]
struct MatchRule {
    host: GlobMatcher,
    /// Labels that the host has to claim; only with `trust_labels = true`.
    claimed: Labels,
    plan: Arc<Plan>,
}

/// Why a host is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file names it.
    Configured,
    /// It joined, and a `[[match]]` holds for it.
    Matched,
}

impl Inventory {
    /// Reads and checks all files; whatever is wrong is entered in `mistakes`.
    #[must_use]
    pub fn read(sources: &Sources, mistakes: &Mistakes) -> Self {
        resolve::resolve(&Definitions::read(sources, mistakes), mistakes)
    }

    /// The hosts that the files name.
    pub fn configured(&self) -> impl Iterator<Item = &HostId> {
        self.hosts.keys()
    }

    /// What `host`, which claims the labels `claimed`, has to run; nothing when neither a file nor a rule knows it.
    #[must_use]
    pub fn plan(&self, host: &HostId, claimed: &Labels) -> Option<(Origin, Arc<Plan>)> {
        if let Some(plan) = self.hosts.get(host) {
            return Some((Origin::Configured, Arc::clone(plan)));
        }
        let rule = self.rules.iter().find(|rule| rule.holds(host, claimed))?;
        Some((Origin::Matched, Arc::clone(&rule.plan)))
    }

    /// The rules over all hosts, sorted by name.
    #[must_use]
    pub fn fleet_rules(&self) -> &[Arc<FleetRule>] {
        &self.fleet_rules
    }

    /// What is allowed, but hardly meant: one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether what a host claims can decide whether it is watched.
    #[must_use]
    pub(crate) fn trusts_labels(&self) -> bool {
        self.rules.iter().any(|rule| !rule.claimed.is_empty())
    }
}

impl MatchRule {
    fn holds(&self, host: &HostId, claimed: &Labels) -> bool {
        self.host.is_match(host.as_str()) && self.claimed.iter().all(|(name, value)| claimed.get(name) == Some(value))
    }
}
