//! A table of a settings file: typed getters that report what is wrong, and an account of what was never asked for.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::document::{Entries, Entry, Syntax, Value};
use super::environment::{self, Environment};
use super::values::{self, Raw};
use super::{Document, Located, Mistakes, Place, Scalar};
use crate::Secret;

/// One table of a settings file, perhaps an absent one.
///
/// Every getter marks its key as known and answers `None` when the value is absent, or wrong and reported. Read all keys, then
/// call [`Table::finish`], which reports the others.
#[must_use = "call finish, or unknown keys stay unnoticed"]
pub struct Table<'a> {
    document: &'a Document,
    /// `None` for a table that is not in the file; the environment may still set what is below it.
    entries: Option<&'a Entries>,
    place: Place,
    overrides: Option<Overrides<'a>>,
    mistakes: &'a Mistakes,
    /// What may stand here, for the message about what may not.
    allowed: BTreeSet<String>,
    /// What may not stand here, but was reported already.
    reported: BTreeSet<String>,
}

/// The variables that override the scalars of one table.
#[derive(Clone)]
struct Overrides<'a> {
    environment: &'a Environment,
    /// What the variables of this table begin with: `HOSTWATCH_REDIS_`.
    prefix: String,
}

/// Where a secret is to come from.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretSource {
    /// A file that holds the secret and nothing else.
    File(Located<PathBuf>),
    /// A variable of the environment held it.
    Value(Secret),
}

impl SecretSource {
    /// The secret itself; a file is read now.
    ///
    /// # Errors
    /// As [`Secret::from_file`].
    pub fn read(&self) -> io::Result<Secret> {
        match self {
            SecretSource::File(path) => Secret::from_file(&path.value),
            SecretSource::Value(secret) => Ok(secret.clone()),
        }
    }
}

impl<'a> Table<'a> {
    pub(super) fn root(document: &'a Document, environment: &'a Environment, mistakes: &'a Mistakes) -> Self {
        Self {
            document,
            entries: Some(document.entries()),
            place: document.place(),
            overrides: Some(Overrides { environment, prefix: environment::PREFIX.to_owned() }),
            mistakes,
            allowed: BTreeSet::new(),
            reported: BTreeSet::new(),
        }
    }

    /// Where this table stands: the line of its header or first key.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where `key` stands, or would stand if it were there.
    pub fn place_of(&self, key: &str) -> Place {
        self.place.child(key, self.entry(key).map(|entry| entry.line))
    }

