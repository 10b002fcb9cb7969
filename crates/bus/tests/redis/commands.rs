//! The commands, under the very rights that the server's user has.

use hostwatch_bus::{Error, Retained};

use crate::guard::{Bus, Redis, login, names, settings};

/// The server's line in DESIGN.md, section 3.
const SERVER: &str = "on >pw resetkeys resetchannels -@all ~hostwatch:{*}:config &hostwatch:{*}:commands
    &hostwatch:{*}:reports &hostwatch:{*}:join +publish +subscribe +unsubscribe +psubscribe +punsubscribe +get +set +del
    +scan +multi +exec +ping +client|setname";

async fn server() -> (Redis, Bus) {
    let redis = Redis::start().await;
    redis.user("hostwatch-server", SERVER);
    let bus = Bus::start(login(&redis.unix_url(), "hostwatch-server", "pw"));
    bus.connected(1).await;
    (redis, bus)
}

fn config(host: impl std::fmt::Display) -> Retained {
    Retained {
        key: format!("hostwatch:{{{host}}}:config"),
        channel: format!("hostwatch:{{{host}}}:commands"),
        payload: format!("config of {host}").into(),
    }
}

#[tokio::test]
async fn values_are_kept_announced_read_found_and_deleted() {
    let (redis, bus) = server().await;
    let configs: Vec<_> = (0..1000).map(config).collect();
    let keys: Vec<_> = configs.iter().map(|config| config.key.clone()).collect();
    let mut host = Bus::start(settings(&redis.unix_url()));
    host.connected(1).await;
    host.link.subscribe(&names(&["hostwatch:{7}:commands", "hostwatch:{999}:commands"])).await.unwrap();
    bus.link.psubscribe("hostwatch:{*}:join").await.unwrap();
    bus.link.retain_all(&configs).await.unwrap();
    host.receives("hostwatch:{7}:commands", "config of 7").await;
    host.receives("hostwatch:{999}:commands", "config of 999").await;

    redis.set(&["SET", "hostwatch:other", "x"]);
    redis.set(&["SET", "unlike", "x"]);
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(bus.link.scan("hostwatch:{*}:config").await.unwrap(), sorted);

    bus.link.delete(&keys[..500]).await.unwrap();
    let values = bus.link.get_all(&keys).await.unwrap();
    assert_eq!(values.len(), 1000);
    assert!(values[..500].iter().all(Option::is_none));
    assert_eq!(values[999].as_deref(), Some(b"config of 999".as_slice()));
    bus.link.delete(&keys).await.unwrap();
    assert_eq!(bus.link.scan("hostwatch:{*}:config").await.unwrap(), names(&[]));
    assert!(!redis.cli(&["ACL", "LOG"]).contains("hostwatch-server"), "no command was refused");
}

#[tokio::test]
async fn nothing_to_do_is_no_error() {
    let (_redis, bus) = server().await;
    assert_eq!(bus.link.get_all(&[]).await, Ok(vec![]));
    assert_eq!(bus.link.publish_all(&[]).await, Ok(vec![]));
    assert_eq!(bus.link.retain_all(&[]).await, Ok(()));
    assert_eq!(bus.link.delete(&[]).await, Ok(()));
    assert_eq!(bus.link.subscribe(&[]).await, Ok(()));
    assert_eq!(bus.link.unsubscribe(&[]).await, Ok(()));
    assert_eq!(bus.link.unsubscribe(&names(&["never"])).await, Ok(()));
}

#[tokio::test]
async fn a_refused_item_is_told_and_the_others_are_carried_out() {
    let (_redis, mut bus) = server().await;
    let mut configs: Vec<_> = (0..400).map(config).collect();
    configs[3].key = "elsewhere".into();
    configs[200].channel = "elsewhere".into();
    let refusal = bus.link.retain_all(&configs).await;
    assert!(
        matches!(&refusal, Err(Error::Refused(text)) if text.contains("NOPERM") && text.contains("keys")),
        "{refusal:?}"
    );
    assert_eq!(bus.link.scan("*").await.unwrap().len(), 398, "a key that could not be announced is not written either");

    bus.link.subscribe(&names(&["hostwatch:{9}:reports"])).await.unwrap();
    let mut messages: Vec<_> = (0..10).map(|host| (format!("hostwatch:{{{host}}}:reports"), vec![0])).collect();
    assert_eq!(bus.link.publish_all(&messages).await, Ok(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
    bus.receives("hostwatch:{9}:reports", "\0").await;
    messages[0].0 = "elsewhere".into();
    assert!(matches!(bus.link.publish_all(&messages).await, Err(Error::Refused(_))));
    bus.receives("hostwatch:{9}:reports", "\0").await;
}

#[tokio::test]
async fn a_long_list_is_sent_in_chunks_and_arrives_in_order() {
    let (_redis, mut bus) = server().await;
    bus.link.subscribe(&names(&["hostwatch:{a}:reports"])).await.unwrap();
    let payload = |number: u32| number.to_le_bytes().repeat(if number == 77 { 200_000 } else { 500 });
    let messages: Vec<_> = (0..2000).map(|number| ("hostwatch:{a}:reports".to_owned(), payload(number))).collect();
    assert_eq!(bus.link.publish_all(&messages).await.unwrap(), vec![1; 2000]);
    for number in 0..2000 {
        assert_eq!(bus.next().await.payload, payload(number));
    }
}

#[tokio::test]
async fn answers_that_redis_garbles_are_noticed_and_the_connection_is_made_anew() {
    let (redis, mut bus) = server().await;
    bus.link.subscribe(&names(&["hostwatch:{1}:commands"])).await.unwrap();
    let retained = bus.link.retain_all(&[config(1)]).await;
    // Redis 7.0 puts the message into the answer of the transaction; from 7.2 on it comes after it.
    if redis.cli(&["INFO", "server"]).contains("redis_version:7.0.") {
        assert!(matches!(retained, Err(Error::Unexpected(_))), "{retained:?}");
        bus.connected(2).await;
    } else {
        assert_eq!(retained, Ok(()));
        bus.receives("hostwatch:{1}:commands", "config of 1").await;
    }
    assert_eq!(bus.link.get_all(&names(&["hostwatch:{1}:config"])).await, Ok(vec![Some(b"config of 1".to_vec())]));
}
