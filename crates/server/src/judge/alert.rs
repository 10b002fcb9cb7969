//! The alerts of one rule in one place, a host or the fleet, and how each moves between its states. Pure.
//!
//! `inactive → pending → firing → resolved`, as Prometheus has it, with two differences: a firing alert with a `recover`
//! waits for that, and where there is no data nothing moves at all.

use hostwatch_rules::Labels;
use serde::{Deserialize, Serialize};

use crate::inventory::AlertRule;

/// So many alerts one rule may have in one place: a label with a value of its own for everything is a mistake.
const MAX_ALERTS: usize = 1_000;
/// An alert is forgotten when its series have been gone for so long while the rule itself had data: a disk that was taken
/// out does not come back.
const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

/// What an evaluation says of one set of labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Condition {
    /// There is a result, with this value.
    Holds(f64),
    /// There is data, and no result.
    Fails,
    /// There is nothing to judge by.
    NoData,
}

/// What an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Its condition holds, not yet for long enough.
    Pending,
    /// People are to know of it.
    Firing,
}

/// One alert. All times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alert {
    /// The labels of the result that raised it: no two alerts of a rule in one place have the same.
    pub result: Labels,
    /// All its labels, `alertname` and `instance` among them.
    pub labels: Labels,
    /// What it is.
    pub phase: Phase,
    /// When its condition began to hold.
    pub since_ms: i64,
    /// How long of the time since then there was no data: it does not count towards `for`.
    pub unseen_ms: i64,
    /// When it began to fire.
    pub fired_ms: Option<i64>,
    /// When its condition ended, while `keep_firing_for` runs.
    pub ended_ms: Option<i64>,
    /// Since when there is no data.
    pub no_data_ms: Option<i64>,
    /// The value of the last result.
    pub value: f64,
}

/// How an alert moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Its condition holds.
    Pended,
    /// Its condition has held for long enough.
    Fired,
    /// It was pending, and its condition ended.
    Dropped,
    /// It was firing, and has recovered.
    Resolved,
    /// Its data ceased to come.
    LostData,
    /// Its data comes again.
    FoundData,
    /// Its series have been gone for a day.
    Forgotten,
}

impl Move {
    /// Whether the alert is over with it.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Dropped | Self::Resolved | Self::Forgotten)
    }
}

/// How long things have to take for a rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// `for`, in milliseconds.
    pub hold_ms: i64,
    /// `keep_firing_for`, in milliseconds.
    pub keep_ms: i64,
}

impl From<&AlertRule> for Delays {
    fn from(rule: &AlertRule) -> Self {
        Self { hold_ms: rule.hold.as_millis() as i64, keep_ms: rule.keep_firing_for.as_millis() as i64 }
    }
}

impl Alert {
    /// An alert whose condition holds from now on.
    fn begin(result: Labels, labels: Labels, value: f64, now_ms: i64) -> Self {
        Self {
            result,
            labels,
            phase: Phase::Pending,
            since_ms: now_ms,
            unseen_ms: 0,
            fired_ms: None,
            ended_ms: None,
            no_data_ms: None,
            value,
        }
    }

    /// When time alone may move it.
    fn deadline(&self, delays: Delays) -> Option<i64> {
        match (self.phase, self.ended_ms) {
            _ if self.no_data_ms.is_some() => None,
            (Phase::Pending, _) => Some(self.since_ms.saturating_add(self.unseen_ms).saturating_add(delays.hold_ms)),
            (Phase::Firing, Some(ended)) => Some(ended.saturating_add(delays.keep_ms)),
            (Phase::Firing, None) => None,
        }
    }

