//! One settings file, parsed as far as it can be parsed: a tree of values in file order, each with its line.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::{Environment, Mistakes, Place, Table, yaml};

/// One parsed settings file.
#[derive(Debug)]
pub struct Document {
    file: Arc<Path>,
    root: Entries,
    syntax: Syntax,
    /// Not all of the file was sound, so that what seems to be missing may stand on a broken line.
    is_broken: bool,
}

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Toml,
    Yaml,
}

impl Document {
    /// Parses `text`, which was read from `file`. What is not TOML becomes mistakes; the rest can still be read and checked.
    pub fn parse(file: &Path, text: &str, mistakes: &Mistakes) -> Self {
        Self::new(file, Syntax::Toml, parse_around_broken_lines(text), mistakes)
    }

    /// As [`Document::parse`], for a file whose format others have set, in YAML.
    pub fn parse_yaml(file: &Path, text: &str, mistakes: &Mistakes) -> Self {
        Self::new(file, Syntax::Yaml, yaml::parse(text), mistakes)
    }

    fn new(file: &Path, syntax: Syntax, parsed: (Entries, BTreeMap<usize, String>), mistakes: &Mistakes) -> Self {
        let file: Arc<Path> = file.into();
        let (root, broken) = parsed;
        for (line, what) in &broken {
            mistakes.add(&Place::line_of_file(file.clone(), *line), what);
        }
        Self { file, root, syntax, is_broken: !broken.is_empty() }
    }

    /// The top of the file. `environment` overrides what stands in it, and every mistake goes to `mistakes`.
    pub fn root<'a>(&'a self, environment: &'a Environment, mistakes: &'a Mistakes) -> Table<'a> {
        Table::root(self, environment, mistakes)
    }

    pub(super) fn place(&self) -> Place {
        Place::line_of_file(self.file.clone(), 0)
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.root
    }

    pub(super) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Whether nothing stands in the file but comments.
    pub fn is_empty(&self) -> bool {
        self.root.0.is_empty() && !self.is_broken
    }

    /// Whether not all of the file was sound, so that what seems to be missing may stand on a broken line.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// The sound part of `text`, and what is wrong with each broken line.
fn parse_around_broken_lines(text: &str) -> (Entries, BTreeMap<usize, String>) {
    // The parser recovers from most errors. Two kinds would cost the lines that follow: at a key without a value it stops, and
    // what is below an unclosed header it takes for something else. Such lines are replaced, and it gets another try.
    const REPLACED: [(&str, &str); 3] = [
        ("key with no value", ""),
        ("unclosed table", "[['below a broken header']]"),
        ("unclosed array table", "[['below a broken header']]"),
    ];
    // An array that is not closed swallows the lines that follow, and each of them fails in this way.
    const FOLLOWS_FROM_ANOTHER: &str = "missing comma between array elements";

    let mut text_lines: Vec<_> = text.split('\n').collect();
    let mut broken = BTreeMap::new();
    loop {
        let text = text_lines.join("\n");
        let lines = Lines::of(&text);
        let (tree, errors) = DeTable::parse_recoverable(&text);
        let mut is_replaced = false;
        for error in errors {
            let Some(span) = error.span() else {
                broken.insert(0, error.message().to_owned());
                continue;
            };
            let line = lines.number(span);
            // The first error of a line is the cause of the others on it.
            broken.entry(line).or_insert_with(|| error.message().to_owned());
            for (_, replacement) in REPLACED.iter().filter(|(kind, _)| error.message().starts_with(kind)) {
                is_replaced |= std::mem::replace(&mut text_lines[line - 1], replacement) != *replacement;
            }
        }
        if !is_replaced {
            let mut root = Entries::from_toml(tree.get_ref(), &lines, &broken);
            root.0.retain(|entry| entry.name != "below a broken header");
            let mut is_known = false;
            broken
                .retain(|_, what| !(what.starts_with(FOLLOWS_FROM_ANOTHER) && std::mem::replace(&mut is_known, true)));
            return (root, broken);
        }
    }
}

/// The keys of a table in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Entries(Vec<Entry>);

/// A key with its line, which is also that of its value, and the value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value of a settings file.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// What no setting is made of, as written: a date, or a whole number beyond 64 bits.
    Other(String),
    /// The elements, each with its line.
    List(Vec<(usize, Value)>),
    Table(Entries),
}

impl Entries {
    /// Leaves out the values on `broken` lines, which are guesses of the parser, but looks into every table.
    fn from_toml(table: &DeTable<'_>, lines: &Lines, broken: &BTreeMap<usize, String>) -> Self {
        let mut in_file_order: Vec<_> = table.iter().collect();
        in_file_order.sort_by_key(|(name, _)| name.span().start);
        let entries = in_file_order.into_iter().map(|(name, value)| Entry {
            name: name.get_ref().to_string(),
            line: lines.number(name.span()),
            value: Value::from_toml(value.get_ref(), lines, broken),
        });
        let sound = entries.filter(|entry| matches!(entry.value, Value::Table(_)) || !broken.contains_key(&entry.line));
        Self(sound.collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name == name)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

impl Value {
    fn from_toml(value: &DeValue<'_>, lines: &Lines, broken: &BTreeMap<usize, String>) -> Self {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Other(number.to_string()), Value::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Value::Other(number.to_string()), Value::Float)
            }
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(time) => Value::Other(time.to_string()),
            DeValue::Array(elements) => {
                let elements = elements
                    .iter()
                    .map(|element| (lines.number(element.span()), Value::from_toml(element.get_ref(), lines, broken)));
                let sound =
                    elements.filter(|(line, value)| matches!(value, Value::Table(_)) || !broken.contains_key(line));
                Value::List(sound.collect())
            }
            DeValue::Table(table) => Value::Table(Entries::from_toml(table, lines, broken)),
        }
    }
}

/// Shows a value within a mistake: as TOML, shortened, and a list or table by its kind only.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self {
            Value::Text(text) if text.chars().count() > SHOWN => {
                write!(f, "{:?}", format!("{}…", text.chars().take(SHOWN).collect::<String>()))
            }
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Integer(number) => number.fmt(f),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Boolean(value) => value.fmt(f),
            Value::Other(written) => f.write_str(written),
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
        }
    }
}

/// Where each line of a text begins, in bytes.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line, counted from 1, on which `span` begins.
    fn number(&self, span: Range<usize>) -> usize {
        self.0.partition_point(|start| *start <= span.start)
    }
}
