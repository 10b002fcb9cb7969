//! What arrives: books, layouts, series, restarts.

use super::*;

#[test]
fn a_report_waits_for_its_layout() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    let effects = rig.report("web", 1, 2, 0.5);
    let layout = layout("node_load1", MetricType::Gauge);
    let asked = |effect: &Effect| matches!(effect, Effect::Say(_, ServerBody::WantLayout(want)) if want.layouts == [layout.id()]);
    assert!(effects.iter().any(asked), "{effects:?}");
    assert_eq!(rig.values("web"), [0.0; 0]);
    assert_eq!(rig.host("web").books.received, 0);
    assert_eq!(rig.host("web").state, State::Up, "it lives all the same");
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout] }));
    assert_eq!(rig.values("web"), [0.5]);
    assert_eq!(rig.host("web").books.received, 1);
    assert_eq!(rig.host("web").books.outstanding, 1);
}

#[test]
fn what_waits_is_bounded() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    for seq in 2..500 {
        rig.report("web", 1, seq, 0.5);
    }
    assert_eq!(rig.host("web").parked, 64);
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout("node_load1", MetricType::Gauge)] }));
    let books = rig.host("web").books;
    assert_eq!((rig.directory.summary().parked_dropped, rig.host("web").parked), (498 - 64, 0));
    assert_eq!((books.received, books.sequence), (64, 499));
    assert_eq!(books.sequence - books.baseline, books.received + books.lost + books.outstanding);
}

#[test]
fn a_new_epoch_has_books_of_its_own() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 4, 4.0);
    assert_eq!(rig.host("web").books.outstanding, 2);
    let held = RingRange { epoch: Epoch(1), first: 3, last: 4, acked: Vec::new() };
    rig.hello_with("web", 2, None, vec![held]);
    assert_eq!(rig.host("web").totals.lost, 1, "report 2 is in no ring");
    assert_eq!(rig.host("web").books, crate::directory::Books::default());
    rig.report("web", 2, 1, 10.0);
    rig.ages();
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.values("web"), [10.0], "an older epoch is history");
    assert_eq!(rig.ages(), [(0, false)], "the judge enters it and does not judge by it");
    let (host, totals) = (rig.host("web"), rig.host("web").totals);
    assert_eq!((host.books.received, host.books.sequence), (1, 1));
    assert_eq!((totals.received, totals.lost, totals.resent), (4, 1, 1));
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.host("web").totals.duplicate, 1);
}

#[test]
fn what_survives_a_restart() {
    let mut rig = Rig::new(ANY);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 3, 1.0);
    let wanted = rig.host("web").wanted;
    let saved = rig.fleet.save();
    let bytes = rmp_serde::to_vec_named(&saved).unwrap();
    let saved: Saved = rmp_serde::from_slice(&bytes).unwrap();

    let mut rig = Rig::restored(ANY, saved.clone());
    assert_eq!(rig.host("web").state, State::Stale);
    assert_eq!(rig.host("web").wanted, wanted, "unchanged content keeps its revision");
    let effects = rig.report("web", 1, 4, 2.0);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Say(_, ServerBody::WantLayout(_)))));
    rig.say("web", 1, HostBody::Layouts(Layouts { layouts: vec![layout("node_load1", MetricType::Gauge)] }));
    let books = rig.host("web").books;
    assert_eq!((rig.host("web").state, books.received, books.outstanding), (State::Up, 3, 1));

    let rig = Rig::restored("", saved);
    assert!(rig.directory.host("web").is_none(), "nobody wants it any more");
}

#[test]
fn without_saved_state_the_books_begin_at_the_hello() {
    let mut rig = Rig::new(ANY);
    let acked = vec![hostwatch_wire::Acked { server: SERVER, up_to: 40 }];
    let ring = RingRange { epoch: Epoch(1), first: 44, last: 50, acked };
    rig.hello_with("web", 1, None, vec![ring]);
    let books = rig.host("web").books;
    assert_eq!((books.baseline, books.lost, books.outstanding, books.sequence), (40, 3, 7, 50));
}

