//! The series of the hosts themselves: each family once, with all its hosts, across all layouts.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use hostwatch_wire::{Suffix, text};

use super::{Row, Sink, own};
use crate::directory::SeriesBlock;
use crate::layouts::{PreparedFamily, SharedFamily};

/// Where one service of one host has a family.
struct Place<'a> {
    labels: &'a [u8],
    block: &'a SeriesBlock,
    family: &'a PreparedFamily,
}

/// Every family that the page shows, sorted by name.
pub(super) struct Families<'a>(Vec<(&'a SharedFamily, Vec<Place<'a>>)>);

impl<'a> Families<'a> {
    /// Those of the hosts that are shown.
    pub(super) fn of(rows: &'a [Row]) -> Self {
        Self(standing(by_family(rows)))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(family, _)| family.name.as_str())
    }

    /// Writes every series. Where the server has a family of the same name and type itself, its samples come first; with
    /// another type the hosts' are left out.
    pub(super) fn write<W: Write>(self, own: &mut own::Families, sink: &mut Sink<W>) -> io::Result<()> {
        for (family, places) in self.0 {
            match own.take(&family.name) {
                Some(ours) if ours.kind() != family.kind => {
                    own.put_back(ours);
                    continue;
                }
                Some(ours) => ours.write(sink),
                None => sink.header(&family.name, family.kind, &family.help),
            }
            for place in places {
                place.write(sink);
                sink.flush_if_full()?;
            }
        }
        Ok(())
    }
}

impl Place<'_> {
    fn write<W: Write>(&self, sink: &mut Sink<W>) {
        let values = &self.block.values[self.family.values.clone()];
        for (series, value) in self.family.series_texts().zip(values) {
            sink.format.write_ready_series(&mut sink.buffer, self.family.family.kind, series);
            if self.labels.starts_with(b"}") && series.ends_with(b",") {
                // No further label follows.
                sink.buffer.pop();
            }
            sink.buffer.extend_from_slice(self.labels);
            text::write_value(&mut sink.buffer, *value);
            sink.buffer.push(b'\n');
        }
    }
}

/// Every family in use with its places, sorted by name and, for the types of one name, by age.
fn by_family(rows: &[Row]) -> Vec<(&SharedFamily, Vec<Place<'_>>)> {
    let mut index: HashMap<*const SharedFamily, usize> = HashMap::new();
    let mut families: Vec<(&SharedFamily, Vec<Place<'_>>)> = Vec::new();
    for row in rows.iter().filter(|row| row.snapshot.state.is_shown()) {
        for block in row.snapshot.services.iter().filter_map(|service| service.series.as_ref()) {
            for (position, family) in block.layout.families().iter().enumerate() {
                if block.hidden.contains(&position) {
                    continue;
                }
                let slot = *index.entry(Arc::as_ptr(&family.family)).or_insert_with(|| {
                    families.push((&family.family, Vec::new()));
                    families.len() - 1
                });
                families[slot].1.push(Place { labels: &row.labels, block, family });
            }
        }
    }
    families.sort_by(|(a, _), (b, _)| (&a.name, a.order).cmp(&(&b.name, b.order)));
    families
}

/// Where two families claim the same name of a sample, the older one stands and the other is left out.
fn standing<'a>(families: Vec<(&'a SharedFamily, Vec<Place<'a>>)>) -> Vec<(&'a SharedFamily, Vec<Place<'a>>)> {
    let mut by_age: Vec<&SharedFamily> = families.iter().map(|(family, _)| *family).collect();
    by_age.sort_by_key(|family| family.order);
    let mut claimed: HashSet<String> = HashSet::new();
    let mut refused: HashSet<u64> = HashSet::new();
    for family in by_age {
        // The bare name too: a histogram has no such sample, but its header says it.
        let suffixes = std::iter::once(&Suffix::None).chain(family.kind.suffixes());
        let names: HashSet<String> = suffixes.map(|suffix| format!("{}{}", family.name, suffix.as_str())).collect();
        if names.is_disjoint(&claimed) {
            claimed.extend(names);
        } else {
            refused.insert(family.order);
        }
    }
    families.into_iter().filter(|(family, _)| !refused.contains(&family.order)).collect()
}
