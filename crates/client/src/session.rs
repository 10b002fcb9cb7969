//! Joining a server, as a state machine: hello until a welcome comes, again when the server begins a new life or stops
//! acknowledging. No I/O and no clock of its own; the caller says what happened and when.

use std::time::Duration;

use hostwatch_wire::{Epoch, Life, ServerId, Welcome};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::clock::Moment;

const FIRST_REPEAT: Duration = Duration::from_secs(1);
const LAST_REPEAT: Duration = Duration::from_secs(15);
/// One announcement reaches a whole fleet, and a Redis that returns is found by all at once.
const FLEET_SPREAD: Duration = Duration::from_secs(1);
/// What a server may ask for; outside of it the nearest bound holds, so that no server can make a client noisy or mute.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
const ACK_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));
/// An acknowledgement is overdue this much after its interval, at the least.
const ACK_SLACK: Duration = Duration::from_secs(5);
/// The longest time from a connection on which no server answers to the next one.
const LAST_RECONNECT: Duration = Duration::from_mins(15);
/// More servers than this never share a host; the wire has the same limit.
const MAX_SERVERS: usize = 16;

/// Where the client stands with its server.
#[derive(Debug)]
pub(crate) struct Session {
    epoch: Epoch,
    random: StdRng,
    stage: Stage,
    /// When hello is to be said because of what has changed since the last one, the link included: a welcome answers an
    /// earlier one, so that nothing but the next hello fulfils the wish.
    again: Option<Moment>,
    lives: Vec<(ServerId, Life)>,
    heartbeat: Duration,
    ack_interval: Duration,
    links: u64,
    /// When the connection is given up, unless a welcome comes before. Set while joining.
    give_up: Option<Moment>,
    /// How many connections were given up since the last welcome.
    given_up: u32,
    /// No hello before this, whatever a server does.
    quiet_until: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// The link to Redis is not there.
    Away,
    /// Saying hello: when next, and how long to wait after that.
    Joining { next: Moment, wait: Duration },
    /// Welcomed by a server, which is expected to acknowledge.
    Joined { server: ServerId, ack_due: Moment },
}

/// What Redis said of those who hear the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Nobody, which is certain.
    Nobody,
    /// Perhaps somebody: a count above zero proves nothing.
    Unknown,
}

/// What a server's message meant for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// This life of the server has seen no layout yet.
    pub(crate) new_life: bool,
    /// The message was the welcome that joined the client, or joined it again.
    pub(crate) joined: bool,
}

impl Session {
    /// A session of the life `epoch`; `random` spreads its hellos.
    #[must_use]
    pub(crate) fn new(epoch: Epoch, random: StdRng) -> Self {
        Self {
            epoch,
            random,
            stage: Stage::Away,
            again: None,
            lives: Vec::new(),
            heartbeat: Duration::from_secs(10),
            ack_interval: Duration::from_secs(30),
            links: 0,
            give_up: None,
            given_up: 0,
            quiet_until: Moment::default(),
        }
    }

    /// The longest time between two reports.
    #[must_use]
    pub(crate) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// The server that has welcomed this life, while it still acknowledges.
    #[must_use]
    pub(crate) fn server(&self) -> Option<ServerId> {
        match self.stage {
            Stage::Joined { server, .. } => Some(server),
            Stage::Away | Stage::Joining { .. } => None,
        }
    }

    /// The link is up and the commands channel is subscribed. The first hello of a process goes out at once: processes
    /// start on their own, whereas all clients find a returned Redis at the same time.
    pub(crate) fn link_up(&mut self, now: Moment) {
        self.links += 1;
        let delay = if self.links == 1 { Duration::ZERO } else { self.spread() };
        let next = (now + delay).max(self.quiet_until);
        self.stage = Stage::Joining { next, wait: FIRST_REPEAT };
        self.again = Some(next);
        self.give_up = Some(now + self.patience());
    }

    /// The link is gone.
    pub(crate) fn link_down(&mut self) {
        self.stage = Stage::Away;
        self.give_up = None;
    }

    /// Has hello said again soon, because what it says has changed.
    pub(crate) fn say_again(&mut self, now: Moment) {
        let soon = (now + self.spread()).max(self.quiet_until);
        self.again = Some(self.again.map_or(soon, |again| again.min(soon)));
    }

