//! What is subscribed is received, and the reader never waits for whoever handles it.

use std::collections::BTreeSet;
use std::time::Duration;

use hostwatch_bus::inbox;
use tokio::time::timeout;

use crate::guard::{Bus, Redis, eventually, names, settings};

#[tokio::test]
async fn what_is_published_on_a_subscribed_channel_or_pattern_arrives() {
    let redis = Redis::start().await;
    for url in [redis.unix_url(), redis.tcp_url()] {
        let mut bus = Bus::start(settings(&url));
        bus.connected(1).await;
        bus.link.subscribe(&names(&["a", "b"])).await.unwrap();
        bus.link.psubscribe("p:*").await.unwrap();
        assert_eq!(bus.link.publish("a", b"one").await, Ok(1));
        assert_eq!(redis.cli(&["PUBLISH", "p:x", "two"]), "1");
        bus.receives("a", "one").await;
        bus.receives("p:x", "two").await;
        bus.link.unsubscribe(&names(&["a"])).await.unwrap();
        bus.link.punsubscribe("p:*").await.unwrap();
        assert_eq!(bus.link.publish("a", b"three").await, Ok(0));
        assert_eq!(bus.link.publish("p:x", b"four").await, Ok(0));
        assert_eq!(bus.link.publish("b", b"five").await, Ok(1));
        bus.receives("b", "five").await;
        bus.shut_down().await;
    }
}

#[tokio::test]
async fn wishes_from_before_the_first_connection_are_confirmed_before_it_is_announced() {
    let redis = Redis::start().await;
    let (sender, mut messages) = inbox(10, 10_000);
    let (link, driver) = hostwatch_bus::link(settings(&redis.unix_url()), sender);
    assert!(link.subscribe(&names(&["a"])).await.is_err());
    let mut state = link.state();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let connected = async {
        state.changed().await.unwrap();
        assert_eq!(redis.cli(&["PUBLISH", "a", "hello"]), "1");
        assert_eq!(messages.recv().await.unwrap().payload, b"hello");
        shutdown.cancel();
    };
    tokio::join!(driver.run(shutdown.clone()), connected);
}

#[tokio::test]
async fn five_thousand_channels_are_subscribed_and_subscribed_again() {
    let mut redis = Redis::start().await;
    let mut bus = Bus::start(settings(&redis.tcp_url()));
    bus.connected(1).await;
    let channels: Vec<_> = (0..5000).map(|host| format!("hostwatch:{{host-{host}}}:reports")).collect();
    bus.link.subscribe(&channels).await.unwrap();
    let messages: Vec<_> = channels.iter().map(|channel| (channel.clone(), channel.clone().into_bytes())).collect();
    let expected: BTreeSet<_> = channels.iter().cloned().collect();
    for generation in 2..4 {
        assert_eq!(bus.link.publish_all(&messages).await.unwrap(), vec![1; 5000]);
        let mut received = BTreeSet::new();
        for _ in 0..5000 {
            let message = bus.next().await;
            assert_eq!(message.channel.as_bytes(), message.payload);
            received.insert(message.channel);
        }
        assert_eq!(received, expected);
        redis.kill();
        redis.start_again().await;
        bus.connected(generation).await;
    }
}

#[tokio::test]
async fn an_inbox_that_overflows_drops_and_counts_and_the_link_lives() {
    let redis = Redis::start().await;
    let mut bus = Bus::start_with(settings(&redis.unix_url()), inbox(10, 10_000));
    bus.connected(1).await;
    bus.link.subscribe(&names(&["a"])).await.unwrap();
    let many = vec![("a".to_owned(), b"x".to_vec()); 1000];
    assert_eq!(bus.link.publish_all(&many).await.unwrap(), vec![1; 1000]);
    eventually("990 messages are dropped", || (bus.sender.dropped() == 990).then_some(())).await;
    assert_eq!((bus.inbox.len(), bus.sender.len()), (10, 10));
    while bus.inbox.try_recv().is_some() {}
    // Then by bytes: two of these fit.
    let large = vec![("a".to_owned(), vec![0; 4_000]); 10];
    bus.link.publish_all(&large).await.unwrap();
    eventually("8 more are dropped", || (bus.sender.dropped() == 998).then_some(())).await;
    while bus.inbox.try_recv().is_some() {}
    assert_eq!(bus.sender.bytes(), 0);
    bus.link.publish("a", b"hello").await.unwrap();
    bus.receives("a", "hello").await;
    bus.connected(1).await;
}

#[tokio::test]
async fn a_subscription_is_made_although_its_caller_gave_up() {
    let redis = Redis::start().await;
    let bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    let _ = timeout(Duration::ZERO, bus.link.subscribe(&names(&["a"]))).await;
    eventually("a is subscribed", || redis.cli(&["PUBSUB", "NUMSUB", "a"]).ends_with('1').then_some(())).await;
}

#[tokio::test]
async fn crossing_changes_end_in_what_was_wanted_last() {
    let redis = Redis::start().await;
    let bus = Bus::start(settings(&redis.unix_url()));
    bus.connected(1).await;
    let (a, b) = (names(&["a"]), names(&["b"]));
    for _ in 0..50 {
        let (on, off, again) = tokio::join!(bus.link.subscribe(&a), bus.link.unsubscribe(&a), bus.link.subscribe(&a));
        assert_eq!((on, off, again), (Ok(()), Ok(()), Ok(())));
        assert_eq!(bus.link.publish("a", b"").await, Ok(1));
        let (on, off) = tokio::join!(bus.link.subscribe(&b), bus.link.unsubscribe(&b));
        assert_eq!((on, off), (Ok(()), Ok(())));
        assert_eq!(bus.link.publish("b", b"").await, Ok(0));
    }
}
