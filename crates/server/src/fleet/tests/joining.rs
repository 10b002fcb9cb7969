//! Who is heard: joining, leaving, claiming, and what is refused.

use super::*;

#[test]
fn a_configured_host_is_expected_joins_and_reports() {
    let mut rig = Rig::new(WEB);
    assert_eq!(rig.host("web").state, State::Stale, "not heard of yet");
    let effects = rig.hello("web", 1);
    let wanted = rig.host("web").wanted.unwrap();
    assert_eq!(welcomes(&effects)[0].answers, Some(Epoch(1)));
    assert_eq!(welcomes(&effects)[0].revision, Some(wanted));
    assert_eq!(retained(&effects), [("web".to_owned(), wanted)], "it said that it has none");
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.host("web").state, State::Up);
    assert_eq!(rig.values("web"), [0.5]);
    let applied =
        Applied { revision: wanted, refused: vec![Refusal::new("cpu".parse().unwrap(), "there is no plugin cpu")] };
    rig.say("web", 1, HostBody::Applied(applied.clone()));
    assert_eq!(rig.host("web").applied.as_deref(), Some(&applied));
    let effects = rig.hello_with("web", 1, Some(wanted), Vec::new());
    assert_eq!(retained(&effects), [], "it has the right one");
}

#[test]
fn a_host_that_nobody_configured_is_pending_until_somebody_does() {
    let mut rig = Rig::new("");
    let effects = rig.hello("web", 1);
    assert_eq!(welcomes(&effects)[0].revision, None);
    assert_eq!(effects.len(), 1, "no key, no subscription: {effects:?}");
    assert_eq!(rig.host("web").state, State::Pending);
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.refused("unknown_host"), 1);
    let gone = |last| vec![RingRange { epoch: Epoch(1), first: last + 1, last, acked: Vec::new() }];
    rig.hello_with("web", 1, None, gone(70));
    assert_eq!(rig.host("web").totals.lost, 0, "nobody wanted them");
    rig.hello("web", 1);
    rig.fleet.apply(inventory(WEB), timing(), rig.now);
    let effects = rig.effects();
    assert!(effects.contains(&Effect::Listen(id("web"))), "{effects:?}");
    assert_eq!(retained(&effects).len(), 1);
    rig.report("web", 1, 1, 0.5);
    assert_eq!(rig.host("web").state, State::Up);
}

#[test]
fn two_clients_with_one_id_are_a_conflict() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.hello("web", 2);
    assert_eq!(rig.host("web").state, State::Up, "a restart is none");
    rig.hello("web", 1);
    assert_eq!(rig.host("web").state, State::Conflict);
    for second in 0..100 {
        rig.pass(SECOND);
        rig.report("web", 1, second + 1, 0.0);
    }
    assert_eq!(rig.host("web").state, State::Up, "one of them has stopped");
}

#[test]
fn two_clients_with_one_id_are_named_and_keep_their_books() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 3, 1.0);
    rig.hello("web", 2);
    rig.report("web", 2, 1, 2.0);
    rig.report("web", 2, 4, 2.0);
    rig.hello("web", 1);
    assert_eq!(rig.host("web").rivals.as_deref().map(|rivals| rivals.each_ref().map(|r| r.epoch.0)), Some([2, 1]));
    for second in 0..100 {
        rig.pass(SECOND);
        rig.report("web", 1, second + 4, 1.0);
        rig.report("web", 2, second + 5, 2.0);
        rig.hello("web", 1 + second % 2);
    }
    assert_eq!(rig.host("web").state, State::Conflict);
    for (epoch, seq) in [(1, 2), (2, 2), (2, 3)] {
        rig.report("web", epoch, seq, 0.0);
    }
    let totals = rig.host("web").totals;
    assert_eq!((totals.received, totals.lost, totals.duplicate, totals.resent), (207, 0, 0, 3));
    rig.hello("web", 2);
    rig.report("web", 1, 110, 1.0);
    rig.pass(29 * SECOND);
    assert_eq!(rig.host("web").totals.lost, 0);
    rig.pass(SECOND);
    assert_eq!(rig.host("web").totals.lost, 6, "104 to 109 went with the first one");
    rig.pass(100 * SECOND);
    assert!(rig.host("web").rivals.is_none());
}

