//! The variables of the environment that override a settings file, because containers are configured so.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "HOSTWATCH_";

/// The `HOSTWATCH_*` variables: `HOSTWATCH_REDIS_URL` overrides `redis.url`. An empty variable counts as unset.
///
/// There is no Debug, since a variable may hold a secret.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The variables of this process.
    pub fn from_process() -> Self {
        let variables = std::env::vars_os();
        Self::new(variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))))
    }

    /// No variables at all, for files that the environment does not override.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of `variables` that begin with `HOSTWATCH_`.
    pub fn new<N: Into<String>, V: Into<OsString>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()).collect())
    }

    pub(super) fn get(&self, variable: &str) -> Option<&OsStr> {
        self.0.get(variable).map(OsString::as_os_str)
    }
}

/// The variable of `key` below the table whose variables begin with `prefix`.
pub(super) fn variable(prefix: &str, key: &str) -> String {
    format!("{prefix}{}", key.to_ascii_uppercase().replace(['.', '-'], "_"))
}
