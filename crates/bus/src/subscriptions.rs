//! What is to be subscribed, and what the present connection has been asked for. No I/O.
//!
//! Callers only change the wish. The driver carries the difference to Redis, in the order of the changes, so that a caller
//! that gives up half-way, or two that cross, can not leave a wanted channel without its subscription.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// The most names in one command; 10,000 channels make 20 commands.
const NAMES_PER_COMMAND: usize = 500;

/// A name to listen to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Channel(String),
    Pattern(String),
}

/// How many changes had been asked for; a change is settled once that many have been carried out.
pub(crate) type Ticket = u64;

/// The wanted subscriptions, and the changes that the present connection has still to make.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    wanted: BTreeSet<Subject>,
    /// What the present connection was asked for, confirmed or not; a refusal ends the connection.
    asked: BTreeSet<Subject>,
    changes: VecDeque<Subject>,
    /// Whether there is a connection that carries changes out. Without one they are not queued: `begin` queues all.
    open: bool,
    last: Ticket,
}

/// One command for Redis.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) verb: Verb,
    pub(crate) names: Vec<String>,
    /// Every change up to this one is settled once Redis has confirmed the command.
    pub(crate) through: Ticket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
    Psubscribe,
    Punsubscribe,
}

impl Subscriptions {
    pub(crate) fn want(&mut self, subjects: impl IntoIterator<Item = Subject>) -> Ticket {
        for subject in subjects {
            if self.wanted.insert(subject.clone()) {
                self.queue(subject);
            }
        }
        self.last
    }

    pub(crate) fn unwant(&mut self, subjects: impl IntoIterator<Item = Subject>) -> Ticket {
        for subject in subjects {
            if self.wanted.remove(&subject) {
                self.queue(subject);
            }
        }
        self.last
    }

    pub(crate) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The ticket of the newest change. It is settled when `next_batch` finds nothing left to do.
    pub(crate) fn last(&self) -> Ticket {
        self.last
    }

    /// A new connection: nothing is subscribed on it yet.
    pub(crate) fn begin(&mut self) {
        self.end();
        self.open = true;
        self.last += self.wanted.len() as Ticket;
        self.changes.extend(self.wanted.iter().cloned());
    }

    /// The connection is gone, and its subscriptions with it.
    pub(crate) fn end(&mut self) {
        self.open = false;
        self.asked.clear();
        self.changes.clear();
    }

    /// The next command that brings Redis nearer to the wish; `None` when nothing is left to do.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        while let Some(subject) = self.changes.front() {
            if let Some(verb) = self.verb_for(subject) {
                let batch = batch.get_or_insert_with(|| Batch { verb, names: Vec::new(), through: 0 });
                if batch.verb != verb || batch.names.len() == NAMES_PER_COMMAND {
                    break;
                }
                let (Subject::Channel(name) | Subject::Pattern(name)) = subject;
                batch.names.push(name.clone());
                if matches!(verb, Verb::Subscribe | Verb::Psubscribe) {
                    self.asked.insert(subject.clone());
                } else {
                    self.asked.remove(subject);
                }
            }
            self.changes.pop_front();
            if let Some(batch) = &mut batch {
                batch.through = self.last - self.changes.len() as Ticket;
            }
        }
        batch
    }

    fn queue(&mut self, subject: Subject) {
        if self.open {
            self.last += 1;
            self.changes.push_back(subject);
        }
    }

    fn verb_for(&self, subject: &Subject) -> Option<Verb> {
        match (subject, self.wanted.contains(subject), self.asked.contains(subject)) {
            (Subject::Channel(_), true, false) => Some(Verb::Subscribe),
            (Subject::Channel(_), false, true) => Some(Verb::Unsubscribe),
            (Subject::Pattern(_), true, false) => Some(Verb::Psubscribe),
            (Subject::Pattern(_), false, true) => Some(Verb::Punsubscribe),
            (_, true, true) | (_, false, false) => None,
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.verb, self.names.first().map_or("", String::as_str))?;
        match self.names.len() {
            0 | 1 => Ok(()),
            names => write!(f, " and {} more", names - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Subject> {
        names.iter().map(|name| Subject::Channel((*name).into())).collect()
    }

    fn pattern(name: &str) -> [Subject; 1] {
        [Subject::Pattern(name.into())]
    }

    fn check(subscriptions: &mut Subscriptions, expected: &[(Verb, &[&str])]) -> Ticket {
        let mut through = 0;
        for (verb, names) in expected {
            let batch = subscriptions.next_batch().unwrap();
            assert_eq!((batch.verb, batch.names.iter().map(String::as_str).collect()), (*verb, names.to_vec()));
            through = batch.through;
        }
        assert_eq!(subscriptions.next_batch(), None);
        through
    }

    #[test]
    fn every_connection_begins_with_all_that_is_wanted() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(channels(&["b", "a"]));
        subscriptions.want(pattern("p*"));
        assert_eq!(subscriptions.next_batch(), None, "there is no connection yet");
        for _ in 0..2 {
            subscriptions.begin();
            check(&mut subscriptions, &[(Verb::Subscribe, &["a", "b"]), (Verb::Psubscribe, &["p*"])]);
        }
        subscriptions.end();
        subscriptions.unwant(channels(&["a"]));
        subscriptions.begin();
        check(&mut subscriptions, &[(Verb::Subscribe, &["b"]), (Verb::Psubscribe, &["p*"])]);
    }

    #[test]
    fn changes_are_made_in_their_order_and_settle_the_tickets_of_their_callers() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.begin();
        let first = subscriptions.want(channels(&["a", "b"]));
        let second = subscriptions.unwant(channels(&["b"]));
        let third = subscriptions.want(pattern("p*"));
        assert!(first < second && second < third);
        let batch = subscriptions.next_batch().unwrap();
        assert_eq!((batch.verb, batch.names), (Verb::Subscribe, vec!["a".to_owned()]));
        assert_eq!(batch.through, second, "b is wanted no more, so there is nothing to ask for");
        assert_eq!(check(&mut subscriptions, &[(Verb::Psubscribe, &["p*"])]), third);
        assert_eq!(subscriptions.want(channels(&["a"])), third, "it is there already");
        subscriptions.unwant(channels(&["a"]));
        subscriptions.unwant(pattern("p*"));
        check(&mut subscriptions, &[(Verb::Unsubscribe, &["a"]), (Verb::Punsubscribe, &["p*"])]);
        assert_eq!(subscriptions.len(), 0);
    }

    #[test]
    fn a_wish_that_came_back_before_it_was_carried_out_changes_nothing() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.begin();
        subscriptions.want(channels(&["a"]));
        check(&mut subscriptions, &[(Verb::Subscribe, &["a"])]);
        subscriptions.unwant(channels(&["a"]));
        subscriptions.want(channels(&["a"]));
        assert_eq!(subscriptions.next_batch(), None);
    }

    #[test]
    fn many_names_are_spread_over_several_commands() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want((0..1001).map(|number| Subject::Channel(number.to_string())));
        subscriptions.begin();
        let sizes: Vec<_> = std::iter::from_fn(|| subscriptions.next_batch()).map(|batch| batch.names.len()).collect();
        assert_eq!(sizes, [500, 500, 1]);
    }

    #[test]
    fn a_command_is_told_by_its_first_name() {
        let told = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Batch { verb: Verb::Subscribe, names, through: 1 }.to_string()
        };
        assert_eq!(told(&["a"]), "Subscribe a");
        assert_eq!(told(&["a", "b", "c"]), "Subscribe a and 2 more");
    }
}
