//! YAML, for files whose format others have set: read into the same tree as TOML, so that the same getters judge it.
//!
//! Of YAML's guesses at types only `true` and `false` are followed: whatever else stands there is text, as it was written.
//! What would be lost or taken for something else without a word is a mistake: keys without a value, keys that stand there
//! twice, aliases, and a second document.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::document::{Entries, Entry, Value};

/// So deep may values stand in each other; no format of ours comes near.
const MAX_DEPTH: usize = 16;

/// The sound part of `text`, and what is wrong with each broken line.
pub(super) fn parse(text: &str) -> (Entries, BTreeMap<usize, String>) {
    let mut reader = Reader { events: Parser::new_from_str(text), broken: BTreeMap::new() };
    let root = reader.document().unwrap_or_else(|error| {
        // Behind it the parser is lost, so that every other mistake would be a guess.
        reader.broken = BTreeMap::from([(error.marker().line(), error.info().to_owned())]);
        Entries::default()
    });
    (root, reader.broken)
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    broken: BTreeMap<usize, String>,
}

impl<'a> Reader<'a> {
    /// The table that the whole file is; an empty file is an empty one.
    fn document(&mut self) -> Result<Entries, ScanError> {
        let mut root = Entries::default();
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        self.add(span, "a second document begins here, and only one is read");
                    }
                }
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                _ => match self.value(event, span, 0)? {
                    Some(Value::Table(entries)) if documents == 1 => root = entries,
                    Some(Value::Table(_)) => {}
                    Some(other) => self.add(span, format!("{other} is no table; write keys with their values")),
                    // A file of nothing but comments holds no value, which is as good as none.
                    None => {
                        self.broken.remove(&span.start.line());
                    }
                },
            }
        }
    }

    /// The value that begins with `event`; `None` for one that was found to be wrong.
    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Option<Value>, ScanError> {
        if depth > MAX_DEPTH {
            return Err(ScanError::new(span.start, format!("more than {MAX_DEPTH} values stand in each other")));
        }
        Ok(match event {
            Event::Scalar(text, ScalarStyle::Plain, _, None) => match &*text {
                "" | "~" | "null" | "Null" | "NULL" => {
                    self.add(span, "a value is missing; write one, or leave the key out");
                    None
                }
                "true" | "True" | "TRUE" => Some(Value::Boolean(true)),
                "false" | "False" | "FALSE" => Some(Value::Boolean(false)),
                _ => Some(Value::Text(text.into_owned())),
            },
            Event::Scalar(text, ..) => Some(Value::Text(text.into_owned())),
            Event::SequenceStart(..) => Some(Value::List(self.list(depth)?)),
            Event::MappingStart(..) => Some(Value::Table(self.table(depth)?)),
            Event::Alias(_) => {
                self.add(span, "an alias is not understood here; write the value itself");
                None
            }
            // The parser closes only what it has opened, and `list` and `table` take these ends.
            _ => None,
        })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<(usize, Value)>, ScanError> {
        let mut elements = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(elements);
            }
            let value = self.value(event, span, depth + 1)?;
            elements.extend(value.map(|value| (span.start.line(), value)));
        }
    }

    fn table(&mut self, depth: usize) -> Result<Entries, ScanError> {
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(name, ..) => Some(name.into_owned()),
                other => {
                    self.value(other, span, depth + 1)?;
                    self.add(span, "a key is a word, not a list or a table");
                    None
                }
            };
            let (event, span_of_value) = self.next()?;
            let value = self.value(event, span_of_value, depth + 1)?;
            let (Some(name), Some(value)) = (name, value) else { continue };
            let line = span.start.line();
            match entries.get(&name) {
                Some(first) => {
                    let what = format!("the key {name} stands in line {} already", first.line);
                    self.add(span, what);
                }
                None => entries.push(Entry { name, line, value }),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        self.events.next_event().unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())))
    }

    /// The first mistake of a line is the cause of the others on it.
    fn add(&mut self, span: Span, what: impl Into<String>) {
        self.broken.entry(span.start.line()).or_insert_with(|| what.into());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Document, Environment, Mistakes};
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        parse(text).1.into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
    }

    #[test]
    fn the_getters_read_it_as_they_read_toml() {
        let text = "# comment\ntls:\n  file: a.pem\n  versions: [ 1.10, 'true' ]\n  on: True\nusers:\n  no: $2y$10$x\n";
        let (mistakes, environment) = (Mistakes::default(), Environment::none());
        let document = Document::parse_yaml(Path::new("web.yml"), text, &mistakes);
        let mut root = document.root(&environment, &mistakes);
        let mut tls = root.table("tls").unwrap();
        let file = tls.string("file").unwrap();
        assert_eq!((&*file.value, file.place.to_string()), ("a.pem", "web.yml:3: tls.file".to_owned()));
        let versions = tls.strings("versions").unwrap().value;
        assert_eq!(versions.iter().map(|version| &*version.value).collect::<Vec<_>>(), ["1.10", "true"]);
        assert!(tls.boolean("on").unwrap().value);
        tls.finish();
        let users = root.string_map("users");
        assert_eq!((&*users[0].0.value, &*users[0].1.value), ("no", "$2y$10$x"));
        root.finish();
        assert!(mistakes.into_result().is_ok());
    }

    #[test]
    fn a_table_that_is_none_is_explained_in_yaml() {
        let (mistakes, environment) = (Mistakes::default(), Environment::none());
        let document = Document::parse_yaml(Path::new("web.yml"), "tls: yes\ntlss: x\n", &mistakes);
        let mut root = document.root(&environment, &mistakes);
        assert!(root.table("tls").is_none());
        root.finish();
        assert_eq!(
            mistakes.into_result().unwrap_err().to_string(),
            "web.yml:1: tls: \"yes\" is not a table; write its keys below it, indented\n\
             web.yml:2: tlss: unknown key; did you mean tls? allowed here: tls"
        );
    }

    #[test]
    fn nothing_is_lost_without_a_word() {
        assert_eq!(broken(""), [""; 0]);
        assert_eq!(broken("# nothing\n"), [""; 0]);
        assert_eq!(broken("---\n"), [""; 0]);
        assert_eq!(broken("a:\nb: 1\n"), ["1: a value is missing; write one, or leave the key out"]);
        assert_eq!(broken("a: 1\nb: 2\na: 3\n"), ["3: the key a stands in line 1 already"]);
        assert_eq!(broken("a: &x 1\nb: *x\n"), ["2: an alias is not understood here; write the value itself"]);
        assert_eq!(broken("a: 1\n---\nb: 2\n"), ["2: a second document begins here, and only one is read"]);
        assert_eq!(broken("- a\n"), ["1: a list is no table; write keys with their values"]);
        assert_eq!(broken("[a]: 1\n"), ["1: a key is a word, not a list or a table"]);
    }

    #[test]
    fn what_is_not_yaml_is_named_with_its_line() {
        for (text, line) in [("a: 1\n b: 2\n", 2), ("a: [1, 2\nb: 3\n", 2), ("a: \"x\n", 1), (&"[".repeat(10_000), 1)] {
            let broken = broken(text);
            assert_eq!(broken.len(), 1, "{text:.20}: {broken:?}");
            assert!(broken[0].starts_with(&format!("{line}: ")), "{text:.20}: {broken:?}");
        }
    }
}
