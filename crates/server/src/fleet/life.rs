//! Who lives: the state of a host, from what was heard of it and when.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Timing;
use crate::clock::Now;
use crate::inventory::Origin;

/// What a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It joined, and nobody has configured it.
    Pending,
    /// It reports.
    Up,
    /// It missed some heartbeats, or was not heard of yet.
    Stale,
    /// It is silent for longer than anything excuses.
    Down,
    /// It said goodbye.
    Left,
    /// Two clients with the same host id are alive at once.
    Conflict,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [Self::Pending, Self::Up, Self::Stale, Self::Down, Self::Left, Self::Conflict];

    /// The word for people and labels.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Stale => "stale",
            Self::Down => "down",
            Self::Left => "left",
            Self::Conflict => "conflict",
        }
    }

    /// Whether the host's own series are shown.
    #[must_use]
    pub(crate) fn is_shown(self) -> bool {
        matches!(self, Self::Up | Self::Stale)
    }
}

/// What decides about a host's state.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    state: State,
    state_since_ms: u64,
    /// When it became this state, or when this server began to watch it.
    changed: Instant,
    last_heard: Option<Instant>,
    goodbye: Option<Instant>,
    conflict_until: Option<Instant>,
}

impl Pulse {
    /// A host that was `state` when it was last seen.
    pub(super) fn new(state: State, state_since_ms: u64, now: Now) -> Self {
        let since = Duration::from_millis(now.wall_ms.saturating_sub(state_since_ms));
        // Before the machine's own start there is no such instant.
        let changed = now.monotonic.checked_sub(since).unwrap_or(now.monotonic);
        let goodbye = (state == State::Left).then_some(changed);
        Self { state, state_since_ms, changed, last_heard: None, goodbye, conflict_until: None }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn state_since_ms(&self) -> u64 {
        self.state_since_ms
    }

    /// When the host was last heard of, or since when it is watched.
    pub(super) fn quiet_since(&self) -> Instant {
        self.last_heard.unwrap_or(self.changed)
    }

    /// The host said hello.
    pub(super) fn greeted(&mut self, now: Now) {
        self.last_heard = Some(now.monotonic);
        self.goodbye = None;
    }

    /// Any other valid message of the current epoch came. What is still under way after a goodbye does not undo it.
    pub(super) fn heard(&mut self, now: Now) {
        if self.goodbye.is_none() {
            self.last_heard = Some(now.monotonic);
        }
    }

    /// The host said goodbye.
    pub(super) fn said_goodbye(&mut self, now: Now) {
        self.goodbye = Some(now.monotonic);
    }

    /// Whether two clients are known to be alive at once.
    pub(super) fn is_in_conflict(&self, now: Now) -> bool {
        self.conflict_until.is_some_and(|until| now.monotonic < until)
    }

    /// An epoch that had been followed by another one spoke again.
    pub(super) fn conflict_until(&mut self, until: Instant) {
        self.conflict_until = Some(until);
    }

    /// Judges anew; true when the state is another one. Only silence while we could hear (`connected_since`) makes a
    /// host down, but a host that nobody hears is stale, whoever is to blame.
    pub(super) fn judge(
        &mut self,
        origin: Option<Origin>,
        timing: &Timing,
        connected_since: Option<Instant>,
        now: Now,
    ) -> bool {
        let state = self.verdict(origin, timing, connected_since, now);
        if state == self.state {
            return false;
        }
        self.state = state;
        self.state_since_ms = now.wall_ms;
        self.changed = now.monotonic;
        true
    }

    fn verdict(&self, origin: Option<Origin>, timing: &Timing, connected_since: Option<Instant>, now: Now) -> State {
        let Some(origin) = origin else { return State::Pending };
        if self.is_in_conflict(now) {
            return State::Conflict;
        }
        if let Some(goodbye) = self.goodbye {
            let excused = origin == Origin::Matched || now.since(goodbye) < timing.left_grace;
            return if excused { State::Left } else { State::Down };
        }
        let Some(heard) = self.last_heard else {
            let waited = connected_since.map(|since| now.since(since.max(self.changed)));
            let given_up = self.state == State::Down || waited.is_some_and(|waited| waited >= timing.down_after);
            return if given_up { State::Down } else { State::Stale };
        };
        let in_vain = connected_since.map(|since| now.since(since.max(heard)));
        if now.since(heard) < timing.silence() {
            State::Up
        } else if in_vain.is_some_and(|in_vain| in_vain >= timing.down_after)
            || (self.state == State::Down && heard < self.changed)
        {
            State::Down
        } else {
            State::Stale
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timing() -> Timing {
        Timing {
            heartbeat: 10 * SECOND,
            down_after: 60 * SECOND,
            left_grace: 600 * SECOND,
            forget_after: 86_400 * SECOND,
            ack_interval: 30 * SECOND,
            silent_percent: 50,
        }
    }

    /// The state at each of `seconds`, of a host that was heard of at 0.
    fn states(pulse: &mut Pulse, origin: Origin, connected: Option<u64>, start: Now, seconds: &[u64]) -> Vec<State> {
        seconds
            .iter()
            .map(|second| {
                let now = Now { monotonic: start.monotonic + *second as u32 * SECOND, ..start };
                let since = connected.map(|since| start.monotonic + since as u32 * SECOND);
                pulse.judge(Some(origin), &timing(), since, now);
                pulse.state()
            })
            .collect()
    }

    #[test]
    fn silence() {
        use State::{Down, Stale, Up};
        let now = Now::read();
        let mut pulse = Pulse::new(Stale, now.wall_ms, now);
        pulse.heard(now);
        let seen = states(&mut pulse, Origin::Configured, Some(0), now, &[1, 29, 30, 59, 60, 1_000]);
        assert_eq!(seen, [Up, Up, Stale, Stale, Down, Down]);
    }

    #[test]
    fn nobody_is_down_while_we_could_not_hear() {
        use State::{Down, Stale, Up};
        let now = Now::read();
        let mut pulse = Pulse::new(Stale, now.wall_ms, now);
        pulse.heard(now);
        assert_eq!(states(&mut pulse, Origin::Configured, None, now, &[1, 30, 1_000]), [Up, Stale, Stale]);
        assert_eq!(states(&mut pulse, Origin::Configured, Some(1_000), now, &[1_059, 1_060]), [Stale, Down]);
        assert_eq!(states(&mut pulse, Origin::Configured, Some(1_070), now, &[1_071]), [Down], "it was down already");
    }

    #[test]
    fn a_host_that_was_never_heard_of_is_down_in_the_end() {
        use State::{Down, Stale};
        let now = Now::read();
        let mut pulse = Pulse::new(Stale, now.wall_ms, now);
        assert_eq!(states(&mut pulse, Origin::Configured, Some(5), now, &[1, 64, 65]), [Stale, Stale, Down]);
    }

    #[test]
    fn a_restart_of_the_server_excuses_nobody() {
        let now = Now::read();
        let left_before = now.wall_ms - 599_000;
        let mut pulse = Pulse::new(State::Left, left_before, now);
        let seen = states(&mut pulse, Origin::Configured, Some(0), now, &[0, 1]);
        assert_eq!(seen, [State::Left, State::Down]);
    }

    #[test]
    fn a_goodbye_is_believed_for_a_while() {
        use State::{Down, Left, Up};
        let now = Now::read();
        let mut pulse = Pulse::new(Up, now.wall_ms, now);
        pulse.heard(now);
        pulse.said_goodbye(now);
        assert_eq!(states(&mut pulse, Origin::Configured, Some(0), now, &[1, 599, 600]), [Left, Left, Down]);
        let mut pulse = Pulse::new(Up, now.wall_ms, now);
        pulse.heard(now);
        pulse.said_goodbye(now);
        assert_eq!(states(&mut pulse, Origin::Matched, Some(0), now, &[1, 100_000]), [Left, Left]);
    }
}
