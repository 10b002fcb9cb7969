//! Redis goes away in every way it can, and comes back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hostwatch_bus::{Error, LinkState};
use rustix::time::{ClockId, clock_gettime};

use crate::guard::{Bus, Redis, eventually, names, settings};

#[tokio::test]
async fn a_killed_and_restarted_redis_finds_every_subscription_made_again() {
    let mut redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.tcp_url()));
    bus.connected(1).await;
    bus.link.subscribe(&names(&["a", "b", "c"])).await.unwrap();
    bus.link.psubscribe("p:*").await.unwrap();
    bus.link.unsubscribe(&names(&["c"])).await.unwrap();
    for generation in 2..4 {
        redis.kill();
        bus.reaches(|state| matches!(state, LinkState::Waiting { .. })).await;
        bus.waits("Connection refused").await;
        redis.start_again().await;
        bus.connected(generation).await;
        for channel in ["a", "b", "p:1"] {
            assert_eq!(redis.cli(&["PUBLISH", channel, "hello"]), "1", "{channel}");
            bus.receives(channel, "hello").await;
        }
        assert_eq!(redis.cli(&["PUBLISH", "c", "hello"]), "0");
    }
}

#[tokio::test]
async fn a_stopped_redis_is_noticed_within_seconds_and_commands_do_not_outlive_it() {
    let redis = Redis::start().await;
    for url in [redis.tcp_url(), redis.unix_url()] {
        let mut bus = Bus::start(settings(&url));
        bus.connected(1).await;
        bus.link.subscribe(&names(&["a"])).await.unwrap();
        redis.pause();
        let start = Instant::now();
        assert_eq!(bus.link.publish("a", b"lost").await, Err(Error::Disconnected));
        bus.waits("no answer from Redis within").await;
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        redis.resume();
        bus.connected(2).await;
        assert_eq!(bus.link.publish("a", b"heard").await, Ok(1));
        bus.receives("a", "heard").await;
    }
}

#[tokio::test]
async fn a_killed_connection_is_made_again_at_once() {
    let redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    bus.link.subscribe(&names(&["a"])).await.unwrap();
    assert_eq!(redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
    bus.connected(2).await;
    assert_eq!(redis.cli(&["PUBLISH", "a", "hello"]), "1");
    bus.receives("a", "hello").await;
}

#[tokio::test]
async fn commands_fail_at_once_while_redis_is_away_and_wishes_are_kept() {
    let mut redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    bus.link.subscribe(&names(&["old"])).await.unwrap();
    redis.kill();
    bus.reaches(|state| matches!(state, LinkState::Waiting { .. })).await;
    let start = Instant::now();
    assert_eq!(bus.link.publish("a", b"").await, Err(Error::Disconnected));
    assert_eq!(bus.link.publish_all(&[("a".into(), vec![])]).await, Err(Error::Disconnected));
    assert_eq!(bus.link.get_all(&names(&["a"])).await, Err(Error::Disconnected));
    assert_eq!(bus.link.scan("*").await, Err(Error::Disconnected));
    assert_eq!(bus.link.subscribe(&names(&["new"])).await, Err(Error::Disconnected));
    assert_eq!(bus.link.psubscribe("p:*").await, Err(Error::Disconnected));
    assert_eq!(bus.link.unsubscribe(&names(&["old"])).await, Ok(()));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    redis.start_again().await;
    bus.connected(2).await;
    assert_eq!(redis.cli(&["PUBLISH", "old", "hello"]), "0");
    for channel in ["new", "p:1"] {
        assert_eq!(redis.cli(&["PUBLISH", channel, "hello"]), "1");
        bus.receives(channel, "hello").await;
    }
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_replaced_with_all_subscriptions() {
    let redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.unix_url()));
    bus.link.reconnect();
    bus.connected(1).await;
    bus.link.subscribe(&names(&["a"])).await.unwrap();
    bus.link.reconnect();
    bus.connected(2).await;
    assert_eq!(redis.cli(&["PUBLISH", "a", "hello"]), "1");
    bus.receives("a", "hello").await;
}

#[tokio::test]
async fn while_redis_is_away_the_loop_is_idle_but_gives_signs_of_life() {
    let mut redis = Redis::start().await;
    redis.kill();
    let bus = Bus::start(settings(&redis.tcp_url()));
    // The runtime has one thread, so this is the time of the loop, the driver and the connections together.
    let before = cpu_time();
    let state = bus.reaches(|state| matches!(state, LinkState::Waiting { attempts: 6.., .. })).await;
    let spent = cpu_time() - before;
    let LinkState::Waiting { since, .. } = state else { unreachable!() };
    eprintln!("{:?} of CPU in {:?} without Redis", spent, since.elapsed());
    assert!(spent < Duration::from_millis(200), "{spent:?}");
    eventually("the loop beats", || (bus.beats.load(Ordering::Relaxed) >= 2).then_some(())).await;
    redis.start_again().await;
    bus.connected(1).await;
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[tokio::test]
async fn redis_is_not_there_before_it_has_loaded_its_data() {
    let mut redis = Redis::start_with(&[
        "--enable-debug-command",
        "yes",
        "--key-load-delay",
        "3000",
        "--loading-process-events-interval-bytes",
        "1024",
    ])
    .await;
    redis.set(&["DEBUG", "POPULATE", "1000"]);
    redis.set(&["SAVE"]);
    redis.kill();
    let bus = Bus::start(settings(&redis.unix_url()));
    redis.start_again().await;
    bus.waits("LOADING").await;
    bus.connected(1).await;
    assert_eq!(bus.link.get_all(&names(&["key:0"])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_redis_that_can_not_write_to_its_disk_still_carries_messages() {
    let redis = Redis::start_with(&["--enable-protected-configs", "yes"]).await;
    let bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    let gone = redis.dir().join("gone");
    std::fs::create_dir(&gone).unwrap();
    redis.set(&["CONFIG", "SET", "save", "3600 1", "dir", gone.to_str().unwrap()]);
    std::fs::remove_dir(&gone).unwrap();
    assert!(redis.cli(&["BGSAVE"]).contains("started"));
    eventually("Redis refuses PING", || redis.cli(&["PING"]).starts_with("MISCONF").then_some(())).await;
    let beats = bus.beats.load(Ordering::Relaxed);
    eventually("two pings are sent", || (bus.beats.load(Ordering::Relaxed) > beats + 1).then_some(())).await;
    bus.connected(1).await;
    assert_eq!(bus.link.publish("a", b"").await, Ok(0));
    let mut second = Bus::start(settings(&redis.unix_url()));
    second.connected(1).await;
    second.shut_down().await;
}

#[tokio::test]
async fn shutdown_closes_the_connection_and_ends_the_driver() {
    let redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    assert!(redis.cli(&["CLIENT", "LIST"]).contains("name=hostwatch-test "));
    bus.shut_down().await;
    bus.waits("shut down").await;
    assert_eq!(bus.link.publish("a", b"").await, Err(Error::Disconnected));
    eventually("the connection is closed", || {
        (!redis.cli(&["CLIENT", "LIST"]).contains("hostwatch-test")).then_some(())
    })
    .await;
}