#[test]
fn a_server_that_nobody_knows_does_not_count_the_past_as_lost() {
    let mut rig = Rig::new(ANY);
    let acked = vec![hostwatch_wire::Acked { server: ServerId(99), up_to: 86_390 }];
    let ring = RingRange { epoch: Epoch(1), first: 86_310, last: 86_400, acked };
    rig.hello_with("web", 1, None, vec![ring]);
    let books = rig.host("web").books;
    assert_eq!((books.baseline, books.lost, books.outstanding), (86_390, 0, 10));
}

#[test]
fn a_layout_is_known_as_long_as_its_service_is() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let failed = ServiceReport::without_values("cpu", Status::Failed, "no", 1);
    let report = Report {
        seq: 2,
        oldest_seq: 1,
        acked: Vec::new(),
        collected_at_ms: rig.now.wall_ms,
        revision: None,
        layouts: Vec::new(),
        services: vec![failed],
    };
    rig.say("web", 1, HostBody::Report(report));
    assert_eq!(rig.values("web"), [0.0; 0], "a failed service has no series");
    rig.pass(40 * SECOND);
    rig.effects();
    assert_eq!(rig.report("web", 1, 3, 3.0), [], "nothing is asked for");
    assert_eq!(rig.values("web"), [3.0]);
}

#[test]
fn series_leave_the_page_when_they_are_old_or_dropped() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.pass(29 * SECOND);
    assert_eq!(rig.values("web"), [1.0]);
    rig.pass(2 * SECOND);
    assert_eq!(rig.values("web"), [0.0; 0], "three intervals of 10 s were missed");
    assert_eq!(rig.host("web").state, State::Stale);
    rig.report("web", 1, 2, 2.0);
    assert_eq!(rig.values("web"), [2.0]);
    rig.fleet.apply(inventory("[hosts.web]\n"), timing(), rig.now);
    rig.effects();
    assert_eq!(rig.values("web"), [0.0; 0], "the revision dropped the service");
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.values("web"), [0.0; 0]);
}

#[test]
fn two_services_never_show_the_same_series() {
    let mut rig = Rig::new("[hosts.web]\ntemplates = [\"both\"]\n");
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    let layout = layout("node_load1", MetricType::Gauge);
    rig.report_with("web", 1, 2, "cpu-again", Vec::new(), layout.id(), &[2.0]);
    let host = rig.host("web");
    let hidden: Vec<&[usize]> = host.services.iter().filter_map(|s| s.series.as_ref()).map(|b| &*b.hidden).collect();
    assert_eq!(hidden, [&[][..], &[0][..]]);
}

#[test]
fn acknowledgements_are_cumulative() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 2, 1.0);
    rig.report("web", 1, 4, 1.0);
    let mut acks = Vec::new();
    for second in 0..30 {
        if second == 15 {
            // A host that is silent for three heartbeats is not acknowledged.
            acks.extend(rig.report("web", 1, 5, 1.0));
        }
        rig.pass(SECOND);
        acks.extend(rig.effects());
    }
    acks.retain(|effect| !matches!(effect, Effect::Say(_, ServerBody::Resend(_))));
    let ack = Ack { epoch: Epoch(1), up_to: 2, goodbye: false };
    assert_eq!(acks, [Effect::Say(id("web"), ServerBody::Ack(ack))]);
}

#[test]
fn acknowledgements_are_spread_over_the_fleet_whatever_held_them_up() {
    let mut rig = Rig::new(ANY);
    let names: Vec<String> = (0..300).map(|number| format!("web{number}")).collect();
    names.iter().for_each(|name| drop(rig.hello(name, 1)));
    rig.pass(100 * SECOND);
    let mut acks = Vec::new();
    for _ in 0..30 {
        names.iter().for_each(|name| drop(rig.hello(name, 1)));
        rig.effects();
        rig.pass(SECOND);
        acks.push(rig.effects().iter().filter(|effect| matches!(effect, Effect::Say(_, ServerBody::Ack(_)))).count());
    }
    assert_eq!(acks.iter().sum::<usize>(), 300);
    assert!(acks.iter().all(|count| *count < 60), "{acks:?}");
}

