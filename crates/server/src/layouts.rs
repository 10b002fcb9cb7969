//! The layouts in use: each held once however many hosts share it, and ready to be written on the page.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use hostwatch_rules::Labels;
use hostwatch_wire::{EncodedLayout, InvalidLayout, LayoutId, MetricType, text};

/// Every layout that some host uses.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    layouts: HashMap<LayoutId, Weak<PreparedLayout>>,
    families: Families,
    /// Entries at the last sweep, layouts and families: the tables are swept when they have doubled.
    swept_at: usize,
}

/// A checked layout with the text of its series.
#[derive(Debug)]
pub(crate) struct PreparedLayout {
    id: LayoutId,
    families: Vec<PreparedFamily>,
    series: usize,
}

/// One family of a layout.
#[derive(Debug)]
pub(crate) struct PreparedFamily {
    /// What all hosts share of it.
    pub family: Arc<SharedFamily>,
    /// Where its values stand among the layout's.
    pub values: Range<usize>,
    /// `name{a="b",` for each series, back to back.
    text: Vec<u8>,
    /// Where each series' text ends.
    ends: Vec<usize>,
}

/// A name with a type, shared by all layouts that have it.
#[derive(Debug)]
pub(crate) struct SharedFamily {
    /// Counts up with every new one: of two types for one name that are as frequent the older stands.
    pub order: u64,
    /// The name of the family.
    pub name: String,
    /// Its type.
    pub kind: MetricType,
    /// The help text of whoever brought it first.
    pub help: String,
}

#[derive(Debug, Default)]
struct Families {
    by_name: HashMap<(String, MetricType), Weak<SharedFamily>>,
    next_order: u64,
}

impl Layouts {
    /// The layout with this id, if some host uses it.
    #[must_use]
    pub(crate) fn get(&self, id: LayoutId) -> Option<Arc<PreparedLayout>> {
        self.layouts.get(&id)?.upgrade()
    }

    /// Checks and enters a layout, or finds it.
    ///
    /// # Errors
    /// When it is not a valid layout.
    pub(crate) fn intern(&mut self, encoded: &EncodedLayout) -> Result<Arc<PreparedLayout>, InvalidLayout> {
        let id = encoded.id();
        if let Some(known) = self.get(id) {
            return Ok(known);
        }
        let layout = encoded.decode()?;
        let mut first = 0;
        let families = layout
            .families
            .iter()
            .map(|family| {
                let mut text = Vec::new();
                let mut ends = Vec::with_capacity(family.series.len());
                for series in &family.series {
                    if text::write_series(&mut text, family, series) {
                        text.push(b',');
                    }
                    ends.push(text.len());
                }
                let values = first..first + family.series.len();
                first = values.end;
                PreparedFamily {
                    family: self.families.intern(&family.name, family.kind, &family.help),
                    values,
                    text,
                    ends,
                }
            })
            .collect();
        let prepared = Arc::new(PreparedLayout { id, families, series: first });
        self.sweep();
        self.layouts.insert(id, Arc::downgrade(&prepared));
        Ok(prepared)
    }

    /// Forgets what no host uses any more; amortized, so that entering stays cheap.
    fn sweep(&mut self) {
        let entries = self.layouts.len() + self.families.by_name.len();
        if entries < 2 * self.swept_at.max(1_000) {
            return;
        }
        self.layouts.retain(|_, layout| layout.strong_count() > 0);
        self.families.by_name.retain(|_, family| family.strong_count() > 0);
        self.swept_at = self.layouts.len() + self.families.by_name.len();
    }
}

impl Families {
    fn intern(&mut self, name: &str, kind: MetricType, help: &str) -> Arc<SharedFamily> {
        let key = (name.to_owned(), kind);
        if let Some(known) = self.by_name.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        self.next_order += 1;
        let family =
            Arc::new(SharedFamily { order: self.next_order, name: name.to_owned(), kind, help: help.to_owned() });
        self.by_name.insert(key, Arc::downgrade(&family));
        family
    }
}

impl PreparedLayout {
    /// The hash by which hosts refer to it.
    #[must_use]
    pub(crate) fn id(&self) -> LayoutId {
        self.id
    }

    /// How many values a report with this layout carries.
    #[must_use]
    pub(crate) fn series(&self) -> usize {
        self.series
    }

    /// What it takes, in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let of_family = |family: &PreparedFamily| {
            size_of::<PreparedFamily>() + family.text.capacity() + family.ends.capacity() * size_of::<usize>()
        };
        self.families.iter().map(of_family).sum()
    }

    /// Its families, in the order of their values.
    #[must_use]
    pub(crate) fn families(&self) -> &[PreparedFamily] {
        &self.families
    }
}

impl PreparedFamily {
    /// The labels of each series, `__name__` among them, in the order of the values. They are made when they are asked for:
    /// most series are never looked at.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Labels> {
        self.series_texts().map(|text| parse_series(&String::from_utf8_lossy(text)))
    }

    /// `name{a="b",` of each series, in the order of the values.
    pub(crate) fn series_texts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }
}

/// Reads what [`text::write_series`] wrote: `name{a="b",c="d",`.
fn parse_series(text: &str) -> Labels {
    let (name, mut rest) = text.split_once('{').unwrap_or((text, ""));
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next() {
                None | Some('"') => break,
                Some('\\') => {
                    value.extend(characters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped }))
                }
                Some(character) => value.push(character),
            }
        }
        pairs.push((label.to_owned(), value));
        rest = characters.as_str().trim_start_matches(',');
    }
    Labels::new(pairs)
}

#[cfg(test)]
mod tests {
    use hostwatch_wire::{Family, Label, Layout, Series, Suffix};

    use super::*;

    #[test]
    fn labels_are_read_back_from_the_text() {
        let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
        let series = |labels| Series { suffix: Suffix::None, labels };
        let odd = "C:\\a\n\"b\",x=\"";
        let family = Family {
            name: "node_x".to_owned(),
            kind: MetricType::Gauge,
            help: String::new(),
            series: vec![series(Vec::new()), series(vec![label("a", odd), label("b", ""), label("c", "{},=")])],
        };
        let prepared = Layouts::default().intern(&EncodedLayout::new(&Layout { families: vec![family] })).unwrap();
        let labels: Vec<Labels> = prepared.families()[0].labels().collect();
        assert_eq!(labels[0], Labels::new([("__name__", "node_x")]));
        assert_eq!(labels[1], Labels::new([("__name__", "node_x"), ("a", odd), ("b", ""), ("c", "{},=")]));
    }
}
