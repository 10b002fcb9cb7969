//! The sink makes the layout that a plain reading of the calls would make, whatever came before.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hostwatch_plugins::{CollectError, Samples};
use hostwatch_wire::{EncodedLayout, Family, InvalidLayout, Label, Layout, MetricType, Series, Suffix};
use proptest::prelude::*;

/// One collection: families with their series, each with labels and a value.
type Collection = Vec<(String, MetricType, String, Vec<(Vec<(String, String)>, f64)>)>;

fn collection() -> impl Strategy<Value = Collection> {
    let kind = prop_oneof![Just(MetricType::Gauge), Just(MetricType::Counter)];
    let labels = prop::collection::vec(("[ab]", "[01]"), 0..3);
    let series = prop::collection::vec((labels, -9.0..9.0), 0..4);
    prop::collection::vec(("[xyz]", kind, "[pq]", series), 0..4)
}

fn collect(samples: &mut Samples, collection: &Collection) -> Result<bool, CollectError> {
    samples.begin();
    for (name, kind, help, series) in collection {
        samples.family(name, *kind, help);
        for (labels, value) in series {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            samples.push(&labels, *value);
        }
    }
    samples.finish()
}

fn layout(collection: &Collection) -> Layout {
    let series = |(labels, _): &(Vec<(String, String)>, f64)| {
        let label = |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
        let mut labels: Vec<Label> = labels.iter().map(label).collect();
        labels.sort();
        Series { suffix: Suffix::None, labels }
    };
    let family = |(name, kind, help, all): &(String, MetricType, String, Vec<_>)| Family {
        name: name.clone(),
        kind: *kind,
        help: help.clone(),
        series: all.iter().map(series).collect(),
    };
    Layout { families: collection.iter().map(family).collect() }
}

proptest! {
    #[test]
    fn any_collections_give_the_layouts_they_describe(collections in prop::collection::vec(collection(), 1..6)) {
        let mut samples = Samples::new();
        let mut current = Layout::default();
        for collection in collections {
            let wanted = layout(&collection);
            match (collect(&mut samples, &collection), wanted.check()) {
                (Ok(changed), Ok(())) => {
                    prop_assert_eq!(changed, wanted != current);
                    let values: Vec<f64> = collection.iter().flat_map(|family| &family.3).map(|one| one.1).collect();
                    prop_assert_eq!(samples.values(), values);
                    current = wanted;
                }
                (Err(CollectError::Layout(found)), Err(expected)) => prop_assert_eq!(found, expected),
                (found, expected) => prop_assert!(false, "{:?} instead of {:?}", found, expected),
            }
            prop_assert_eq!(&**samples.layout(), &current);
            prop_assert_eq!(samples.encoded(), &EncodedLayout::new(&current));
            prop_assert_eq!(samples.layout_id(), samples.encoded().id());
        }
    }
}

#[test]
fn labels_that_come_unsorted_make_a_sorted_layout_that_stays() {
    let unsorted = vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
    let collection: Collection = vec![("x".to_owned(), MetricType::Gauge, String::new(), vec![(unsorted, 1.0)])];
    let mut samples = Samples::new();
    assert!(collect(&mut samples, &collection).unwrap());
    assert!(!collect(&mut samples, &collection).unwrap());
}

#[test]
fn a_value_without_a_family_is_an_error() {
    let mut samples = Samples::new();
    samples.begin();
    samples.push(&[], 1.0);
    let error = samples.finish().unwrap_err();
    assert!(matches!(error, CollectError::Layout(InvalidLayout::MetricName(name)) if name.is_empty()));
}

#[test]
fn names_that_are_not_a_hosts_to_take_are_an_error() {
    let mut samples = Samples::new();
    samples.begin();
    samples.family("up", MetricType::Gauge, "");
    samples.push(&[], 1.0);
    assert_eq!(samples.finish().unwrap_err().to_string(), "unfit samples: the name \"up\" is reserved");
}

#[test]
fn a_budget_keeps_the_first_series_and_counts_the_rest() {
    let mut samples = Samples::new();
    let mut collect = |budget| {
        samples.set_budget(budget);
        samples.begin();
        for family in ["a", "b", "c"] {
            samples.family(family, MetricType::Gauge, "A figure.");
            for number in ["1", "2"] {
                samples.push(&[("number", number)], 1.0);
            }
        }
        let changed = samples.finish().unwrap();
        let families = samples.layout().families.iter().map(|family| (family.name.clone(), family.series.len()));
        (changed, families.collect::<Vec<_>>(), samples.values().len(), samples.left_out())
    };
    let (a, b, c) = ("a".to_owned(), "b".to_owned(), "c".to_owned());
    assert_eq!(collect(3), (true, vec![(a.clone(), 2), (b.clone(), 1)], 3, 3));
    assert_eq!(collect(3), (false, vec![(a.clone(), 2), (b.clone(), 1)], 3, 3));
    assert_eq!(collect(2), (true, vec![(a.clone(), 2)], 2, 4));
    assert_eq!(collect(0), (true, vec![], 0, 6));
    assert_eq!(collect(6), (true, vec![(a, 2), (b, 2), (c, 2)], 6, 0));
}
