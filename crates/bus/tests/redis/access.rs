//! Redis refuses: passwords, users and their rights. Each refusal is told, and the link recovers when it is lifted.

use std::io;
use std::sync::{Mutex, Once};

use hostwatch_bus::{Error, LinkState, Password, Settings};

use crate::guard::{Bus, Redis, login, names, settings};

#[tokio::test]
async fn a_wrong_password_is_told_without_the_password_until_it_is_right() {
    LOG.install();
    let redis = Redis::start_with(&["--requirepass", "right"]).await;
    let bus = Bus::start(Settings { password: Some(Password::new("sesame")), ..settings(&redis.tcp_url()) });
    bus.waits("WRONGPASS").await;
    bus.reaches(|state| matches!(state, LinkState::Waiting { attempts: 5.., .. })).await;
    redis.set(&["ACL", "SETUSER", "default", ">sesame"]);
    bus.connected(1).await;
    assert_eq!(redis.cli(&["CLIENT", "KILL", "ID", &id(&redis)]), "1");
    bus.connected(2).await;
    let text = LOG.lines_with(&redis.tcp_url());
    for (part, count) in [
        ("can not connect to Redis: refused by Redis: WRONGPASS", 3),
        ("INFO", 2),
        ("generation=2", 1),
        ("lost the connection to Redis", 1),
    ] {
        assert_eq!(text.lines().filter(|line| line.contains(part)).count(), count, "{part}:\n{text}");
    }
    assert!(!text.contains("sesame"), "{text}");
}

fn id(redis: &Redis) -> String {
    let clients = redis.cli(&["CLIENT", "LIST"]);
    let client = clients.lines().find(|line| line.contains("name=hostwatch-test ")).unwrap();
    client.trim_start_matches("id=").split(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_missing_password_is_told() {
    let redis = Redis::start_with(&["--requirepass", "right"]).await;
    let bus = Bus::start(settings(&redis.unix_url()));
    bus.waits("NOAUTH").await;
}

#[tokio::test]
async fn a_redis_that_repeats_the_login_does_not_bring_the_password_out() {
    let redis = Redis::start_with(&["--rename-command", "HELLO", ""]).await;
    let bus = Bus::start(login(&redis.unix_url(), "user", "sesame"));
    let reason = bus.waits("HELLO").await;
    assert!(!reason.contains("sesame"), "{reason}");
}

#[tokio::test]
async fn a_user_without_a_password_is_not_taken_for_the_default_user() {
    let redis = Redis::start().await;
    redis.user("web1", "on nopass resetchannels -@all +ping");
    let bus = Bus::start(Settings { username: Some("web1".into()), ..settings(&redis.unix_url()) });
    bus.connected(1).await;
    assert!(redis.cli(&["CLIENT", "LIST"]).contains(" user=web1 "));
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_made_once_it_is_granted() {
    let redis = Redis::start().await;
    redis.user("web1", "on >pw resetchannels -@all +ping +client|setname +publish");
    let mut bus = Bus::start(login(&redis.unix_url(), "web1", "pw"));
    bus.connected(1).await;
    let refusal = bus.link.subscribe(&names(&["hostwatch:{web1}:commands"])).await;
    assert!(matches!(&refusal, Err(Error::Refused(text)) if text.contains("NOPERM")), "{refusal:?}");
    let reason = bus.waits("NOPERM").await;
    assert!(reason.contains("Subscribe hostwatch:{web1}:commands"), "{reason}");
    // The command alone is not enough, the channel has to be granted too.
    redis.user("web1", "+subscribe");
    bus.waits("channels").await;
    redis.user("web1", "&hostwatch:{web1}:commands");
    bus.connected(2).await;
    assert_eq!(redis.cli(&["PUBLISH", "hostwatch:{web1}:commands", "hello"]), "1");
    bus.receives("hostwatch:{web1}:commands", "hello").await;
    // Redis drops a subscriber whose right is taken away.
    redis.user("web1", "resetchannels");
    bus.waits("NOPERM").await;
    redis.user("web1", "&hostwatch:{web1}:commands");
    bus.connected(3).await;
}

#[tokio::test]
async fn a_link_that_outlives_others_is_kept_when_connections_take_too_much() {
    let redis = Redis::start().await;
    redis.user("server", "on >pw allchannels -@all +ping +subscribe +client|setname +client|no-evict");
    let login = || login(&redis.unix_url(), "server", "pw");
    let kept = Bus::start(Settings { outlives_others: true, ..login() });
    let other = Bus::start(login());
    let channels: Vec<String> = (0..10_000).map(|number| format!("hostwatch:{{{number}}}:reports")).collect();
    for bus in [&kept, &other] {
        bus.connected(1).await;
        bus.link.subscribe(&channels).await.unwrap();
    }
    // Each of them takes less than a link with so many channels.
    redis.set(&["CONFIG", "SET", "maxmemory-clients", "4mb"]);
    let unfinished: Vec<_> = (0..40).map(|_| redis.begin_a_message(100_000)).collect();
    other.connected(2).await;
    kept.connected(1).await;
    drop(unfinished);
}

#[tokio::test]
async fn a_refused_pattern_is_told_and_can_be_taken_back() {
    let redis = Redis::start().await;
    redis.user("server", "on >pw resetchannels &hostwatch:{*}:join -@all +ping +psubscribe +punsubscribe");
    let bus = Bus::start(login(&redis.unix_url(), "server", "pw"));
    bus.connected(1).await;
    bus.link.psubscribe("hostwatch:{*}:join").await.unwrap();
    let refusal = bus.link.psubscribe("hostwatch:*").await;
    assert!(matches!(&refusal, Err(Error::Refused(text)) if text.contains("NOPERM")), "{refusal:?}");
    bus.waits("Psubscribe hostwatch:").await;
    bus.link.punsubscribe("hostwatch:*").await.unwrap();
    bus.connected(2).await;
    assert_eq!(redis.cli(&["PUBSUB", "NUMPAT"]), "1");
}

#[tokio::test]
async fn a_refused_publication_leaves_the_link_alone() {
    let redis = Redis::start().await;
    redis.user("web1", "on >pw resetchannels &mine -@all +ping +publish");
    let bus = Bus::start(login(&redis.unix_url(), "web1", "pw"));
    bus.connected(1).await;
    let refusal = bus.link.publish("yours", b"").await;
    assert!(matches!(&refusal, Err(Error::Refused(text)) if text.contains("NOPERM")), "{refusal:?}");
    assert_eq!(bus.link.publish("mine", b"").await, Ok(0));
    bus.connected(1).await;
}

/// What all tests of this binary have logged. It is for the whole process, because tracing forgets call sites that a thread
/// without a subscriber passes first.
static LOG: Log = Log { text: Mutex::new(Vec::new()), installed: Once::new() };

struct Log {
    text: Mutex<Vec<u8>>,
    installed: Once,
}

impl Log {
    fn install(&'static self) {
        self.installed.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(move || self).init());
    }

    fn lines_with(&self, part: &str) -> String {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).flat_map(|line| [line, "\n"]).collect()
    }
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
