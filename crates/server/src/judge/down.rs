//! `HostDown`, the one alert that needs no rule: a host is silent for longer than anything excuses.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::fleet::State;
use crate::inventory::RuleText;

use super::alert::Condition;

/// The condition, as far as it can be said in PromQL.
const EXPR: &str = "hostwatch_host_state{state=\"down\"} == 1";

/// The rule.
pub(super) static HOST_DOWN: LazyLock<Arc<RuleText>> = LazyLock::new(|| {
    let annotations = [
        ("summary", "{{ labels.instance }} is down"),
        (
            "description",
            "{{ labels.instance }} was not heard of for longer than liveness.down_after, or did not come back after its goodbye.",
        ),
    ];
    Arc::new(RuleText {
        alert: "HostDown".to_owned(),
        expr: EXPR.to_owned(),
        recover: None,
        hold: None,
        keep_firing_for: None,
        labels: BTreeMap::from([("severity".to_owned(), "critical".to_owned())]),
        annotations: annotations.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
    })
});

/// How it stands with a host in this state. Stale is in between: the alert neither begins nor ends.
pub(super) fn condition(state: State) -> Condition {
    match state {
        State::Down => Condition::Holds(1.0),
        State::Stale => Condition::NoData,
        State::Pending | State::Up | State::Left | State::Conflict => Condition::Fails,
    }
}
