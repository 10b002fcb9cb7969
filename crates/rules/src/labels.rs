//! The labels of a series, its name among them.

use std::fmt::{self, Write};
use std::sync::Arc;

const NAME: &str = "__name__";

/// Label pairs in the order of their names, `__name__` among them; no two with one name, none with an empty value,
/// because an empty label is a missing one. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Of one name's several values the last one stays.
    pub fn new(pairs: impl IntoIterator<Item = (impl Into<Arc<str>>, impl Into<Arc<str>>)>) -> Self {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // The sort is stable: in each run of one name the last pair is the one that came last.
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(sorted.len());
        for pair in sorted {
            match pairs.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => pairs.push(pair),
            }
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs.into())
    }

    /// The value of a label, nothing when it is missing.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[index].1)
    }

    /// The name of the metric.
    pub fn name(&self) -> Option<&str> {
        self.get(NAME)
    }

    /// All pairs, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// These without the name of the metric.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.without(&[NAME])
    }

    /// These without some.
    #[must_use]
    pub fn without<S: AsRef<str>>(&self, names: &[S]) -> Self {
        self.filtered(|name| !names.iter().any(|it| it.as_ref() == name))
    }

    /// Only some of these.
    #[must_use]
    pub fn only<S: AsRef<str>>(&self, names: &[S]) -> Self {
        self.filtered(|name| names.iter().any(|it| it.as_ref() == name))
    }

    /// These and one more; it replaces one of the same name, and an empty value removes it.
    #[must_use]
    pub fn with(&self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self::new(self.0.iter().cloned().chain([(name.into(), value.into())]))
    }

    fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }
}

/// As PromQL writes a series: `name{a="b"}`, and `{}` where there is nothing.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.name().filter(|name| is_bare(name, true));
        if let Some(name) = bare {
            f.write_str(name)?;
        }
        let mut rest = self.iter().filter(|(name, _)| bare.is_none() || *name != NAME).peekable();
        if bare.is_some() && rest.peek().is_none() {
            return Ok(());
        }
        f.write_char('{')?;
        for (index, (name, value)) in rest.enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            if is_bare(name, false) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_char('=')?;
            write_quoted(f, value)?;
        }
        f.write_char('}')
    }
}

/// Whether a name needs no quotes; the name of a metric may have colons.
fn is_bare(name: &str, metric: bool) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (metric && byte == b':');
    name.bytes().next().is_some_and(letter) && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for char in text.chars() {
        match char {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            other if other.is_control() => write!(f, "\\u{:04x}", u32::from(other))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_unique_and_without_empty_values() {
        let labels = Labels::new([("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "x"), ("b", "2")]);
        assert_eq!(labels, Labels::new([("a", "x"), ("b", "2")]));
        assert_eq!(labels.with("a", "").with("b", "3"), Labels::new([("b", "3")]));
        assert_eq!((labels.get("b"), labels.get("c")), (Some("2"), None));
    }

    #[test]
    fn shown_as_promql_writes_them() {
        let shown = |pairs: &[(&'static str, &'static str)]| Labels::new(pairs.iter().copied()).to_string();
        assert_eq!(shown(&[]), "{}");
        assert_eq!(shown(&[("__name__", "up")]), "up");
        assert_eq!(shown(&[("__name__", "a:b"), ("x", "q\"\\\n")]), r#"a:b{x="q\"\\\n"}"#);
        assert_eq!(shown(&[("a", "b"), ("c.d", "e")]), r#"{a="b","c.d"="e"}"#);
        assert_eq!(shown(&[("__name__", "a.b")]), r#"{__name__="a.b"}"#);
    }
}
