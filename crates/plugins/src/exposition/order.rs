//! Families and series in an order that does not depend on the page's own, which shows what stands twice.

use super::kind::owner_of;
use super::page::Series;
use super::view::{FamilyView, compare_keys};
use super::{Origin, Page};

impl Page {
    /// Puts families and series in their order, which shows what stands twice.
    pub(super) fn sort(&mut self, origin: Origin) -> Result<(), (u32, String)> {
        let mut order = std::mem::take(&mut self.order);
        order.extend(self.series.iter().map(|series| series.family));
        order.dedup();
        order.sort_unstable_by(|a, b| self.name_of(*a).cmp(self.name_of(*b)).then(a.cmp(b)));
        order.dedup();
        for (rank, family) in order.iter().enumerate() {
            self.families[*family as usize].rank = rank as u32;
        }
        self.order = order;
        self.check_names()?;

        let mut series = std::mem::take(&mut self.series);
        let compare = |a: &Series, b: &Series| {
            let rank = |series: &Series| self.families[series.family as usize].rank;
            rank(a).cmp(&rank(b)).then_with(|| compare_keys(self, a, self, b))
        };
        if !series.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            series.sort_unstable_by(|a, b| compare(a, b).then(a.line.cmp(&b.line)));
            let same = |pair: &[Series]| compare(&pair[0], &pair[1]).is_eq();
            if let Some(pair) = series.windows(2).find(|pair| same(pair)) {
                let (line, name) = (pair[1].line, self.name_of(pair[1].family).to_owned());
                if origin == Origin::File {
                    let first = pair[0].line + 1;
                    return Err((line, format!("the series of {name} stands in line {first} already")));
                }
                let before = series.len();
                series.dedup_by(|later, first| compare(later, first).is_eq());
                let dropped = before - series.len();
                self.leave_out(line as usize, &name, "the series stands twice");
                self.left_out += dropped - 1;
            }
        }
        for (index, series) in series.iter().enumerate() {
            let range = &mut self.families[series.family as usize].series;
            let start = if range.start == range.end { index as u32 } else { range.start };
            *range = start..index as u32 + 1;
        }
        self.series = series;
        Ok(())
    }

    /// Checks that no two families have series of the same name.
    fn check_names(&self) -> Result<(), (u32, String)> {
        let taken = |family: u32, by: u32| {
            let (family, by) = (&self.families[family as usize], &self.families[by as usize]);
            let (name, declared) = (self.text(&family.name), self.text(&by.declared));
            (family.line.max(by.line), format!("{name} is also a series of the family {declared}"))
        };
        for pair in self.order.windows(2) {
            if self.name_of(pair[0]) == self.name_of(pair[1]) {
                return Err(taken(pair[1], pair[0]));
            }
        }
        for family in &self.order {
            let name = self.name_of(*family);
            if let Some(owner) = owner_of(name, |base| {
                let found = self.order.binary_search_by(|other| self.name_of(*other).cmp(base)).ok()?;
                let number = self.order[found];
                Some((number, FamilyView { page: self, family: &self.families[number as usize] }.kind()))
            }) {
                return Err(taken(*family, owner));
            }
        }
        Ok(())
    }
}
