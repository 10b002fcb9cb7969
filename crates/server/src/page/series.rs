//! The series of the hosts themselves: each family once, with all its hosts, across all layouts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// One family with all its places.
type Everywhere<'a> = (&'a SharedFamily, Vec<Place<'a>>);

/// The families of the hosts that are shown.
pub(super) struct Families<'a> {
    /// What the page has, sorted by name.
    shown: Vec<Everywhere<'a>>,
    /// What it cannot have beside them.
    left_out: Vec<Everywhere<'a>>,
}

impl<'a> Families<'a> {
    /// Those of all hosts. Where two families claim the same name of a sample, the one that more hosts have stands, of two as
    /// frequent ones the older: one host cannot hide what all others say.
    pub(super) fn of(rows: &'a [Row]) -> Self {
        let mut families = by_family(rows);
        families.sort_by_cached_key(|(family, places)| (Reverse(hosts_of(places)), family.order));
        let mut claimed: HashSet<String> = HashSet::new();
        let (mut shown, left_out): (Vec<_>, Vec<_>) = families.into_iter().partition(|(family, _)| {
            // The bare name too: a histogram has no such sample, but its header says it.
            let suffixes = std::iter::once(&Suffix::None).chain(family.kind.suffixes());
            let names: HashSet<String> = suffixes.map(|suffix| format!("{}{}", family.name, suffix.as_str())).collect();
            let is_free = names.is_disjoint(&claimed);
            if is_free {
                claimed.extend(names);
            }
            is_free
        });
        shown.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        Self { shown, left_out }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.shown.iter().map(|(family, _)| family.name.as_str())
    }

    /// How many families of a host are left out, for every host that has one; each host by its labels.
    pub(super) fn left_out(&self) -> BTreeMap<&'a [u8], usize> {
        let mut counts = BTreeMap::new();
        for place in self.left_out.iter().flat_map(|(_, places)| places) {
            *counts.entry(place.labels).or_default() += 1;
        }
        counts
    }

    /// Writes every series. Where the server has a family of the same name and type itself, its samples come first; with
    /// another type the hosts' are left out.
    pub(super) fn write<W: Write>(self, own: &mut own::Families, sink: &mut Sink<W>) -> io::Result<()> {
        for (family, places) in self.shown {
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

/// Every family in use with its places, those of one host behind each other.
fn by_family(rows: &[Row]) -> Vec<Everywhere<'_>> {
    let mut index: HashMap<*const SharedFamily, usize> = HashMap::new();
    let mut families: Vec<Everywhere<'_>> = Vec::new();
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
    families
}

/// How many hosts have a family in these places.
fn hosts_of(places: &[Place<'_>]) -> usize {
    places.chunk_by(|one, next| std::ptr::eq(one.labels, next.labels)).count()
}
