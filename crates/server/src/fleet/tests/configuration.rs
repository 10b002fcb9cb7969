//! What hosts are told to run: revisions, keys, reloads.

use super::*;

#[test]
fn only_hosts_that_a_reload_concerns_hear_of_it() {
    let hosts =
        "[hosts.a]\ntemplates = [\"linux\"]\n[hosts.b]\ntemplates = [\"linux\"]\n[hosts.c]\ntemplates = [\"linux\"]\n";
    let mut rig = Rig::new(hosts);
    let before = rig.host("a").wanted;
    rig.fleet.apply(inventory(hosts), timing(), rig.now);
    assert_eq!(rig.effects(), [], "nothing changed");
    let changed = format!(
        "{}\n[hosts.b]\ntemplates = [\"linux\"]\nservices.cpu.interval = \"1s\"\n[hosts.d]\ntemplates = []\n",
        "[hosts.a]\ntemplates = [\"linux\"]\nlabels = { env = \"prod\" }"
    );
    rig.fleet.apply(inventory(&changed), timing(), rig.now);
    let effects = rig.effects();
    let mut written: Vec<String> = retained(&effects).into_iter().map(|(host, _)| host).collect();
    written.sort();
    assert_eq!(written, ["b", "d"]);
    assert!(effects.contains(&Effect::Forget(id("c"))) && effects.contains(&Effect::Ignore(id("c"))));
    assert!(rig.directory.host("c").is_none());
    assert_eq!(rig.host("a").wanted, before, "labels are not the host's business");
    assert_eq!(rig.host("a").labels["env"], "prod");
}

#[test]
fn revisions_follow_what_redis_holds() {
    let hosts = "[hosts.same]\ntemplates = [\"linux\"]\n[hosts.ours]\ntemplates = [\"linux\"]\n[hosts.theirs]\ntemplates = [\"linux\"]\n";
    let rig = Rig::new(hosts);
    let content = rig.host("same").wanted.unwrap().content;
    let other = hostwatch_wire::ContentHash::of(b"other");
    let future = rig.now.wall_ms + 1_000_000;
    let key = |host: &str, server, number, content| FoundKey {
        host: id(host),
        config: Some((server, Revision { number, content })),
    };
    // As at a start: nothing is settled yet.
    let mut rig = Rig::restored(hosts, Saved::default());
    for host in rig.fleet.hosts.values_mut() {
        host.revision_settled = false;
    }
    rig.fleet.on_keys(
        vec![
            key("same", SERVER, 5, content),
            key("ours", SERVER, future, other),
            key("theirs", ServerId(8), future, other),
            key("nobody", SERVER, 1, other),
        ],
        rig.now,
    );
    let effects = rig.effects();
    let mut written = retained(&effects);
    written.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        written,
        [
            ("ours".to_owned(), Revision { number: future + 1, content }),
            ("same".to_owned(), Revision { number: 5, content }),
        ]
    );
    assert!(effects.contains(&Effect::Forget(id("nobody"))));
    assert!(rig.directory.summary().config_conflict, "another server is at work");
    assert_eq!(welcomes(&effects).len(), 3, "everybody hears of this life");

    rig.fleet.on_keys(Vec::new(), rig.now);
    let effects = rig.effects();
    assert_eq!(retained(&effects).len(), 3, "after FLUSHALL every key is written again");
    assert!(!rig.directory.summary().config_conflict);
}

#[test]
fn a_hosts_newer_number_is_overtaken() {
    let mut rig = Rig::new(WEB);
    let ahead =
        Revision { number: rig.now.wall_ms + 5_000, content: hostwatch_wire::ContentHash::of(b"another server's") };
    let effects = rig.hello_with("web", 1, Some(ahead), Vec::new());
    assert_eq!(retained(&effects)[0].1.number, ahead.number + 1);
    let endless = Revision { number: 1 << 53, ..ahead };
    let effects = rig.hello_with("web", 1, Some(endless), Vec::new());
    assert_eq!(retained(&effects)[0].1.number, 1 << 53, "what the wire carries");
}

#[test]
fn a_host_that_does_not_run_what_it_should_is_reminded() {
    let mut rig = Rig::new(WEB);
    rig.hello("web", 1);
    assert_eq!(rig.report("web", 1, 1, 1.0), [], "it may be about to");
    rig.pass(61 * SECOND);
    rig.effects();
    let effects = rig.report("web", 1, 2, 1.0);
    assert_eq!(welcomes(&effects).len(), 1);
    assert_eq!(rig.report("web", 1, 3, 1.0), [], "not all the time");
}
