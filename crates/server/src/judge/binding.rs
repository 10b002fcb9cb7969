//! Rules bound to the series that they read. All work with names and labels is done here, once for each list of triggers and
//! each set of layouts, and shared by all hosts that have the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_rules::{Expression, Labels, Plan, PlanKey, Selector};
use hostwatch_wire::LayoutId;

use crate::inventory::Trigger;
use crate::layouts::{PreparedFamily, PreparedLayout};

/// Which series: a column of a service's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The place of the host; 0 where there is but one.
    pub host: u32,
    /// The place of the service among the host's.
    pub service: u32,
    /// The place of the value in the service's layout.
    pub column: u32,
}

/// The layout of one service: whose it is, and what of it another service has already.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub service: Arc<str>,
    pub layout: Arc<PreparedLayout>,
    pub hidden: Arc<[usize]>,
}

/// The triggers of a host, bound to its series.
#[derive(Default)]
pub(super) struct Binding {
    /// In the order of the triggers.
    pub triggers: Vec<BoundTrigger>,
    /// In the order of the services.
    pub histories: Vec<Tracked>,
}

/// One trigger, bound.
pub(super) struct BoundTrigger {
    /// Its row in the table of rules.
    pub row: usize,
    pub condition: Plan<Key>,
    pub recover: Option<Plan<Key>>,
    /// The services whose reports it is judged at.
    pub services: Vec<u32>,
}

/// What of a service is to be remembered.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracked {
    /// The columns that some expression ranges over, in order.
    pub columns: Vec<u32>,
    /// The longest range.
    pub keep: Duration,
}

impl Tracked {
    /// Where a column of the layout stands in the history.
    pub(super) fn place(&self, column: u32) -> Option<usize> {
        self.columns.binary_search(&column).ok()
    }
}

/// A binding's key: the address of the list of triggers, and each service with its layout.
type BindingKey = (usize, Vec<(Arc<str>, LayoutId, Arc<[usize]>)>);

/// A binding with its list of triggers, so that the address in its key stays that list's.
type Kept = (Arc<[Arc<Trigger>]>, Arc<Binding>);

/// The bindings in use.
#[derive(Default)]
pub(super) struct Bindings {
    bindings: HashMap<BindingKey, Kept>,
    /// Bindings at the last sweep: they are swept when they have doubled.
    swept_at: usize,
}

impl Bindings {
    /// The binding for a host with these triggers and services. `fleet` holds what rules over the fleet range over, `row` the
    /// row of a trigger in the table of rules.
    pub(super) fn get(
        &mut self,
        triggers: &Arc<[Arc<Trigger>]>,
        shapes: &[Shape],
        fleet: &[Selector],
        row: impl FnMut(&Trigger) -> usize,
    ) -> Arc<Binding> {
        let parts =
            shapes.iter().map(|shape| (Arc::clone(&shape.service), shape.layout.id(), Arc::clone(&shape.hidden)));
        let key = (triggers.as_ptr().addr(), parts.collect());
        if let Some((_, known)) = self.bindings.get(&key) {
            return Arc::clone(known);
        }
        self.sweep();
        let binding = Arc::new(bind(triggers, shapes, fleet, row));
        self.bindings.insert(key, (Arc::clone(triggers), Arc::clone(&binding)));
        binding
    }

    /// Forgets all: the rules are others.
    pub(super) fn clear(&mut self) {
        self.bindings.clear();
    }

    fn sweep(&mut self) {
        if self.bindings.len() >= 2 * self.swept_at.max(100) {
            self.bindings.retain(|_, (_, binding)| Arc::strong_count(binding) > 1);
            self.swept_at = self.bindings.len();
        }
    }
}

fn bind(
    triggers: &[Arc<Trigger>],
    shapes: &[Shape],
    fleet: &[Selector],
    mut row: impl FnMut(&Trigger) -> usize,
) -> Binding {
    let mut histories = vec![Tracked::default(); shapes.len()];
    let bound = triggers.iter().map(|trigger| {
        let condition = bind_expression(&trigger.rule.expression, shapes, &mut histories);
        let recover = trigger.rule.recover.as_ref().map(|recover| bind_expression(recover, shapes, &mut histories));
        let mut services: Vec<u32> = condition.keys().iter().map(|read| read.key.service).collect();
        if services.is_empty() {
            // It reads nothing that is there: whatever its own service says is the occasion.
            services.extend(shapes.iter().position(|shape| shape.service == trigger.service).map(|place| place as u32));
        }
        services.sort_unstable();
        services.dedup();
        BoundTrigger { row: row(trigger), condition, recover, services }
    });
    let triggers = bound.collect();
    for selector in fleet {
        for (key, labels) in candidates(shapes, &[selector]) {
            // What host it is of, and so whether it matches, is not known here: bindings are shared.
            if selector.name().is_none_or(|name| labels.name() == Some(name)) {
                track(&mut histories, key, selector.range().unwrap_or_default());
            }
        }
    }
    for tracked in &mut histories {
        tracked.columns.sort_unstable();
        tracked.columns.dedup();
    }
    Binding { triggers, histories }
}

fn bind_expression(expression: &Expression, shapes: &[Shape], histories: &mut [Tracked]) -> Plan<Key> {
    let selectors: Vec<&Selector> = expression.selectors().iter().collect();
    let plan = expression.bind(candidates(shapes, &selectors));
    for PlanKey { key, range } in plan.keys() {
        if let Some(range) = range {
            track(histories, *key, *range);
        }
    }
    plan
}

fn track(histories: &mut [Tracked], key: Key, range: Duration) {
    let tracked = &mut histories[key.service as usize];
    tracked.columns.push(key.column);
    tracked.keep = tracked.keep.max(range);
}

/// The series that one of the selectors may match, by the name of the family alone.
pub(super) fn candidates<'a>(
    shapes: &'a [Shape],
    selectors: &'a [&'a Selector],
) -> impl Iterator<Item = (Key, Labels)> + 'a {
    shapes.iter().enumerate().flat_map(move |(service, shape)| {
        let families = shape.layout.families().iter().enumerate();
        let wanted = families.filter(move |(index, family)| {
            !shape.hidden.contains(index) && selectors.iter().any(|selector| may_match(selector, family))
        });
        wanted.flat_map(move |(_, family)| {
            family
                .values
                .clone()
                .zip(family.labels())
                .map(move |(column, labels)| (Key { host: 0, service: service as u32, column: column as u32 }, labels))
        })
    })
}

fn may_match(selector: &Selector, family: &PreparedFamily) -> bool {
    // A histogram's samples are called by the family's name and a suffix.
    selector.name().is_none_or(|name| name.starts_with(&family.family.name))
}
