//! The names of keys and channels. The braces are literal: they keep a host's names in one Redis Cluster slot.

use crate::HostId;

/// The names under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

/// A prefix that could act as a pattern or break the `{HOST}` part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid prefix: 1 to 64 characters out of A-Z, a-z, 0-9, '.', '_', '-' and ':'")]
pub struct InvalidPrefix(String);

/// A channel on which a host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Hello.
    Join,
    /// Everything else.
    Reports,
}

impl Names {
    /// The names under `prefix`.
    ///
    /// # Errors
    /// When the prefix has a character with a meaning of its own.
    pub fn new(prefix: &str) -> Result<Self, InvalidPrefix> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(allowed) {
            return Err(InvalidPrefix(prefix.to_owned()));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The key of a host's retained configuration.
    #[must_use]
    pub fn config_key(&self, host: &HostId) -> String {
        self.name(host.as_str(), "config")
    }

    /// What `SCAN` matches to find every configuration key.
    #[must_use]
    pub fn config_key_pattern(&self) -> String {
        self.name("*", "config")
    }

    /// The host of a configuration key, if it is one.
    #[must_use]
    pub fn host_of_config_key(&self, key: &str) -> Option<HostId> {
        let (host, "config") = self.split(key)? else { return None };
        host.parse().ok()
    }

    /// Where the server speaks to a host.
    #[must_use]
    pub fn commands(&self, host: &HostId) -> String {
        self.name(host.as_str(), "commands")
    }

    /// Where a host says hello.
    #[must_use]
    pub fn join(&self, host: &HostId) -> String {
        self.name(host.as_str(), "join")
    }

    /// The pattern under which the server hears every hello.
    #[must_use]
    pub fn join_pattern(&self) -> String {
        self.name("*", "join")
    }

    /// Where a host reports.
    #[must_use]
    pub fn reports(&self, host: &HostId) -> String {
        self.name(host.as_str(), "reports")
    }

    /// Who speaks on `channel`, and where; none when no host may speak there.
    #[must_use]
    pub fn parse<'a>(&self, channel: &'a str) -> Option<(&'a str, Channel)> {
        match self.split(channel)? {
            (host, "join") => Some((host, Channel::Join)),
            (host, "reports") => Some((host, Channel::Reports)),
            _ => None,
        }
    }

    fn name(&self, host: &str, what: &str) -> String {
        format!("{}:{{{host}}}:{what}", self.prefix)
    }

    /// The host's part and the last part of a name.
    fn split<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        name.strip_prefix(&self.prefix)?.strip_prefix(":{")?.split_once("}:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_back() {
        let names = Names::new("hostwatch").unwrap();
        let host: HostId = "web1".parse().unwrap();
        assert_eq!(names.config_key(&host), "hostwatch:{web1}:config");
        assert_eq!(names.join_pattern(), "hostwatch:{*}:join");
        assert_eq!(names.parse(&names.join(&host)), Some(("web1", Channel::Join)));
        assert_eq!(names.parse(&names.reports(&host)), Some(("web1", Channel::Reports)));
        assert_eq!(names.parse(&names.commands(&host)), None);
        assert_eq!(names.parse("other:{web1}:join"), None);
        assert_eq!(names.host_of_config_key("hostwatch:{web1}:config"), Some(host));
        assert_eq!(names.host_of_config_key("hostwatch:{we*}:config"), None);
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        for bad in ["", "a*", "a?", "{a}", "a[b]", "a b"] {
            assert!(Names::new(bad).is_err(), "{bad:?}");
        }
    }
}