#[test]
fn a_host_that_is_not_listened_to_is_not_down() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let channel = Some("hostwatch:{web}:reports".to_owned());
    rig.fleet.on_floods(vec![hostwatch_bus::Flood { channel, dropped: 9 }], rig.now);
    assert!(rig.effects().contains(&Effect::Ignore(id("web"))));
    for _ in 0..119 {
        rig.pass(SECOND);
        assert_ne!(rig.host("web").state, State::Down);
    }
    assert!(rig.effects().contains(&Effect::Listen(id("web"))));
    rig.pass(SECOND);
    assert_eq!(rig.host("web").state, State::Down, "it was listened to for a minute, and was silent");
}

#[test]
fn whoever_does_wrong_is_named_though_he_is_no_host() {
    let mut rig = Rig::new("");
    let flood = |channel: &str| hostwatch_bus::Flood { channel: Some(channel.to_owned()), dropped: 5 };
    let channels = ["hostwatch:{web}:reports", "hostwatch:{web}:join", "hostwatch:{a b}:join", "nobody's"];
    rig.fleet.on_floods(channels.map(flood).into(), rig.now);
    rig.fleet.on_floods(vec![hostwatch_bus::Flood { channel: None, dropped: 7 }], rig.now);
    rig.raw("hostwatch:{web}:reports", b"?");
    rig.effects();
    assert_eq!(rig.refused("flood"), 27);
    let known = Faults { flooded: 10, refused: 1 };
    assert_eq!(rig.directory.summary().strangers, BTreeMap::from([(id("web"), known)]));
    rig.hello("web", 1);
    rig.raw("hostwatch:{web}:reports", b"?");
    assert_eq!((rig.host("web").faults, rig.host("web").state), (Faults { refused: 2, ..known }, State::Pending));
    assert!(rig.directory.summary().strangers.is_empty());
    rig.pass(3_600 * SECOND);
    assert!(rig.directory.host("web").is_none());
    assert_eq!(rig.directory.summary().strangers.len(), 1, "it is not forgotten");
    for stranger in 0..2 * MAX_STRANGERS {
        rig.raw(&format!("hostwatch:{{x{stranger}}}:join"), b"?");
    }
    assert_eq!(rig.directory.summary().strangers.len(), MAX_STRANGERS);
}

#[test]
fn a_goodbye_is_acknowledged_and_undone_by_a_hello() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let effects = rig.say("web", 1, HostBody::Goodbye(Goodbye { last_seq: 2 }));
    let ack = Ack { epoch: Epoch(1), up_to: 1, goodbye: true };
    assert_eq!(effects, [Effect::Say(id("web"), ServerBody::Ack(ack))]);
    assert_eq!(rig.host("web").state, State::Left);
    rig.report("web", 1, 2, 1.0);
    assert_eq!(rig.host("web").state, State::Left, "it was under way");
    assert_eq!(rig.host("web").books.outstanding, 0);
    rig.hello("web", 2);
    assert_eq!(rig.host("web").state, State::Up);
}

#[test]
fn a_host_that_only_matched_is_forgotten() {
    let mut rig = Rig::new(ANY);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.pass(61 * SECOND);
    assert_eq!(rig.host("web").state, State::Down);
    rig.pass(3_600 * SECOND);
    assert!(rig.directory.host("web").is_none());
    let effects = rig.effects();
    assert!(effects.contains(&Effect::Forget(id("web"))) && effects.contains(&Effect::Ignore(id("web"))));
    assert_eq!(rig.directory.summary().departed.received, 1, "the fleet's counters do not go back");
}

#[test]
fn a_host_may_not_claim_what_the_server_sets() {
    let mut rig = Rig::new(ANY);
    let claim = |name: &str| (name.to_owned(), ClaimedValue("x".to_owned()));
    rig.claims = ["role", "instance", "job", "__x", "a b"].map(claim).into();
    rig.hello("web", 1);
    assert_eq!(*rig.host("web").labels, Labels::from([("role".to_owned(), "x".to_owned())]));
    assert_eq!(rig.refused("label"), 4);

    let mut rig = Rig::new("[hosts.web]\nlabels = { role = \"db\", env = \"prod\" }\n");
    rig.claims = ["role", "rack"].map(claim).into();
    rig.hello("web", 1);
    let labels = rig.host("web").labels.clone();
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!([label("role"), label("env"), label("rack")], [Some("db"), Some("prod"), Some("x")]);
}