    /// A message of a server's life came; `welcome` when it was one.
    pub(crate) fn hear(&mut self, server: ServerId, life: Life, welcome: Option<&Welcome>, now: Moment) -> Heard {
        let new_life = self.note_life(server, life);
        let Some(welcome) = welcome else {
            if new_life {
                self.say_again(now);
            }
            return Heard { new_life, joined: false };
        };
        match welcome.answers {
            Some(epoch) if epoch == self.epoch => {
                self.take_intervals(welcome);
                // Without a link this is the tail of an earlier connection: the hello that follows is answered anew.
                let joined = self.stage != Stage::Away;
                if joined {
                    self.stage = Stage::Joined { server, ack_due: now + self.ack_patience() };
                    // It came over this connection and answers what went over it: both directions work.
                    (self.give_up, self.given_up) = (None, 0);
                }
                Heard { new_life, joined }
            }
            // A welcome to another life under our name: a clone of this machine, or our own predecessor.
            Some(_) => {
                if new_life {
                    self.say_again(now);
                }
                Heard { new_life, joined: false }
            }
            None => {
                self.take_intervals(welcome);
                self.say_again(now);
                Heard { new_life, joined: false }
            }
        }
    }

    /// A server acknowledged reports of this life.
    pub(crate) fn acknowledged(&mut self, now: Moment) {
        let patience = self.ack_patience();
        if let Stage::Joined { ack_due, .. } = &mut self.stage {
            *ack_due = now + patience;
        }
    }