/// What a host is asked for within `seconds`, as `epoch: first-last`, with the second.
fn asked(rig: &mut Rig, seconds: u32) -> Vec<(u32, String)> {
    let mut asked = Vec::new();
    for second in 1..=seconds {
        rig.pass(SECOND);
        for effect in rig.effects() {
            if let Effect::Say(_, ServerBody::Resend(Resend { epoch, ranges })) = effect {
                let ranges: Vec<String> =
                    ranges.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
                asked.push((second, format!("{}: {}", epoch.0, ranges.join(" "))));
            }
        }
    }
    asked
}

#[test]
fn exactly_what_is_missing_is_asked_for_until_it_comes() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    for seq in [1, 4, 7] {
        rig.report("web", 1, seq, 1.0);
    }
    let first = asked(&mut rig, 2);
    assert_eq!(first.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>(), ["1: 2-3 5-6"], "after a short wait");
    rig.report("web", 1, 3, 1.0);
    rig.report("web", 1, 5, 1.0);
    let again = asked(&mut rig, 3);
    assert!(again.iter().all(|(_, what)| what == "1: 2-2 6-6") && !again.is_empty(), "{again:?}");
    rig.report("web", 1, 2, 1.0);
    rig.report("web", 1, 6, 1.0);
    assert_eq!(asked(&mut rig, 10), []);
    let books = rig.host("web").books;
    assert_eq!((books.received, books.lost, books.outstanding), (7, 0, 0));
}

#[test]
fn whoever_does_not_answer_is_asked_more_and_more_seldom() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 3, 1.0);
    let mut times = Vec::new();
    for minute in 0..10 {
        times.extend(asked(&mut rig, 20).into_iter().map(|(second, _)| minute * 20 + second));
        rig.report("web", 1, 4 + u64::from(minute), 1.0);
    }
    let pauses: Vec<u32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(times.len() <= 14, "{times:?}");
    assert!(pauses.last() >= Some(&30), "{times:?}");
}

#[test]
fn an_epoch_that_nobody_answers_for_keeps_no_other_waiting() {
    let mut rig = Rig::new(WEB);
    let held = |epoch| RingRange { epoch: Epoch(epoch), first: 1, last: 2, acked: Vec::new() };
    rig.hello_with("web", 3, None, vec![held(1), held(2)]);
    let epochs: Vec<String> = asked(&mut rig, 29).into_iter().map(|(_, what)| what).collect();
    assert_eq!(epochs[..3], ["1: 1-2", "2: 1-2", "1: 1-2"]);
}

#[test]
fn the_fleet_is_not_asked_for_more_than_it_may_send_at_once() {
    let mut rig = Rig::new(ANY);
    let hosts = 150;
    for host in 0..hosts {
        let held = RingRange { epoch: Epoch(1), first: 1, last: 200, acked: Vec::new() };
        rig.hello_with(&format!("web{host}"), 1, None, vec![held]);
    }
    let (mut total, mut asked) = (0, std::collections::HashSet::new());
    for second in 1..=8 {
        rig.pass(SECOND);
        for effect in rig.effects() {
            if let Effect::Say(host, ServerBody::Resend(Resend { ranges, .. })) = effect {
                total += ranges.iter().map(|range| range.last - range.first + 1).sum::<u64>();
                asked.insert(host);
            }
        }
        assert!(total as f64 <= repair::RATE * f64::from(second + 1), "{total} in {second} s");
    }
    assert_eq!(asked.len(), hosts, "each has its turn");
}

#[test]
fn what_is_gone_is_lost_and_what_is_here_is_said() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 5, 1.0);
    rig.say("web", 1, HostBody::Gone(hostwatch_wire::Gone { up_to: 3 }));
    let books = rig.host("web").books;
    assert_eq!((books.received, books.lost, books.outstanding), (2, 2, 1));
    let effects = rig.hello("web", 1);
    let known = hostwatch_wire::Known { epoch: Epoch(1), up_to: 3 };
    assert_eq!(welcomes(&effects)[0].known, [known], "received, or known to be lost");
    rig.say("web", 1, HostBody::Gone(hostwatch_wire::Gone { up_to: 1 << 52 }));
    let books = rig.host("web").books;
    assert_eq!(
        (books.received, books.lost, books.outstanding, books.sequence),
        (2, 3, 0, 5),
        "no more than there were"
    );
}

