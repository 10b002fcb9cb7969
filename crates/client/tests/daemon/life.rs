//! A client's life as its server sees it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hostwatch_testkit::{Redis, Signal, eventually};
use hostwatch_wire::{
    Ack, Acked, ClaimedValue, Epoch, HostBody, LayoutId, Resend, SeqRange, ServerBody, Status, WantLayout,
};

use crate::fake_server::{FakeServer, SERVER, client, config, service};

const DEADLINE: Duration = Duration::from_secs(20);

/// A /proc with a load average and nothing else.
fn procfs(directory: &Path) -> std::path::PathBuf {
    let procfs = directory.join("proc");
    fs::create_dir_all(&procfs).unwrap();
    fs::write(procfs.join("loadavg"), "0.50 1.00 2.00 1/100 4242\n").unwrap();
    procfs
}

/// The number of the next report with an ok result of `load`, and the layouts that came with it.
async fn load_report(server: &mut FakeServer) -> (u64, Option<LayoutId>, Vec<LayoutId>) {
    let report = |_, body: &HostBody<'_>| match body {
        HostBody::Report(report) => {
            let service = report.services.iter().find(|service| service.service == "load")?;
            assert_eq!(service.status, Status::Ok, "{:?}", service.message);
            assert_eq!(service.values.iter().collect::<Vec<_>>(), [0.5, 1.0, 2.0]);
            let layouts = report.layouts.iter().map(|layout| {
                assert_eq!(layout.decode().unwrap().len(), 3);
                layout.id()
            });
            Some((report.seq, service.layout, layouts.collect()))
        }
        _ => None,
    };
    server.expect("a report of load", report).await
}

