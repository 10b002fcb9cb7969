//! Basic authentication (RFC 7617) against bcrypt hashes, which are slow on purpose: so each right password is hashed once
//! and remembered, and wrong ones can take one thread, not more.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hostwatch_daemon::Secret;
use prometheus::IntCounter;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Logins that are remembered, each a user with a password: more than there are Prometheus servers and people.
const MAX_KNOWN: usize = 256;
/// Passwords that are hashed at once: whoever guesses takes one processor at most.
const MAX_HASHING: usize = 1;
/// Requests that wait for that, the one whose turn it is among them; a further one is turned away.
const MAX_WAITING: usize = 32;

/// Who may log in.
#[derive(Debug)]
pub(super) struct Users {
    hashes: HashMap<String, Secret>,
    /// What a user who does not exist is compared with, so that the time of the answer does not tell: the dearest hash.
    decoy: Secret,
}

impl Users {
    /// Names and hashes with what each costs; `None` when there are none, so that nobody has to log in.
    pub(super) fn new(users: Vec<(String, Secret, u32)>) -> Option<Self> {
        let (_, decoy, _) = users.iter().max_by_key(|(.., cost)| *cost)?;
        let decoy = decoy.clone();
        Some(Self { hashes: users.into_iter().map(|(name, hash, _)| (name, hash)).collect(), decoy })
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may pass.
    Granted,
    /// It names no user, or one that does not exist, or a wrong password.
    Refused,
    /// Too many passwords wait to be hashed.
    Busy,
}

/// Checks passwords. Only what was right is remembered, under a digest with a salt of this process.
#[derive(Debug)]
pub(super) struct Logins {
    salt: [u8; 32],
    known: Mutex<HashSet<[u8; 32]>>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    /// Wrong users or passwords; a request without any is how a browser begins.
    refused: IntCounter,
    rejected: IntCounter,
}

impl Logins {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            salt: rand::random(),
            known: Mutex::default(),
            hashing: Arc::new(Semaphore::new(MAX_HASHING)),
            waiting: Semaphore::new(MAX_WAITING),
            refused: metrics.logins_refused.clone(),
            rejected: metrics.logins_rejected.clone(),
        }
    }

    /// Whether the user and the password in the headers are right.
    pub(super) async fn admit(&self, users: &Users, headers: &HeaderMap) -> Admission {
        let Some((user, password)) = credentials(headers) else { return Admission::Refused };
        let known = users.hashes.get(&user);
        let hash = known.unwrap_or(&users.decoy);
        let login = self.digest(&user, hash, &password);
        if known.is_some() && self.known().contains(&login) {
            return Admission::Granted;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            self.rejected.inc();
            return Admission::Busy;
        };
        let Ok(turn) = Arc::clone(&self.hashing).acquire_owned().await else { return Admission::Busy };
        let hash = hash.clone();
        let right = tokio::task::spawn_blocking(move || {
            // Held here and not by the request: one whose client has gone is hashed to its end all the same.
            let _turn = turn;
            bcrypt::verify(&password, hash.expose()).unwrap_or(false)
        });
        if !right.await.unwrap_or(false) || known.is_none() {
            self.refused.inc();
            return Admission::Refused;
        }
        self.remember(login);
        Admission::Granted
    }

    fn remember(&self, login: [u8; 32]) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            // Any one: it costs its owner one hash.
            let one = known.iter().next().copied();
            one.map(|one| known.remove(&one));
        }
        known.insert(login);
    }

    /// With the hash in it, so that a new password of a user ends the old one.
    fn digest(&self, user: &str, hash: &Secret, password: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.salt);
        for part in [user.as_bytes(), hash.expose().as_bytes(), password] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user and the password of `Authorization: Basic …`.
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn users(users: &[(&str, &str)]) -> Users {
        let hashed = users.iter().map(|(user, password)| {
            let hash = bcrypt::hash(password, 4).unwrap();
            ((*user).to_owned(), Secret::new(hash), 4)
        });
        Users::new(hashed.collect()).unwrap()
    }

    fn logins() -> Logins {
        Logins::new(&Metrics::new().unwrap())
    }

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
    }

    fn basic(user: &str, password: &str) -> HeaderMap {
        headers(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }

    #[tokio::test]
    async fn a_right_password_passes_and_is_hashed_once() {
        let (users, logins) = (users(&[("bob", "pass:word"), ("eve", "x")]), logins());
        assert_eq!(logins.admit(&users, &basic("bob", "pass:word")).await, Admission::Granted);
        // Nobody can hash any more: what passes now was remembered.
        logins.hashing.close();
        assert_eq!(logins.admit(&users, &basic("bob", "pass:word")).await, Admission::Granted);
        assert_eq!(logins.admit(&users, &basic("eve", "x")).await, Admission::Busy);
        assert_eq!(logins.refused.get(), 0);
    }

    #[tokio::test]
    async fn whatever_else_is_refused() {
        let (users, logins) = (users(&[("bob", "password")]), logins());
        for (user, password) in [("bob", "Password"), ("bob", ""), ("alice", "password"), ("", "")] {
            assert_eq!(logins.admit(&users, &basic(user, password)).await, Admission::Refused, "{user}:{password}");
        }
        assert_eq!(logins.refused.get(), 4);
        for authorization in ["Basic", "Basic ", "Basic !", "Basic Ym9i", "Bearer Ym9iOnBhc3N3b3Jk", "Basic /zph"] {
            assert_eq!(logins.admit(&users, &headers(authorization)).await, Admission::Refused, "{authorization}");
        }
        assert_eq!(logins.admit(&users, &HeaderMap::new()).await, Admission::Refused);
        assert_eq!(logins.refused.get(), 4, "who shows no user and password has not guessed");
    }

    #[tokio::test]
    async fn a_new_hash_ends_the_old_password_even_if_it_was_remembered() {
        let logins = logins();
        let (before, after) = (users(&[("bob", "old")]), users(&[("bob", "new")]));
        assert_eq!(logins.admit(&before, &basic("bob", "old")).await, Admission::Granted);
        assert_eq!(logins.admit(&after, &basic("bob", "old")).await, Admission::Refused);
        assert_eq!(logins.admit(&after, &basic("bob", "new")).await, Admission::Granted);
        let gone = users(&[("eve", "x")]);
        assert_eq!(logins.admit(&gone, &basic("bob", "old")).await, Admission::Refused);
    }

    #[tokio::test]
    async fn guesses_wait_in_a_short_line_and_who_is_known_passes_it() {
        let (users, logins) = (users(&[("bob", "password")]), logins());
        assert_eq!(logins.admit(&users, &basic("bob", "password")).await, Admission::Granted);
        let turn = Arc::clone(&logins.hashing).acquire_owned().await.unwrap();
        let headers: Vec<_> = (0..MAX_WAITING).map(|guess| basic("bob", &format!("guess {guess}"))).collect();
        let mut guesses: Vec<_> = headers.iter().map(|headers| Box::pin(logins.admit(&users, headers))).collect();
        for guess in &mut guesses {
            assert!(futures_util::poll!(guess.as_mut()).is_pending());
        }
        assert_eq!(logins.admit(&users, &basic("bob", "one more")).await, Admission::Busy);
        assert_eq!(logins.admit(&users, &basic("bob", "password")).await, Admission::Granted);
        drop(turn);
        for guess in guesses {
            assert_eq!(guess.await, Admission::Refused);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let logins = logins();
        for number in 0..2 * MAX_KNOWN {
            logins.remember([number as u8; 32]);
            logins.remember(logins.digest("bob", &Secret::new("hash"), &number.to_le_bytes()));
        }
        assert_eq!(logins.known().len(), MAX_KNOWN);
    }
}