#[test]
fn a_past_that_nobody_has_any_more_is_not_asked_for_without_end() {
    let ranged = "[[services.cpu.triggers]]\nalert = \"A\"\nexpr = \"avg_over_time(node_load1[5m]) > 1\"\n";
    let held = |epoch, acked: u64| {
        let acked = vec![hostwatch_wire::Acked { server: SERVER, up_to: acked }];
        RingRange { epoch: Epoch(epoch), first: 1, last: 90, acked }
    };
    let start = || {
        let mut rig = Rig::with_services(WEB, ranged);
        rig.hello_with("web", 1, None, vec![held(1, 90)]);
        assert_eq!(asked(&mut rig, 2).last().map(|(_, what)| what.clone()), Some("1: 1-90".to_owned()));
        rig
    };
    let mut rig = start();
    rig.hello("web", 2);
    assert_eq!(asked(&mut rig, 29), [], "the client was killed: its ring is gone");

    let mut rig = start();
    for minute in 0..5 {
        asked(&mut rig, 20);
        rig.report("web", 1, 91 + minute, 1.0);
        asked(&mut rig, 20);
        rig.report("web", 1, 101 + minute, 1.0);
    }
    for minute in 0..10 {
        rig.report("web", 1, 111 + minute, 1.0);
        asked(&mut rig, 20);
    }
    rig.say("web", 1, HostBody::Gone(hostwatch_wire::Gone { up_to: 110 }));
    rig.report("web", 1, 121, 1.0);
    assert_eq!(asked(&mut rig, 25), [], "it does not answer");
}

#[test]
fn nobody_is_asked_while_the_link_is_away() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    rig.report("web", 1, 1, 1.0);
    rig.report("web", 1, 3, 1.0);
    rig.fleet.on_disconnected();
    assert_eq!(asked(&mut rig, 20), []);
}

#[test]
fn a_host_is_judged_once_nothing_is_missing_that_can_come() {
    let settled = |rig: &mut Rig| {
        let observations = rig.fleet.take_observations().into_iter().filter_map(|observation| match observation {
            Observation::Changed(_, facts) => Some(facts.is_settled),
            _ => None,
        });
        observations.last()
    };
    let mut rig = Rig::new(WEB);
    rig.hello_with("web", 1, None, vec![RingRange { epoch: Epoch(1), first: 1, last: 3, acked: Vec::new() }]);
    rig.pass(SECOND);
    assert_eq!(settled(&mut rig), Some(false));
    for seq in 1..=3 {
        rig.report("web", 1, seq, 1.0);
    }
    rig.pass(SECOND);
    assert_eq!(settled(&mut rig), Some(true));
    rig.hello_with("web", 1, None, vec![RingRange { epoch: Epoch(1), first: 1, last: 9, acked: Vec::new() }]);
    rig.pass(SECOND);
    assert_eq!(settled(&mut rig), Some(false));
    for seq in 10..13 {
        rig.report("web", 1, seq, 1.0);
        rig.pass(10 * SECOND);
    }
    assert_eq!(settled(&mut rig), Some(true), "it took too long");
}

#[test]
fn a_clock_that_jumps_by_hours_breaks_nothing() {
    const HOUR_MS: i64 = 3_600_000;
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    // Number 3 is missing until the clock has been set several times.
    for (seq, ahead_ms) in [(1, 0), (2, 0), (4, 5 * HOUR_MS), (5, 5 * HOUR_MS), (6, -7 * HOUR_MS), (7, 0)] {
        rig.pass(SECOND);
        rig.ahead_ms = ahead_ms;
        rig.fleet.take_observations();
        rig.report("web", 1, seq, seq as f64);
        assert_eq!(rig.host("web").state, State::Up);
        assert_eq!(rig.values("web"), [seq as f64], "{ahead_ms} ms ahead");
        assert_eq!(rig.ages(), [(0, true)], "{ahead_ms} ms ahead");
        assert_eq!(rig.host("web").clock_skew_seconds, Some(ahead_ms as f64 / 1_000.0));
    }
    // It was collected a second before number 4, when the clock was right.
    rig.ahead_ms = -4_000;
    rig.report("web", 1, 3, 3.0);
    assert_eq!(rig.ages(), [(4_000, false)]);
    let books = rig.host("web").books;
    assert_eq!((books.received, books.lost, books.outstanding), (7, 0, 0));
}