    /// Where mistakes of this table go, for checks beyond those of the getters.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// Whether `key` is set, in the file or by the environment, rightly or wrongly.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some() || self.variable(key).is_some()
    }

    /// Reports `key` as missing unless it is set. `allowed` says what is to stand there. In a file that is not wholly TOML
    /// nothing is reported, since the key may stand on a broken line.
    pub fn require(&self, key: &str, allowed: impl Display) {
        if !self.has(key) && !self.document.is_broken() {
            self.mistakes.add(&self.place_of(key), format_args!("is missing; {allowed}"));
        }
    }

    /// A string.
    pub fn string(&mut self, key: &str) -> Option<Located<String>> {
        self.read(key, values::string)
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str) -> Option<Located<bool>> {
        self.read(key, values::boolean)
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<Located<i64>> {
        self.read(key, |raw| values::integer(raw, &range))
    }

    /// A string such as `"10s"` or `"1h 30m"`, within `range`.
    pub fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Located<Duration>> {
        self.read(key, |raw| values::duration(raw, &range))
    }

    /// A string such as `"16MiB"`, as a number of bytes within `range`. A string without a unit counts bytes.
    pub fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<Located<u64>> {
        self.read(key, |raw| values::size(raw, &range))
    }

    /// A string that `T` parses. The mistake is `T`'s error alone, without the text: only `T` knows whether it can hold a secret.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<Located<T>> {
        self.read(key, |raw| values::string(raw)?.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// A list of strings; in the environment separated by commas. An element that is no string is reported and left out.
    pub fn strings(&mut self, key: &str) -> Option<Located<Vec<Located<String>>>> {
        let (raw, place) = self.find(key)?;
        let value = match raw {
            Raw::Environment(text) => {
                let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
                elements.map(|element| Located { value: element.to_owned(), place: place.clone() }).collect()
            }
            Raw::File(Value::List(elements)) => {
                let elements = elements.iter().enumerate().filter_map(|(index, (line, element))| {
                    self.judged(place.element(index, *line), values::string(&Raw::File(element)))
                });
                elements.collect()
            }
            Raw::File(Value::Text(_)) => {
                self.mistakes.add(&place, format_args!("{raw} is not a list; write it in brackets: [{raw}]"));
                return None;
            }
            Raw::File(_) => {
                self.mistakes.add(&place, format_args!("{raw} is not a list; write strings in brackets: [\"…\"]"));
                return None;
            }
        };
        Some(Located { value, place })
    }

    /// The secret `key`: the file that `KEY_file` names, or the variable of `key`, which wins. A secret in the file is a mistake.
    pub fn secret(&mut self, key: &str) -> Option<SecretSource> {
        let key_of_file = format!("{key}_file");
        if self.entry(key).is_some() {
            let what = "a secret does not stand in a settings file; put it into a file of its own, and its path into";
            self.mistakes.add(&self.place_of(key), format_args!("{what} {key_of_file}"));
            self.reported.insert(key.to_owned());
        }
        let file = self.string(&key_of_file).map(|path| SecretSource::File(path.map(PathBuf::from)));
        match self.variable(key) {
            Some((_, Some(text))) => Some(SecretSource::Value(Secret::new(text))),
            Some((place, None)) => {
                self.mistakes.add(&place, NOT_UTF8);
                None
            }
            None => file,
        }
    }

    /// The table `key`. An absent one is an empty one, because the environment may set what is below it.
    pub fn table(&mut self, key: &str) -> Option<Table<'a>> {
        self.allowed.insert(key.to_owned());
        let overrides = self.overrides.as_ref().map(|Overrides { environment, prefix }| Overrides {
            environment,
            prefix: environment::variable(prefix, key) + "_",
        });
        let place = self.place_of(key);
        match self.value(key) {
            None => Some(self.below(place, None, overrides)),
            Some(Value::Table(entries)) => Some(self.below(place, Some(entries), overrides)),
            Some(other) => {
                match self.document.syntax() {
                    Syntax::Toml => {
                        let what = format_args!("{other} is not a table; write [{key}] and its keys below it");
                        self.mistakes.add(&place, what);
                    }
                    Syntax::Yaml => {
                        let what = format_args!("{other} is not a table; write its keys below it, indented");
                        self.mistakes.add(&place, what);
                    }
                }
                None
            }
        }
    }

    /// The tables of the list `key`, written as `[[key]]`. The environment does not reach into them.
    pub fn tables(&mut self, key: &str) -> Vec<Table<'a>> {
        self.allowed.insert(key.to_owned());
        let place = self.place_of(key);
        let elements = match self.value(key) {
            None => return Vec::new(),
            Some(Value::List(elements)) => elements,
            Some(other) => {
                self.mistakes
                    .add(&place, format_args!("{other} is not a list of tables; write [[{key}]], with two brackets"));
                return Vec::new();
            }
        };
        let elements = elements.iter().enumerate();
        let tables = elements.filter_map(|(index, (line, element))| {
            let place = place.element(index, *line);
            let entries = self.entries_of(element, &place)?;
            Some(self.below(place, Some(entries), None))
        });
        tables.collect()
    }

    /// The tables below `key`, `[key.NAME]`, with their names in file order. The environment does not reach into them.
    pub fn entries(&mut self, key: &str) -> Vec<(Located<String>, Table<'a>)> {
        let named = self.map(key).into_iter().filter_map(|(name, value)| {
            let entries = self.entries_of(value, &name.place)?;
            let table = self.below(name.place.clone(), Some(entries), None);
            Some((name, table))
        });
        named.collect()
    }

    /// The strings below `key`, with their names in file order: labels and the like. The environment does not reach into them.
    pub fn string_map(&mut self, key: &str) -> Vec<(Located<String>, Located<String>)> {
        self.map_of(key, |value| values::string(&Raw::File(value)))
    }

    /// The values of any simple type below `key`, with their names in file order. The environment does not reach into them.
    pub fn scalars(&mut self, key: &str) -> Vec<(Located<String>, Located<Scalar>)> {
        self.map_of(key, values::scalar)
    }

    /// Reports the key `old`, which is called `new` now.
    pub fn renamed(&mut self, old: &str, new: &str) {
        self.refuse(old, format_args!("this key is called {new} now; write {new} instead"));
    }

    /// Reports `key`, which people may know from elsewhere and which is not honoured here; `what` says what to do instead.
    pub fn refuse(&mut self, key: &str, what: impl Display) {
        if self.entry(key).is_some() {
            self.mistakes.add(&self.place_of(key), what);
            self.reported.insert(key.to_owned());
        }
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        for Entry { name: key, .. } in self.entries.into_iter().flat_map(Entries::iter) {
            if self.allowed.contains(key) || self.reported.contains(key) {
                continue;
            }
            let near = self.allowed.iter().map(|allowed| (strsim::osa_distance(key, allowed), allowed)).min();
            let hint = match near {
                Some((distance, allowed)) if distance <= 1 + allowed.len() / 4 => format!("did you mean {allowed}? "),
                _ => String::new(),
            };
            let allowed = self.allowed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let allowed = if allowed.is_empty() { "nothing" } else { &allowed };
            // In the name of a table a dot begins the next one, which surprises whoever writes a full host name.
            let dotted = match self.value(key) {
                Some(Value::Table(_)) if hint.is_empty() && self.overrides.is_none() => {
                    "; if a dot belongs to a name, put the name in quotes"
                }
                _ => "",
            };
            self.mistakes.add(&self.place_of(key), format_args!("unknown key; {hint}allowed here: {allowed}{dotted}"));
        }
    }

    fn read<T>(&mut self, key: &str, interpret: impl FnOnce(&Raw<'_>) -> Result<T, String>) -> Option<Located<T>> {
        let (raw, place) = self.find(key)?;
        let value = interpret(&raw);
        self.judged(place, value)
    }

    /// The value of `key` from the environment or else from the file.
    fn find(&mut self, key: &str) -> Option<(Raw<'a>, Place)> {
        self.allowed.insert(key.to_owned());
        match self.variable(key) {
            Some((place, Some(text))) => Some((Raw::Environment(text), place)),
            Some((place, None)) => {
                self.mistakes.add(&place, NOT_UTF8);
                None
            }
            None => self.value(key).map(|value| (Raw::File(value), self.place_of(key))),
        }
    }

    /// The variable that overrides `key`, if it is set, with its text if that is UTF-8.
    fn variable(&self, key: &str) -> Option<(Place, Option<&'a str>)> {
        let Overrides { environment, prefix } = self.overrides.as_ref()?;
        let variable = environment::variable(prefix, key);
        let text = environment.get(&variable)?.to_str();
        Some((Place::environment(variable), text))
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries?.get(key)
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    fn map_of<T>(
        &mut self,
        key: &str,
        interpret: impl Fn(&Value) -> Result<T, String>,
    ) -> Vec<(Located<String>, Located<T>)> {
        let entries = self.map(key).into_iter();
        let located = entries.filter_map(|(name, value)| {
            let value = self.judged(name.place.clone(), interpret(value))?;
            Some((name, value))
        });
        located.collect()
    }

    /// The names and values of the map `key` in the order of the file.
    fn map(&mut self, key: &str) -> Vec<(Located<String>, &'a Value)> {
        self.allowed.insert(key.to_owned());
        let place = self.place_of(key);
        let Some(entries) = self.value(key).and_then(|value| self.entries_of(value, &place)) else { return Vec::new() };
        let located = entries.iter().map(|Entry { name, line, value }| {
            (Located { value: name.clone(), place: place.child(name, Some(*line)) }, value)
        });
        located.collect()
    }

    fn entries_of(&self, value: &'a Value, place: &Place) -> Option<&'a Entries> {
        let Value::Table(entries) = value else {
            self.mistakes.add(place, format_args!("{value} is not a table; write keys with their values"));
            return None;
        };
        Some(entries)
    }

    fn judged<T>(&self, place: Place, value: Result<T, String>) -> Option<Located<T>> {
        match value {
            Ok(value) => Some(Located { value, place }),
            Err(what) => {
                self.mistakes.add(&place, what);
                None
            }
        }
    }

    fn below(&self, place: Place, entries: Option<&'a Entries>, overrides: Option<Overrides<'a>>) -> Self {
        let (allowed, reported) = (BTreeSet::new(), BTreeSet::new());
        Self { document: self.document, entries, place, overrides, mistakes: self.mistakes, allowed, reported }
    }
}

const NOT_UTF8: &str = "is not UTF-8; settings are UTF-8 text";