#[test]
fn whatever_is_wrong_with_a_message_it_is_counted_by_reason() {
    let mut rig = Rig::new("[hosts.web]\ntemplates = [\"linux\"]\n[hosts.db]\ntemplates = [\"linux\"]\n");
    rig.hello("web", 1);
    let goodbye = || HostBody::Goodbye(Goodbye { last_seq: 1 });
    rig.raw("hostwatch:{web}:commands", b"");
    rig.say_on("hostwatch:{web}:join", "web", 1, goodbye());
    assert_eq!(rig.refused("wrong_channel"), 2);
    rig.say_on("hostwatch:{db}:reports", "web", 1, goodbye());
    assert_eq!(rig.refused("wrong_host"), 1);
    assert_eq!(rig.host("web").state, State::Up);
    rig.raw("hostwatch:{web}:reports", &[0xFF, 1, 2]);
    rig.raw("hostwatch:{web}:reports", b"");
    assert_eq!(rig.refused("unknown_version"), 2);
    rig.raw("hostwatch:{web}:reports", &[1, 0xC1]);
    assert_eq!(rig.refused("malformed"), 1);
    rig.raw("hostwatch:{web}:reports", &vec![1; (1 << 20) + 1]);
    assert_eq!(rig.refused("too_long"), 1);
    rig.say("nobody", 1, goodbye());
    assert_eq!(rig.refused("unknown_host"), 1);
    let good = layout("node_load1", MetricType::Gauge);
    rig.report_with("web", 1, 1, "cpu", vec![good.clone()], good.id(), &[1.0, 2.0]);
    assert_eq!(rig.refused("values"), 1);
    for name in ["up", "ALERTS", "hostwatch_host_up", "a b"] {
        let bad = layout(name, MetricType::Gauge);
        rig.report_with("web", 1, 1, "cpu", vec![bad.clone()], bad.id(), &[1.0]);
    }
    assert_eq!(rig.refused("layout"), 4);
    assert_eq!(rig.host("web").books.received, 0);
}

/// These many say hello before anybody looks.
fn crowd(rig: &mut Rig, hosts: std::ops::Range<u32>) {
    let hello = Hello {
        sent_at_ms: rig.now.wall_ms,
        client_version: "0".to_owned(),
        facts: Facts::default(),
        labels: BTreeMap::new(),
        revision: None,
        ring: Vec::new(),
    };
    for host in hosts.map(|host| format!("host-{host}")) {
        let mut bytes = Vec::new();
        let body = HostBody::Hello(Box::new(hello.clone()));
        HostMessage { host: id(&host), epoch: Epoch(1), body }.encode(&mut bytes).unwrap();
        rig.fleet.on_message(&format!("hostwatch:{{{host}}}:join"), &bytes, rig.now);
    }
    rig.effects();
}

#[test]
fn those_who_join_for_the_first_time_are_let_in_at_a_rate() {
    let mut rig = Rig::new(WEB);
    crowd(&mut rig, 0..6_000);
    assert_eq!((rig.directory.hosts().len(), rig.refused("join_rate")), (1 + 5_000, 1_000));
    // Whom somebody has heard of is not held up, and the others may try again.
    rig.hello("web", 1);
    rig.hello("host-0", 2);
    assert_eq!((rig.host("web").state, rig.refused("join_rate")), (State::Up, 1_000));
    rig.pass(SECOND);
    crowd(&mut rig, 5_000..6_000);
    assert_eq!((rig.directory.hosts().len(), rig.refused("join_rate")), (1 + 5_500, 1_500));
}

#[test]
fn those_who_wait_to_be_configured_are_bounded_and_forgotten() {
    let mut rig = Rig::new(WEB);
    for second in 0..24 {
        rig.pass(SECOND);
        crowd(&mut rig, second * 500..(second + 1) * 500);
    }
    assert_eq!((rig.directory.hosts().len(), rig.refused("no_space")), (1 + 10_000, 2_000));
    rig.pass(200 * SECOND);
    assert_eq!(rig.directory.hosts().len(), 1, "none of them has said hello again");
}
