//! What an inventory changes for the hosts that are watched. A pure function.

use std::collections::HashSet;
use std::sync::Arc;

use hostwatch_wire::HostId;

use crate::inventory::{Inventory, Labels, Origin, Plan};

/// What happens to one host.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// It is to be watched from now on.
    Added(Origin, Arc<Plan>),
    /// It is watched for another reason, or does other work, or has other labels.
    Replanned(Origin, Arc<Plan>),
    /// Nobody watches it any more.
    Removed,
}

/// Compares the hosts (id, claimed labels, why they are watched, what they run) with what `inventory` wants.
pub(super) fn difference<'a>(
    hosts: impl Iterator<Item = (&'a HostId, &'a Labels, Option<Origin>, Option<&'a Plan>)>,
    inventory: &Inventory,
) -> Vec<(HostId, Change)> {
    let mut changes = Vec::new();
    let mut present = HashSet::new();
    for (id, claimed, origin, plan) in hosts {
        present.insert(id.clone());
        let change = match (origin.zip(plan), inventory.plan(id, claimed)) {
            (None, None) => continue,
            (None, Some((origin, plan))) => Change::Added(origin, plan),
            (Some(_), None) => Change::Removed,
            (Some((was, had)), Some((origin, plan))) => {
                if was == origin && *had == *plan {
                    continue;
                }
                Change::Replanned(origin, plan)
            }
        };
        changes.push((id.clone(), change));
    }
    for id in inventory.configured().filter(|id| !present.contains(*id)) {
        if let Some((origin, plan)) = inventory.plan(id, &Labels::new()) {
            changes.push((id.clone(), Change::Added(origin, plan)));
        }
    }
    changes
}
