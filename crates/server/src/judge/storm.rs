//! The storm guard: when hosts fall silent for one common reason, one alert names the reason, and `HostDown` waits.
//!
//! `RedisLinkDown` fires when this server's own link is away, `FleetSilent` when a large share of the fleet falls silent at
//! once. Neither needs a rule.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::alert::{Alert, Alerts, Condition, Delays, Move};
use super::outlook::{Bearer, Fact};
use crate::inventory::RuleText;

/// So many hosts have to be silent before it is the fleet: of two hosts, both may well be down.
const MIN_SILENT: usize = 3;
/// A link that comes back sooner is no news.
const LINK_HOLD_MS: i64 = 10_000;

static REDIS_LINK_DOWN: LazyLock<Arc<RuleText>> = LazyLock::new(|| {
    built_in(
        "RedisLinkDown",
        "hostwatch_redis_connected == 0",
        "The server is cut off from Redis",
        "No report can come in and no configuration go out; hosts are not announced as down until the link is back and each had its time to report.",
    )
});

static FLEET_SILENT: LazyLock<Arc<RuleText>> = LazyLock::new(|| {
    built_in(
        "FleetSilent",
        "hosts that fell silent, of all that were heard",
        "{{ value | percent }} of the fleet fell silent at once",
        "So many hosts at once have a common reason: look at Redis and the network between. Hosts are not announced as down one by one meanwhile.",
    )
});

fn built_in(alert: &str, expr: &str, summary: &str, description: &str) -> Arc<RuleText> {
    let annotations = [("summary", summary), ("description", description)];
    Arc::new(RuleText {
        alert: alert.to_owned(),
        expr: expr.to_owned(),
        recover: None,
        hold: None,
        keep_firing_for: None,
        labels: BTreeMap::from([("severity".to_owned(), "critical".to_owned())]),
        annotations: annotations.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
    })
}

/// When silence is the fleet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StormSettings {
    /// This share of the hosts, in percent.
    pub silent_percent: u8,
    /// What a host is given to report after the link is back, or after the fleet was silent.
    pub down_after: Duration,
}

/// How many hosts are heard, and how many fell silent without being announced as down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub heard: usize,
    pub silent: usize,
}

/// The two alerts, and what they depend on. All times are in milliseconds since 1970.
pub(super) struct Storm {
    settings: StormSettings,
    /// Since when the link is there; nothing while it is away.
    connected_ms: Option<i64>,
    /// Until when those may be late who come back after the fleet was silent.
    patient_until_ms: i64,
    pub(super) link_down: Alerts,
    pub(super) fleet_silent: Alerts,
}

impl Storm {
    pub(super) fn new(link_down: Alerts, fleet_silent: Alerts) -> Self {
        let settings = StormSettings { silent_percent: 50, down_after: Duration::from_secs(60) };
        Self { settings, connected_ms: None, patient_until_ms: i64::MIN, link_down, fleet_silent }
    }

    pub(super) fn apply(&mut self, settings: StormSettings) {
        self.settings = settings;
    }

    pub(super) fn on_link(&mut self, is_connected: bool, now_ms: i64) {
        self.connected_ms = is_connected.then_some(now_ms);
    }

    /// Whether no further host is to be announced as down.
    pub(super) fn holds(&self, now_ms: i64) -> bool {
        self.connected_ms.is_none() || now_ms < self.patient_until_ms
    }

    /// Judges both.
    pub(super) fn judge(&mut self, census: Census, now_ms: i64, mut moved: impl FnMut(&RuleText, &Alert, Move)) {
        let link = if self.connected_ms.is_none() { Condition::Holds(1.0) } else { Condition::Fails };
        let delays = Delays { hold_ms: LINK_HOLD_MS, keep_ms: 0 };
        let outlook = Fact::new(Bearer { host: None, rule: &REDIS_LINK_DOWN }, link);
        self.link_down.judge(&outlook, delays, now_ms, |alert, step| moved(&REDIS_LINK_DOWN, alert, step));

        let outlook = Fact::new(Bearer { host: None, rule: &FLEET_SILENT }, self.silence(census, now_ms));
        let delays = Delays { hold_ms: 0, keep_ms: 0 };
        self.fleet_silent.judge(&outlook, delays, now_ms, |alert, step| moved(&FLEET_SILENT, alert, step));
        if !self.fleet_silent.is_empty() {
            self.patient_until_ms = now_ms.saturating_add(self.settle_ms());
        }
    }