    /// When [`Session::poll`] has something to say.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Moment> {
        let due = match self.stage {
            Stage::Away => return None,
            Stage::Joining { next, .. } => next,
            Stage::Joined { ack_due, .. } => ack_due,
        };
        Some(self.again.map_or(due, |again| again.min(due)))
    }

    /// Whether hello is to be said now.
    pub(crate) fn poll(&mut self, now: Moment) -> bool {
        if self.next().is_none_or(|next| next > now) {
            return false;
        }
        let wait = match self.stage {
            Stage::Joining { wait, .. } => wait,
            Stage::Away | Stage::Joined { .. } => FIRST_REPEAT,
        };
        self.again = None;
        self.quiet_until = now + FIRST_REPEAT / 2;
        // Between half and the whole of the wait, so that repeats drift apart.
        let pause = wait.mul_f64(self.random.random_range(0.5..=1.0));
        self.stage = Stage::Joining { next: now + pause, wait: (wait * 2).min(LAST_REPEAT) };
        if self.give_up.is_none() {
            self.give_up = Some(now + self.patience());
        }
        true
    }

    /// Whether to try another connection, because hello after hello went out on this one and no welcome came. Not while
    /// `audience` says that nobody listens: then the server is away, and a connection would not bring it back.
    pub(crate) fn gives_up(&mut self, audience: Audience, now: Moment) -> bool {
        if self.give_up.is_none_or(|give_up| give_up > now) {
            return false;
        }
        let unheard = audience == Audience::Unknown;
        self.given_up = self.given_up.saturating_add(u32::from(unheard));
        self.give_up = Some(now + self.patience());
        unheard
    }

    /// Whether this life of the server was unknown.
    fn note_life(&mut self, server: ServerId, life: Life) -> bool {
        match self.lives.iter_mut().find(|(known, _)| *known == server) {
            Some((_, known)) if *known == life => false,
            Some((_, known)) => {
                *known = life;
                true
            }
            None => {
                if self.lives.len() == MAX_SERVERS {
                    self.lives.remove(0);
                }
                self.lives.push((server, life));
                true
            }
        }
    }

    fn take_intervals(&mut self, welcome: &Welcome) {
        self.heartbeat = Duration::from_millis(welcome.heartbeat_ms).clamp(HEARTBEAT.0, HEARTBEAT.1);
        self.ack_interval = Duration::from_millis(welcome.ack_interval_ms).clamp(ACK_INTERVAL.0, ACK_INTERVAL.1);
    }

    /// How long no welcome may come before the connection is blamed. It doubles with each connection in vain, and is random,
    /// so that a fleet does not reconnect at once.
    fn patience(&mut self) -> Duration {
        let longest = self.ack_patience().saturating_mul(1 << self.given_up.min(16)).min(LAST_RECONNECT);
        longest.mul_f64(self.random.random_range(0.5..=1.0))
    }

    /// How long an acknowledgement may take: with nothing reported there is nothing to acknowledge.
    fn ack_patience(&self) -> Duration {
        let interval = self.ack_interval.max(self.heartbeat);
        interval + (interval / 2).max(ACK_SLACK)
    }

    fn spread(&mut self) -> Duration {
        FLEET_SPREAD.mul_f64(self.random.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    const US: Epoch = Epoch(1);
    const SERVER: ServerId = ServerId(7);

    fn session() -> Session {
        Session::new(US, StdRng::seed_from_u64(1))
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn welcome(answers: Option<Epoch>) -> Welcome {
        Welcome { answers, revision: None, known: vec![], heartbeat_ms: 10_000, ack_interval_ms: 30_000 }
    }

    /// Every hello until `end`, as the client's loop would say them.
    fn hellos(session: &mut Session, end: Moment) -> Vec<u64> {
        let mut said = Vec::new();
        while let Some(next) = session.next().filter(|next| *next <= end) {
            if session.poll(next) {
                said.push(next.as_millis());
            }
        }
        said
    }

    #[test]
    fn hello_until_the_welcome_that_answers_it() {
        let mut session = session();
        assert_eq!(session.next(), None);
        session.link_up(at(1_000));
        let said = hellos(&mut session, at(200_000));
        assert_eq!(said[0], 1_000);
        let pauses: Vec<_> = said.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((500..=1_000).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[5..].iter().all(|pause| (7_500..=15_000).contains(pause)), "{pauses:?}");

        let other = session.hear(SERVER, Life(1), Some(&welcome(Some(Epoch(99)))), at(200_000));
        assert!(!other.joined && session.server().is_none());
        assert_eq!(hellos(&mut session, at(201_000)).len(), 1, "a life that was unknown");
        let ours = session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(201_100));
        assert_eq!(ours, Heard { new_life: false, joined: true });
        assert_eq!(session.server(), Some(SERVER));
        assert!(hellos(&mut session, at(240_000)).is_empty());
    }

    #[test]
    fn silence_after_the_ack_interval_starts_hello_again() {
        let mut session = session();
        session.link_up(at(0));
        session.poll(at(0));
        session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(10));
        session.acknowledged(at(30_000));
        let said = hellos(&mut session, at(80_000));
        assert!((60_000..=75_000).contains(&said[0]), "{said:?}");
        assert!(said.len() > 1, "it goes on until a welcome comes");
        assert_eq!(session.server(), None);
    }

    #[test]
    fn a_new_life_wants_a_hello_and_has_seen_no_layout() {
        let mut session = session();
        session.link_up(at(0));
        session.poll(at(0));
        assert!(session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(10)).new_life);
        assert!(!session.hear(SERVER, Life(1), None, at(20)).new_life);
        let heard = session.hear(SERVER, Life(2), None, at(5_000));
        assert_eq!(heard, Heard { new_life: true, joined: false });
        let said = session.next().unwrap();
        assert!(said <= at(6_000));
        assert!(session.poll(said));
        // Two servers side by side are two lives, not a life that changes with every message.
        assert!(session.hear(ServerId(8), Life(9), None, at(7_000)).new_life);
        assert!(!session.hear(SERVER, Life(2), None, at(7_001)).new_life);
        assert!(!session.hear(ServerId(8), Life(9), None, at(7_002)).new_life);
    }

    #[test]
    fn an_announcement_is_answered_although_the_life_is_known() {
        let mut session = session();
        session.link_up(at(0));
        session.poll(at(0));
        session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(10));
        session.hear(SERVER, Life(1), Some(&welcome(None)), at(5_000));
        assert_eq!(session.server(), Some(SERVER), "the old welcome still holds");
        assert!(session.next().unwrap() <= at(6_000));
    }

    #[test]
    fn a_welcome_answers_what_was_said_before_and_not_what_has_changed_since() {
        let mut session = session();
        session.link_up(at(0));
        session.poll(at(0));
        session.say_again(at(10));
        assert!(session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(20)).joined);
        assert_eq!(hellos(&mut session, at(1_010)).len(), 1);
        session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(1_020));
        assert!(hellos(&mut session, at(30_000)).is_empty());
    }

    #[test]
    fn without_a_link_nothing_is_said_and_nothing_is_joined() {
        let mut session = session();
        session.link_up(at(0));
        session.poll(at(0));
        session.link_down();
        assert!(!session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(10)).joined);
        assert_eq!((session.next(), session.server()), (None, None));
        session.link_up(at(60_000));
        assert!(session.next().unwrap().since(at(60_000)) <= FLEET_SPREAD);
    }

    /// The pauses between connections that are given up until `end`; each is replaced at once.
    fn given_up(session: &mut Session, audience: Audience, start: u64, end: u64) -> Vec<u64> {
        let mut moments = vec![start];
        for now in (start..end).step_by(500).map(at) {
            session.poll(now);
            if session.gives_up(audience, now) {
                moments.push(now.as_millis());
                session.link_down();
                session.link_up(now);
            }
        }
        moments.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn connections_without_an_answer_are_given_up_ever_more_rarely() {
        let mut session = session();
        session.link_up(at(0));
        let pauses = given_up(&mut session, Audience::Unknown, 0, 6 * 3_600_000);
        assert!((22_500..=45_500).contains(&pauses[0]), "{pauses:?}");
        assert!((45_000..=90_500).contains(&pauses[1]), "{pauses:?}");
        assert!(pauses[5..].iter().all(|pause| (450_000..=900_500).contains(pause)), "{pauses:?}");
        assert!(pauses.len() > 20, "it never stops: {pauses:?}");

        let now = 6 * 3_600_000;
        assert!(session.hear(SERVER, Life(1), Some(&welcome(Some(US))), at(now)).joined);
        assert!(!session.gives_up(Audience::Unknown, at(now + 60_000)), "an answer came");
        // No acknowledgement comes: hello first, and only then another connection, as soon as the first time.
        let pauses = given_up(&mut session, Audience::Unknown, now, now + 200_000);
        assert!((45_000 + 22_500..=75_000 + 45_500).contains(&pauses[0]), "{pauses:?}");
    }

    #[test]
    fn a_server_that_is_away_is_no_reason_for_another_connection() {
        let mut session = session();
        session.link_up(at(0));
        assert!(given_up(&mut session, Audience::Nobody, 0, 3_600_000).is_empty());
        let pauses = given_up(&mut session, Audience::Unknown, 3_600_000, 3_700_000);
        assert!(pauses[0] <= 45_500, "its absence has not lengthened the wait: {pauses:?}");
    }

    #[test]
    fn a_servers_intervals_are_held_within_bounds() {
        let mut session = session();
        session.link_up(at(0));
        let wild = Welcome { heartbeat_ms: 0, ack_interval_ms: u64::MAX >> 11, ..welcome(Some(US)) };
        session.hear(SERVER, Life(1), Some(&wild), at(0));
        assert_eq!((session.heartbeat(), session.ack_interval), (HEARTBEAT.0, ACK_INTERVAL.1));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Up,
        Down,
        Message(u64),
        Welcome(u64, Option<u64>),
        Ack,
        Again,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Up),
            Just(Event::Down),
            (0_u64..3).prop_map(Event::Message),
            (0_u64..3, proptest::option::of(0_u64..3)).prop_map(|(life, answers)| Event::Welcome(life, answers)),
            Just(Event::Ack),
            Just(Event::Again),
        ]
    }

    proptest! {
        #[test]
        fn never_noisy_and_never_mute(events in proptest::collection::vec((event(), 0_u64..20_000), 1..60)) {
            let (mut session, mut now, mut linked) = (session(), at(0), false);
            let (mut said, mut changed) = (Vec::new(), None::<Moment>);
            for (event, wait) in events {
                let end = now + Duration::from_millis(wait);
                let new = hellos(&mut session, end);
                if linked && let Some(since) = changed {
                    // Whatever a server has said since, what has changed is told within the spread.
                    prop_assert!(!new.is_empty() || end.since(since) <= FLEET_SPREAD, "changed at {:?}", since);
                    prop_assert!(new.first().is_none_or(|first| at(*first).since(since) <= FLEET_SPREAD));
                    changed = changed.filter(|_| new.is_empty());
                }
                said.extend(new);
                now = end;
                match event {
                    Event::Up => { session.link_up(now); linked = true; changed = Some(now); }
                    Event::Down => { session.link_down(); linked = false; }
                    Event::Message(life) => { session.hear(SERVER, Life(life), None, now); }
                    Event::Welcome(life, answers) => {
                        session.hear(SERVER, Life(life), Some(&welcome(answers.map(Epoch))), now);
                    }
                    Event::Ack => session.acknowledged(now),
                    Event::Again => { session.say_again(now); changed = changed.or(Some(now)); }
                }
                prop_assert_eq!(session.next().is_some(), linked);
                prop_assert!(session.next().is_none_or(|next| next.since(now) <= session.ack_patience()));
            }
            prop_assert!(said.windows(2).all(|pair| pair[1] - pair[0] >= 499), "{:?}", said);
        }
    }
}
