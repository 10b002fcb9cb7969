//! The sink for a plugin's samples: values, and the layout that says what they mean.

use std::sync::Arc;

use hostwatch_wire::{
    EncodedLayout, Family, Label, Layout, LayoutId, MAX_SERVICE_MESSAGE_BYTES, MetricType, Series, Suffix,
};

use crate::{CollectError, Plugin};

/// Takes the samples of one service, collection after collection.
///
/// A collection is `begin`, then each `family` followed by a `push` for each of its series, then `finish`. As long as
/// the names and labels come as they did the last time, they are only compared with the layout and nothing is
/// allocated; at the first difference the rest of the layout is made anew.
#[derive(Debug)]
pub struct Samples {
    layout: Arc<Layout>,
    encoded: EncodedLayout,
    id: LayoutId,
    values: Vec<f64>,
    /// The most series that are kept of a collection, and how many more it had.
    budget: usize,
    left_out: u64,
    message: String,
    /// What the calls of a collection have to be for its layout to be `layout`.
    script: Script,
    /// How many families this collection has begun.
    families: usize,
    /// How many series it has pushed to the last one of them.
    series: usize,
    /// The layout as far as this collection has come, once it differs from `layout`.
    rebuilt: Option<Layout>,
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

impl Samples {
    /// A sink whose layout is empty.
    #[must_use]
    pub fn new() -> Self {
        let layout = Layout::default();
        let encoded = EncodedLayout::new(&layout);
        let id = encoded.id();
        Self {
            layout: layout.into(),
            encoded,
            id,
            values: Vec::new(),
            budget: usize::MAX,
            left_out: 0,
            message: String::new(),
            script: Script::default(),
            families: 0,
            series: 0,
            rebuilt: None,
        }
    }

    /// From the next collection on, keeps no more than so many series: the first ones.
    pub fn set_budget(&mut self, series: usize) {
        self.budget = series;
    }

    /// How many series of this collection were more than the budget allows.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Has `plugin` measure once. Says whether the layout is another one than after the collection before.
    ///
    /// # Errors
    /// Those of the plugin and of [`Samples::finish`]; the values are then worth nothing.
    pub fn collect(&mut self, plugin: &mut dyn Plugin) -> Result<bool, CollectError> {
        self.begin();
        plugin.collect(self)?;
        self.finish()
    }

    /// Begins a collection and forgets what an unfinished one has left.
    pub fn begin(&mut self) {
        self.values.clear();
        self.left_out = 0;
        self.message.clear();
        self.script.at = 0;
        self.families = 0;
        self.series = 0;
        self.rebuilt = None;
    }

    /// Begins a family, each name once in a collection. `help` is for people and of one sentence.
    pub fn family(&mut self, name: &str, kind: MetricType, help: &str) {
        if self.values.len() >= self.budget {
            return;
        }
        if self.rebuilt.is_none() && !self.script.goes_on_with(&[FAMILY, kind as u8], [name, help]) {
            self.diverge();
        }
        if let Some(rebuilt) = &mut self.rebuilt {
            let (name, help) = (name.to_owned(), help.to_owned());
            rebuilt.families.push(Family { name, kind, help, series: Vec::new() });
        }
        self.families += 1;
        self.series = 0;
    }

    /// Adds a series of the family that was begun last. Labels may come in any order; sorted by name costs least.
    pub fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        self.push_part(Suffix::None, labels, value);
    }

    /// Adds a series whose name carries something behind that of its family, such as a bucket of a histogram.
    pub fn push_part(&mut self, suffix: Suffix, labels: &[(&str, &str)], value: f64) {
        if self.values.len() >= self.budget {
            self.left_out += 1;
            return;
        }
        self.values.push(value);
        if self.rebuilt.is_none() {
            let texts = labels.iter().flat_map(|(name, value)| [*name, *value]);
            if self.script.goes_on_with(&series_mark(suffix, labels.len()), texts) {
                self.series += 1;
                return;
            }
            self.diverge();
        }
        let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
        let mut labels: Vec<Label> = labels.iter().map(label).collect();
        labels.sort();
        let rebuilt = self.rebuilt.get_or_insert_default();
        if rebuilt.families.is_empty() {
            // A value without a family: finish() refuses the layout because of the missing name.
            let (name, kind, help) = (String::new(), MetricType::Unknown, String::new());
            rebuilt.families.push(Family { name, kind, help, series: Vec::new() });
        }
        if let Some(family) = rebuilt.families.last_mut() {
            family.series.push(Series { suffix, labels });
        }
    }