    fn settle_ms(&self) -> i64 {
        self.settings.down_after.as_millis() as i64
    }

    /// Of a fleet that nobody could hear, or that had no time to report, nothing is known.
    fn silence(&self, census: Census, now_ms: i64) -> Condition {
        if self.connected_ms.is_none_or(|since| now_ms < since.saturating_add(self.settle_ms())) {
            return Condition::NoData;
        }
        let Census { heard, silent } = census;
        let share = silent as f64 / (heard + silent).max(1) as f64;
        if silent >= MIN_SILENT && share * 100.0 >= f64::from(self.settings.silent_percent) {
            Condition::Holds(share)
        } else {
            Condition::Fails
        }
    }

    /// Both rules with their alerts.
    pub(super) fn rules(&self) -> [(&'static Arc<RuleText>, &Alerts); 2] {
        [(&REDIS_LINK_DOWN, &self.link_down), (&FLEET_SILENT, &self.fleet_silent)]
    }
}

/// The rules, for what was saved of them.
pub(super) fn rules() -> [&'static Arc<RuleText>; 2] {
    [&REDIS_LINK_DOWN, &FLEET_SILENT]
}

#[cfg(test)]
mod tests {
    use super::super::alert::Phase;
    use super::*;

    fn firing(storm: &Storm) -> Vec<&'static str> {
        let firing =
            storm.rules().into_iter().filter(|(_, alerts)| alerts.iter().any(|alert| alert.phase == Phase::Firing));
        firing.map(|(rule, _)| rule.alert.as_str()).collect()
    }

    #[test]
    fn one_alert_names_the_common_reason() {
        let mut storm = Storm::new(Alerts::default(), Alerts::default());
        let census = |heard, silent| Census { heard, silent };
        let mut at = |second: i64, change: &dyn Fn(&mut Storm, i64), census| {
            change(&mut storm, second * 1_000);
            storm.judge(census, second * 1_000, |_, _, _| {});
            (firing(&storm), storm.holds(second * 1_000))
        };
        let nothing = |_: &mut Storm, _| {};
        assert_eq!(at(0, &nothing, census(0, 0)), (vec![], true), "there is no link yet");
        assert_eq!(at(9, &|storm, ms| storm.on_link(true, ms), census(0, 10)), (vec![], false));
        assert_eq!(at(68, &nothing, census(0, 10)), (vec![], false), "they have time to report");
        assert_eq!(at(69, &nothing, census(9, 1)), (vec![], false));
        assert_eq!(at(70, &nothing, census(0, 2)), (vec![], false), "two hosts are no fleet");
        assert_eq!(at(71, &nothing, census(6, 4)), (vec![], false));
        assert_eq!(at(72, &nothing, census(5, 5)), (vec!["FleetSilent"], true));
        assert_eq!(at(73, &nothing, census(6, 4)), (vec![], true), "the others have time to come back");
        assert_eq!(at(131, &nothing, census(6, 4)), (vec![], true));
        assert_eq!(at(132, &nothing, census(6, 4)), (vec![], false));
        assert_eq!(at(180, &|storm, ms| storm.on_link(false, ms), census(0, 10)), (vec![], true));
        assert_eq!(at(190, &nothing, census(0, 10)), (vec!["RedisLinkDown"], true), "it names the link alone");
        assert_eq!(at(191, &|storm, ms| storm.on_link(true, ms), census(0, 10)), (vec![], false));
    }
}