#[tokio::test]
async fn joins_runs_answers_and_says_goodbye() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let toml = "labels = { role = \"web\" }";
    let mut client = client(&redis, "web01", &procfs(directory.path()), directory.path(), toml);

    let (epoch, hello) = server.hello().await;
    assert_eq!((hello.revision, hello.labels["role"].clone()), (None, ClaimedValue("web".to_owned())));
    assert!(!hello.facts.kernel.is_empty());
    server.welcome(Some(Epoch(epoch.0.wrapping_add(1)))).await;
    assert_eq!(server.hello().await.0, epoch, "a welcome to somebody else is no answer");
    server.welcome(Some(epoch)).await;

    // The configuration comes by the channel; what cannot run is named, and the rest runs.
    let first = config(10, vec![service("load", "load", 100), service("odd", "nonsense", 1_000)]);
    server.retain(&first).await;
    let applied =
        |_, body: &HostBody<'_>| if let HostBody::Applied(applied) = body { Some(applied.clone()) } else { None };
    let applied = server.expect("applied", applied).await;
    assert_eq!((applied.revision, applied.refused.len()), (first.revision, 1));
    assert!(applied.refused[0].reason.contains("nonsense"), "{}", applied.refused[0].reason);

    let (seq, layout, layouts) = load_report(&mut server).await;
    assert_eq!(layouts, [layout.unwrap()]);
    let (next, same, none) = load_report(&mut server).await;
    assert_eq!((next, same, none), (seq + 1, layout, vec![]));

    // An older configuration is ignored; what is asked for comes again, and what never was does not.
    server.retain(&config(9, vec![])).await;
    server.say(ServerBody::Resend(Resend { epoch, ranges: vec![SeqRange { first: seq, last: seq }] })).await;
    let again = |_, body: &HostBody<'_>| match body {
        HostBody::Report(report) if report.seq == seq => Some(report.layouts.len()),
        _ => None,
    };
    assert_eq!(server.expect("the report again", again).await, 1, "as it was the first time");
    let unknown = Epoch(epoch.0.wrapping_add(1));
    server.say(ServerBody::Resend(Resend { epoch: unknown, ranges: vec![SeqRange { first: 3, last: 4 }] })).await;
    server.say(ServerBody::WantLayout(WantLayout { layouts: vec![LayoutId::of(b"?"), layout.unwrap()] })).await;
    let layouts = |_, body: &HostBody<'_>| match body {
        HostBody::Gone(gone) => panic!("whether {gone:?} holds only the client of that epoch can say"),
        HostBody::Layouts(list) => Some(list.layouts.iter().map(|layout| layout.id()).collect::<Vec<_>>()),
        _ => None,
    };
    assert_eq!(server.expect("the layout", layouts).await, [layout.unwrap()]);

    // Acknowledgements are remembered, and a server's new life wants a hello and the layouts.
    server.say(ServerBody::Ack(Ack { epoch, up_to: seq, goodbye: false })).await;
    server.life = hostwatch_wire::Life(2);
    server.welcome(None).await;
    let (mut sent_again, mut hello) = (None, None);
    let both = |_, body: &HostBody<'_>| {
        match body {
            HostBody::Hello(said) => hello = Some((**said).clone()),
            HostBody::Report(report) if !report.layouts.is_empty() => sent_again = Some(report.layouts[0].id()),
            _ => {}
        }
        hello.clone().zip(sent_again)
    };
    let (hello, sent_again) = server.expect("hello and the layout", both).await;
    assert_eq!((hello.revision, sent_again), (Some(first.revision), layout.unwrap()));
    assert_eq!(hello.ring[0].acked, [Acked { server: SERVER, up_to: seq }]);
    server.welcome(Some(epoch)).await;

    client.process.signal(Signal::TERM).unwrap();
    let goodbye = |_, body: &HostBody<'_>| match body {
        HostBody::Goodbye(goodbye) => Some(goodbye.last_seq),
        _ => None,
    };
    let last_seq = server.expect("goodbye", goodbye).await;
    assert!(last_seq > next);
    // What is missing is still there to be asked for.
    server.say(ServerBody::Resend(Resend { epoch, ranges: vec![SeqRange { first: seq, last: seq }] })).await;
    server.say(ServerBody::WantLayout(WantLayout { layouts: vec![layout.unwrap()] })).await;
    let (mut report, mut answer) = (false, false);
    let both = |_, body: &HostBody<'_>| {
        report |= matches!(body, HostBody::Report(report) if report.seq == seq);
        answer |= matches!(body, HostBody::Layouts(_));
        (report && answer).then_some(())
    };
    server.expect("report and layout after the goodbye", both).await;
    let asked = Instant::now();
    server.say(ServerBody::Ack(Ack { epoch, up_to: last_seq, goodbye: true })).await;
    assert!(client.process.wait_exit(DEADLINE).unwrap().success(), "{}", client.process.log());
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn starts_from_the_key_and_without_redis_from_the_disk() {
    let (mut redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let wanted = config(10, vec![service("load", "load", 200)]);
    server.retain(&wanted).await;
    let mut client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let (first_epoch, hello) = server.hello().await;
    assert_eq!(hello.revision, Some(wanted.revision), "the key is read before hello is said");
    server.welcome(Some(first_epoch)).await;
    let (seq, ..) = load_report(&mut server).await;
    server.say(ServerBody::Ack(Ack { epoch: first_epoch, up_to: seq, goodbye: false })).await;
    load_report(&mut server).await;
    assert!(client.terminate().unwrap().success());
    redis.stop().unwrap();

    client.start_again().unwrap();
    let status_file = client.status_file();
    let status = client.process.eventually("runs from the disk", DEADLINE, |_| {
        let status: serde_json::Value = serde_json::from_slice(&fs::read(&status_file)?)?;
        ensure!(status["last_seq"].as_u64().context("last_seq")? >= 2, "{status}");
        Ok(status)
    });
    let status = status.unwrap();
    assert_eq!(status["revision"], wanted.revision.to_string());
    assert!(status["state"].as_str().unwrap().starts_with("waiting for Redis"), "{status}");

    redis.start_again().unwrap();
    let mut server = FakeServer::start(&redis, "web01").await;
    let (second_epoch, hello) = server.hello().await;
    assert_ne!(second_epoch, first_epoch);
    let ring: HashMap<_, _> = hello.ring.iter().map(|range| (range.epoch, range)).collect();
    assert_eq!((ring.len(), ring[&second_epoch].first), (2, 1));
    assert_eq!(ring[&first_epoch].acked, [Acked { server: SERVER, up_to: seq }]);
    server.welcome(Some(second_epoch)).await;
    let range = SeqRange { first: seq, last: seq };
    server.say(ServerBody::Resend(Resend { epoch: first_epoch, ranges: vec![range] })).await;
    let old = |epoch, body: &HostBody<'_>| match body {
        HostBody::Report(report) if epoch == first_epoch => Some(report.seq),
        _ => None,
    };
    assert_eq!(server.expect("a report of the first life", old).await, seq);
}

