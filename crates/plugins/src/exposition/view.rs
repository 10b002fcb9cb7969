//! The families and series of a page as others see them.

use std::cmp::Ordering;
use std::ops::Range;

use hostwatch_wire::{MAX_LABELS, MetricType};

use super::Page;
use super::kind::Kind;
use super::page::{Family, Series};
use crate::Samples;

/// A family of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FamilyView<'a> {
    pub(super) page: &'a Page,
    pub(super) family: &'a Family,
}

impl<'a> FamilyView<'a> {
    pub(crate) fn name(self) -> &'a str {
        self.page.text(&self.family.name)
    }

    pub(crate) fn kind(self) -> MetricType {
        self.family.kind.unwrap_or(Kind::Unknown).metric_type()
    }

    pub(crate) fn help(self) -> Option<&'a str> {
        self.family.help.as_ref().map(|help| self.page.text(help))
    }

    /// The line of the page that names it first, counted from 1.
    pub(crate) fn line(self) -> usize {
        self.family.line as usize + 1
    }

    /// One of its series.
    pub(crate) fn series_at(self, index: usize) -> SeriesView<'a> {
        SeriesView { page: self.page, series: &self.page.series[self.family.series.start as usize + index] }
    }

    /// Its series, by their labels and bounds.
    pub(crate) fn series(self) -> impl ExactSizeIterator<Item = SeriesView<'a>> {
        let Range { start, end } = self.family.series;
        self.page.series[start as usize..end as usize].iter().map(|series| SeriesView { page: self.page, series })
    }
}

/// A series of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesView<'a> {
    page: &'a Page,
    series: &'a Series,
}

impl SeriesView<'_> {
    pub(crate) fn push_to(self, samples: &mut Samples) {
        let labels = self.page.labels_of(self.series);
        let mut list = [("", ""); MAX_LABELS];
        for (free, label) in list.iter_mut().zip(labels) {
            *free = (self.page.text(&label.name), self.page.text(&label.value));
        }
        samples.push_part(self.series.suffix, &list[..labels.len()], self.series.value);
    }
}

/// The order of the series of one family, which may stand on different pages.
pub(crate) fn compare_series(a: SeriesView<'_>, b: SeriesView<'_>) -> Ordering {
    compare_keys(a.page, a.series, b.page, b.series)
}

/// Series that differ in nothing but their bounds and endings are together, as OpenMetrics wants it.
pub(super) fn compare_keys(page_a: &Page, a: &Series, page_b: &Page, b: &Series) -> Ordering {
    let plain = |page, series| labels(page, series, |is_bound| !is_bound);
    let bound = |page, series| labels(page, series, |is_bound| is_bound);
    plain(page_a, a)
        .cmp(plain(page_b, b))
        .then(a.suffix.cmp(&b.suffix))
        .then_with(|| a.bound.total_cmp(&b.bound))
        .then_with(|| bound(page_a, a).cmp(bound(page_b, b)))
}

/// Those labels of a series that `keep` takes, by whether a label is the bound of the series.
fn labels<'a>(
    page: &'a Page,
    series: &'a Series,
    keep: impl Fn(bool) -> bool,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let bound = page.bound_of(series);
    let all = page.labels_of(series).iter().map(|label| (page.text(&label.name), page.text(&label.value)));
    all.filter(move |(name, _)| keep(Some(*name) == bound))
}