    /// Moves it. `recover` says how the recovery's condition stands, for a rule that has one.
    fn step(
        &mut self,
        condition: Condition,
        recover: Option<Condition>,
        delays: Delays,
        now_ms: i64,
        mut moved: impl FnMut(&Self, Move),
    ) {
        if condition == Condition::NoData {
            match self.no_data_ms {
                None => {
                    self.no_data_ms = Some(now_ms);
                    moved(self, Move::LostData);
                }
                Some(lost) if now_ms.saturating_sub(lost) >= FORGET_AFTER_MS => moved(self, Move::Forgotten),
                Some(_) => {}
            }
            return;
        }
        if let Some(lost) = self.no_data_ms.take() {
            self.unseen_ms = self.unseen_ms.saturating_add(now_ms.saturating_sub(lost).max(0));
            moved(self, Move::FoundData);
        }
        match (condition, self.phase) {
            (Condition::Holds(value), phase) => {
                (self.value, self.ended_ms) = (value, None);
                if phase == Phase::Pending && self.deadline(delays).is_some_and(|deadline| now_ms >= deadline) {
                    (self.phase, self.fired_ms) = (Phase::Firing, Some(now_ms));
                    moved(self, Move::Fired);
                }
            }
            (_, Phase::Pending) => moved(self, Move::Dropped),
            (_, Phase::Firing) => {
                let recovered = recover.is_none_or(|recover| matches!(recover, Condition::Holds(_)));
                // An alert that has begun to recover does not have to do so again.
                if recovered || self.ended_ms.is_some() {
                    let ended = *self.ended_ms.get_or_insert(now_ms);
                    if now_ms.saturating_sub(ended) >= delays.keep_ms {
                        moved(self, Move::Resolved);
                    }
                }
            }
        }
    }
}

/// The alerts of one rule in one place.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    alerts: Vec<Alert>,
    /// Since when the rule as a whole has no data here.
    pub no_data_ms: Option<i64>,
}

/// How a rule stands, by the labels of its results.
pub(crate) trait Outlook {
    /// What holds, with its value; the labels are those of the results.
    fn holding(&self) -> impl Iterator<Item = (&Labels, f64)>;
    /// The condition of one alert.
    fn condition(&self, result: &Labels) -> Condition;
    /// The condition of its recovery; nothing for a rule without one.
    fn recover(&self, result: &Labels) -> Option<Condition>;
    /// All labels that an alert of this result gets.
    fn labels(&self, result: &Labels) -> Labels;
}