#[tokio::test]
async fn reports_wait_for_the_welcome() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    server.retain(&config(1, vec![service("load", "load", 100)])).await;
    let _client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let mut newest = 0;
    let many_reports = |epoch, body: &HostBody<'_>| match body {
        HostBody::Hello(hello) => {
            newest = hello.ring.last().map_or(0, |range| range.last);
            (newest > 5).then_some(epoch)
        }
        HostBody::Report(report) => panic!("report {} before the welcome", report.seq),
        _ => None,
    };
    let epoch = server.expect("a hello with reports in the ring", many_reports).await;
    server.welcome(Some(epoch)).await;
    let seq = |_, body: &HostBody<'_>| if let HostBody::Report(report) = body { Some(report.seq) } else { None };
    for expected in 1..=newest + 2 {
        assert_eq!(server.expect("every report in its order", seq).await, expected);
    }
}

#[test]
fn a_publish_that_redis_refuses_is_in_the_log_once() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    redis.cli(&["ACL", "SETUSER", "default", "-publish"]).unwrap();
    let mut client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let status_file = client.status_file();
    let told = client.process.eventually("a refusal in the status", DEADLINE, |_| {
        let status = fs::read_to_string(&status_file)?;
        ensure!(status.contains("cannot publish: refused by Redis: NOPERM"), "{status}");
        Ok(())
    });
    told.unwrap();
    client.terminate().unwrap();
    let log = client.process.log();
    let complaints =
        log.lines().filter(|line| line.contains("WARN") && line.contains("cannot publish: refused by Redis: NOPERM"));
    assert_eq!(complaints.count(), 1, "{log}");
}

#[tokio::test]
async fn a_plugin_that_hangs_holds_nothing_up() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let procfs = procfs(directory.path());
    // Whoever opens a pipe that nobody writes waits.
    let made = std::process::Command::new("mkfifo").arg(procfs.join("meminfo")).status().unwrap();
    assert!(made.success());
    let mut server = FakeServer::start(&redis, "web01").await;
    server.retain(&config(1, vec![service("load", "load", 500), service("stuck", "memory", 500)])).await;
    let mut client = client(&redis, "web01", &procfs, directory.path(), "");
    let (epoch, _) = server.hello().await;
    server.welcome(Some(epoch)).await;
    let stuck = |_, body: &HostBody<'_>| match body {
        HostBody::Report(report) => {
            let stuck = report.services.iter().find(|service| service.service == "stuck")?;
            assert_eq!(stuck.status, Status::TimedOut);
            stuck.message.filter(|message| message.starts_with("still running since")).map(str::to_owned)
        }
        _ => None,
    };
    server.expect("still running", stuck).await;
    load_report(&mut server).await;
    server.retain(&config(2, vec![service("load", "load", 500)])).await;
    load_report(&mut server).await;
    let asked = Instant::now();
    client.terminate().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn reload_takes_labels_and_keeps_the_old_settings_at_a_mistake() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let (epoch, _) = server.hello().await;
    server.welcome(Some(epoch)).await;
    let file = directory.path().join("config/client.toml");

    fs::write(&file, "labels = { job = \"x\" }\n[buffer]\nmax_age = \"1s\"\n").unwrap();
    client.process.signal(Signal::HUP).unwrap();
    let told = eventually("both mistakes in the log", DEADLINE, || {
        let log = client.process.log();
        ensure!(
            log.contains("client.toml:1: labels.job: ") && log.contains("client.toml:3: buffer.max_age: "),
            "{log}"
        );
        Ok(())
    });
    told.unwrap();

    fs::write(&file, "labels = { role = \"db\" }\n").unwrap();
    client.process.signal(Signal::HUP).unwrap();
    let labels = |_, body: &HostBody<'_>| match body {
        HostBody::Hello(hello) => hello.labels.get("role").cloned(),
        _ => None,
    };
    assert_eq!(server.expect("a hello with the new label", labels).await, ClaimedValue("db".to_owned()));
}

#[tokio::test]
async fn a_connection_over_which_nobody_answers_is_replaced() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let _client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let (epoch, _) = server.hello().await;
    // The shortest interval, and from now on the server is there and says nothing.
    server.welcome_with(Some(epoch), 1_000).await;
    let first = connection(&redis).unwrap();
    let replaced = eventually("another connection", DEADLINE, || {
        let now = connection(&redis)?;
        ensure!(now != first, "still {now}");
        Ok(())
    });
    replaced.unwrap();
    let (again, _) = server.hello().await;
    assert_eq!(again, epoch, "it is the same client");
}