    /// A gauge whose only series has no labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, MetricType::Gauge, help);
        self.push(&[], value);
    }

    /// A counter whose only series has no labels.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, MetricType::Counter, help);
        self.push(&[], value);
    }

    /// A family that begins when its first series is pushed: without any it is not reported.
    pub(crate) fn sparse<'a>(&'a mut self, name: &'a str, kind: MetricType, help: &'a str) -> Sparse<'a> {
        Sparse { samples: self, header: Some((name, kind, help)) }
    }

    /// Says something to people about this collection, as much of it as a report holds.
    pub fn say(&mut self, message: &str) {
        let length = message.floor_char_boundary(MAX_SERVICE_MESSAGE_BYTES);
        message[..length].clone_into(&mut self.message);
    }

    /// What was said about this collection.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        (!self.message.is_empty()).then_some(self.message.as_str())
    }

    /// Ends a collection. Says whether the layout is another one than after the collection before.
    ///
    /// # Errors
    /// When what was pushed makes no layout, for example a name or a series that came twice. The layout then stays
    /// what it was, and the values are worth nothing.
    pub fn finish(&mut self) -> Result<bool, CollectError> {
        if self.rebuilt.is_none() && !self.script.is_at_its_end() {
            self.diverge();
        }
        let Some(layout) = self.rebuilt.take().filter(|rebuilt| *rebuilt != *self.layout) else { return Ok(false) };
        layout.check()?;
        self.encoded = EncodedLayout::new(&layout);
        self.id = self.encoded.id();
        self.script = Script::of(&layout);
        self.layout = layout.into();
        Ok(true)
    }

    /// What the values mean.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The layout as it travels.
    #[must_use]
    pub fn encoded(&self) -> &EncodedLayout {
        &self.encoded
    }

    /// The hash of the layout.
    #[must_use]
    pub fn layout_id(&self) -> LayoutId {
        self.id
    }

    /// The values in the order of the layout's series, after a collection that finished well.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Starts to rebuild: takes over what this collection and the layout have in common.
    fn diverge(&mut self) {
        let mut families = self.layout.families[..self.families].to_vec();
        if let Some(family) = families.last_mut() {
            family.series.truncate(self.series);
        }
        self.rebuilt = Some(Layout { families });
    }
}

/// What a call that begins a family is marked with; one that adds a series has the number of its labels.
const FAMILY: u8 = u8::MAX;

/// The calls of a collection, one behind the other. They are compared with at every collection, for which the memory of a
/// layout lies too scattered.
#[derive(Debug, Default)]
struct Script {
    /// Each call has two bytes as its mark, then its texts, each behind its length.
    calls: Vec<u8>,
    /// Where this collection has come to.
    at: usize,
}

impl Script {
    /// The calls that make `layout`.
    fn of(layout: &Layout) -> Self {
        let mut script = Self::default();
        for family in &layout.families {
            script.add(&[FAMILY, family.kind as u8], [family.name.as_str(), &family.help]);
            for series in &family.series {
                let texts = series.labels.iter().flat_map(|label| [label.name.as_str(), &label.value]);
                script.add(&series_mark(series.suffix, series.labels.len()), texts);
            }
        }
        script
    }

    fn add<'a>(&mut self, mark: &[u8; 2], texts: impl IntoIterator<Item = &'a str>) {
        self.calls.extend_from_slice(mark);
        for text in texts {
            self.calls.extend_from_slice(&length_mark(text));
            self.calls.extend_from_slice(text.as_bytes());
        }
    }

    /// Goes past the next call if it is this one.
    fn goes_on_with<'a>(&mut self, mark: &[u8; 2], texts: impl IntoIterator<Item = &'a str>) -> bool {
        let mut rest = &self.calls[self.at..];
        let mut is_next = |part: &[u8]| rest.strip_prefix(part).map(|behind| rest = behind).is_some();
        let is_same =
            is_next(mark) && texts.into_iter().all(|text| is_next(&length_mark(text)) && is_next(text.as_bytes()));
        if is_same {
            self.at = self.calls.len() - rest.len();
        }
        is_same
    }

    fn is_at_its_end(&self) -> bool {
        self.at == self.calls.len()
    }
}

/// No layout has as many labels as a mark cannot tell.
fn series_mark(suffix: Suffix, labels: usize) -> [u8; 2] {
    [labels.min(usize::from(FAMILY) - 1) as u8, suffix as u8]
}

/// No text of a layout is as long as this cannot tell.
fn length_mark(text: &str) -> [u8; 4] {
    (text.len() as u32).to_le_bytes()
}

/// A family of which nobody knows yet whether it has any series; see [`Samples::sparse`].
#[derive(Debug)]
pub(crate) struct Sparse<'a> {
    samples: &'a mut Samples,
    /// Name, kind and help, until the family has begun.
    header: Option<(&'a str, MetricType, &'a str)>,
}

impl Sparse<'_> {
    pub(crate) fn push(&mut self, labels: &[(&str, &str)], value: f64) {
        if let Some((name, kind, help)) = self.header.take() {
            self.samples.family(name, kind, help);
        }
        self.samples.push(labels, value);
    }
}