impl Alerts {
    /// As they were saved.
    pub(crate) fn restored(alerts: Vec<Alert>) -> Self {
        Self { alerts, no_data_ms: None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// Gives all of them their labels anew.
    pub(crate) fn relabel(&mut self, labels: impl Fn(&Labels) -> Labels) {
        for alert in &mut self.alerts {
            alert.labels = labels(&alert.result);
        }
    }

    /// Ends all of them, whatever they are.
    pub(crate) fn take(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts)
    }

    /// When time alone may move one of them.
    pub(crate) fn deadline(&self, delays: Delays) -> Option<i64> {
        self.alerts.iter().filter_map(|alert| alert.deadline(delays)).min()
    }

    /// There is nothing to judge any of them by.
    pub(crate) fn lose_data(&mut self, delays: Delays, now_ms: i64, mut moved: impl FnMut(&Alert, Move)) {
        self.no_data_ms.get_or_insert(now_ms);
        for alert in self.alerts.iter_mut().filter(|alert| alert.no_data_ms.is_none()) {
            alert.step(Condition::NoData, None, delays, now_ms, &mut moved);
        }
    }

    /// Moves all of them, and raises new ones.
    pub(crate) fn judge(
        &mut self,
        outlook: &impl Outlook,
        delays: Delays,
        now_ms: i64,
        mut moved: impl FnMut(&Alert, Move),
    ) {
        self.no_data_ms = None;
        for (result, value) in outlook.holding() {
            let known = self.alerts.iter().any(|alert| alert.result == *result);
            if !known && self.alerts.len() < MAX_ALERTS {
                let alert = Alert::begin(result.clone(), outlook.labels(result), value, now_ms);
                moved(&alert, Move::Pended);
                self.alerts.push(alert);
            }
        }
        self.alerts.retain_mut(|alert| {
            let (condition, recover) = (outlook.condition(&alert.result), outlook.recover(&alert.result));
            let mut kept = true;
            alert.step(condition, recover, delays, now_ms, |alert, step| {
                kept &= !step.ends();
                moved(alert, step);
            });
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000;

    /// One set of labels, and whether it recovers.
    struct One {
        labels: Labels,
        condition: Condition,
        recover: Option<Condition>,
    }

    impl Outlook for One {
        fn holding(&self) -> impl Iterator<Item = (&Labels, f64)> {
            let value = if let Condition::Holds(value) = self.condition { Some(value) } else { None };
            value.map(|value| (&self.labels, value)).into_iter()
        }

        fn condition(&self, _: &Labels) -> Condition {
            self.condition
        }

        fn recover(&self, _: &Labels) -> Option<Condition> {
            self.recover
        }

        fn labels(&self, result: &Labels) -> Labels {
            result.clone()
        }
    }

    /// Judges at each second what the words say: `+` holds, `-` fails, `r` fails and recovers, `?` has no data. The moves are
    /// written behind the second in which they happen.
    fn moves(words: &str, hold: i64, keep: i64, has_recover: bool) -> Vec<String> {
        let delays = Delays { hold_ms: hold * SECOND, keep_ms: keep * SECOND };
        let mut alerts = Alerts::default();
        let mut seen = Vec::new();
        for (second, word) in words.chars().enumerate() {
            let (condition, recover) = match word {
                '+' => (Condition::Holds(1.0), Condition::Fails),
                '-' => (Condition::Fails, Condition::Fails),
                'r' => (Condition::Fails, Condition::Holds(1.0)),
                _ => (Condition::NoData, Condition::NoData),
            };
            let labels = Labels::new([("mode", "idle")]);
            let outlook = One { labels, condition, recover: has_recover.then_some(recover) };
            alerts.judge(&outlook, delays, second as i64 * SECOND, |_, step| seen.push(format!("{second} {step:?}")));
        }
        seen
    }

    #[test]
    fn an_alert_fires_when_its_condition_has_held_for_long_enough() {
        assert_eq!(moves("-++++-", 2, 0, false), ["1 Pended", "3 Fired", "5 Resolved"]);
        assert_eq!(moves("+-+", 2, 0, false), ["0 Pended", "1 Dropped", "2 Pended"]);
        assert_eq!(moves("+-", 0, 0, false), ["0 Pended", "0 Fired", "1 Resolved"]);
    }

    #[test]
    fn hysteresis() {
        assert_eq!(moves("+--+--r-", 0, 0, true), ["0 Pended", "0 Fired", "6 Resolved"]);
        assert_eq!(moves("+-", 5, 0, true), ["0 Pended", "1 Dropped"], "what did not fire need not recover");
    }

    #[test]
    fn an_alert_goes_on_firing_for_a_while() {
        assert_eq!(moves("+---", 0, 2, false), ["0 Pended", "0 Fired", "3 Resolved"]);
        assert_eq!(moves("+-+---", 0, 2, false), ["0 Pended", "0 Fired", "5 Resolved"], "it begins anew");
        assert_eq!(moves("+-r---", 0, 2, true), ["0 Pended", "0 Fired", "4 Resolved"], "the recovery starts it");
    }

    #[test]
    fn without_data_nothing_fires_and_nothing_ends() {
        assert_eq!(moves("+????", 2, 0, false), ["0 Pended", "1 LostData"]);
        let resumed = moves("+??+++", 2, 0, false);
        assert_eq!(resumed, ["0 Pended", "1 LostData", "3 FoundData", "4 Fired"], "what nobody saw does not count");
        assert_eq!(moves("+??-", 0, 0, false), ["0 Pended", "0 Fired", "1 LostData", "3 FoundData", "3 Resolved"]);
        assert_eq!(moves("????", 0, 0, false), Vec::<String>::new());
    }

    #[test]
    fn a_deadline_is_when_time_alone_may_move_an_alert() {
        let delays = Delays { hold_ms: 5 * SECOND, keep_ms: 3 * SECOND };
        let mut alerts = Alerts::default();
        let outlook = |condition| One { labels: Labels::new([("a", "b")]), condition, recover: None };
        assert_eq!(alerts.deadline(delays), None);
        alerts.judge(&outlook(Condition::Holds(1.0)), delays, SECOND, |_, _| {});
        assert_eq!(alerts.deadline(delays), Some(6 * SECOND));
        alerts.judge(&outlook(Condition::Holds(1.0)), delays, 6 * SECOND, |_, _| {});
        assert_eq!(alerts.deadline(delays), None, "it fires");
        alerts.judge(&outlook(Condition::Fails), delays, 7 * SECOND, |_, _| {});
        assert_eq!(alerts.deadline(delays), Some(10 * SECOND));
        alerts.lose_data(delays, 8 * SECOND, |_, _| {});
        assert_eq!((alerts.deadline(delays), alerts.no_data_ms), (None, Some(8 * SECOND)));
    }
}