/// Which connection of Redis is that of the client `web01`.
fn connection(redis: &Redis) -> anyhow::Result<String> {
    let clients = redis.cli(&["client", "list"])?;
    let line = clients.lines().find(|line| line.contains(" name=hostwatch-client:web01 "));
    let id = line.and_then(|line| line.split(' ').next()).context("the client is not connected")?;
    Ok(id.to_owned())
}

#[tokio::test]
async fn a_server_that_is_away_is_told_from_a_bad_connection() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let (epoch, _) = server.hello().await;
    // Its patience would be over within 6 s.
    server.welcome_with(Some(epoch), 1_000).await;
    let first = connection(&redis).unwrap();
    server.leave().await;
    let sentence = || {
        let status: serde_json::Value = serde_json::from_slice(&fs::read(client.status_file())?)?;
        Ok::<_, anyhow::Error>(status["state"].as_str().context("no state")?.to_owned())
    };
    let away = "connected to Redis, where no server listens";
    let said = eventually("it says that no server listens", DEADLINE, || {
        let sentence = sentence()?;
        ensure!(sentence.starts_with(away), "{sentence}");
        Ok(())
    });
    said.unwrap();
    let begin = Instant::now();
    let waited = eventually("its patience would be over", DEADLINE, || {
        assert_eq!(connection(&redis).unwrap(), first, "it has given its connection up");
        ensure!(begin.elapsed() >= Duration::from_secs(13), "not yet");
        Ok(())
    });
    waited.unwrap();
    assert!(sentence().unwrap().starts_with(away), "{}", sentence().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    server.welcome(None).await;
    assert_eq!(server.hello().await.0, epoch, "it finds the server that returns");
}

#[tokio::test]
async fn without_a_service_there_are_heartbeats() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let mut server = FakeServer::start(&redis, "web01").await;
    let _client = client(&redis, "web01", &procfs(directory.path()), directory.path(), "");
    let (epoch, _) = server.hello().await;
    server.welcome(Some(epoch)).await;
    let heartbeat = |_, body: &HostBody<'_>| match body {
        HostBody::Report(report) => {
            assert!(report.services.is_empty(), "{:?}", report.services);
            Some(report.seq)
        }
        _ => None,
    };
    for seq in 1..=3 {
        assert_eq!(server.expect("a heartbeat", heartbeat).await, seq);
    }
}

#[tokio::test]
async fn a_ring_that_is_not_its_own_is_set_aside() {
    let (redis, directory) = (Redis::start().unwrap(), tempfile::tempdir().unwrap());
    let procfs = procfs(directory.path());
    let mut server = FakeServer::start(&redis, "web01").await;
    server.retain(&config(1, vec![service("load", "load", 100)])).await;
    let mut other = client(&redis, "web01", &procfs, directory.path(), "");
    let (epoch, _) = server.hello().await;
    server.welcome(Some(epoch)).await;
    load_report(&mut server).await;
    assert!(other.terminate().unwrap().success());
    let ring = other.state_directory().join("ring");

    for (content, reason) in
        [(fs::read(&ring).unwrap(), "it is the ring of host web01"), (b"garbage".to_vec(), "this is no ring")]
    {
        fs::write(&ring, &content).unwrap();
        let mut server = FakeServer::start(&redis, "web02").await;
        let mut client = client(&redis, "web02", &procfs, directory.path(), "");
        let (epoch, hello) = server.hello().await;
        assert!(hello.ring.iter().all(|range| range.epoch == epoch), "{:?}", hello.ring);
        server.welcome(Some(epoch)).await;
        let report = |_, body: &HostBody<'_>| if let HostBody::Report(report) = body { Some(report.seq) } else { None };
        assert_eq!(server.expect("a report", report).await, 1, "it runs on");

        let log = client.process.log();
        let line = log.lines().find(|line| line.contains("/ring is not used")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(reason), "{line}");
        let aside = line.split_once("; it is ").and_then(|(_, rest)| rest.strip_suffix(" now")).unwrap();
        assert!(aside.contains("/ring.corrupt-"), "{line}");
        assert_eq!(fs::read(aside).unwrap(), content, "{line}");
        assert!(client.terminate().unwrap().success());
        // Two in the same second would have the same name.
        fs::remove_file(aside).unwrap();
    }
}
