//! What happens to the daemons.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Redis, Server, ServerSetup, Signal, eventually};
use serde_json::Value;

use super::{OUTAGE, Rig, RigSetup};
use crate::fleet::{ANY_HOST, DEADLINE, books, figure, is_up, start_client};

#[test]
fn the_server_is_killed_in_the_middle_of_a_burst() -> Result<()> {
    let mut rig = Rig::start_with(Redis::start()?, RigSetup { interval: Some("100ms"), ..RigSetup::default() })?;
    rig.kill_the_server_for(Duration::from_secs(3))?;
    // Again, while the hosts answer with what it has missed.
    rig.server.eventually("what was missed comes", DEADLINE, |page| {
        let books = books(page, "one")?;
        ensure!(books.outstanding > 0.0, "nothing is outstanding of {}", books.sequence);
        Ok(())
    })?;
    rig.kill_the_server_for(Duration::ZERO)?;
    rig.recovers()?.has_filled_gaps();
    Ok(())
}

#[test]
fn the_server_is_away_for_longer_than_a_host_may_be_silent() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.kill_the_server_for(OUTAGE)?;
    rig.recovers().map(drop)
}

#[test]
fn a_client_restarts_while_redis_is_away() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.redis.stop()?;
    rig.wait_for_an_outage()?;
    let before = received_total(&rig.server.page()?)?;
    rig.clients[0].terminate()?;
    let log = rig.clients[0].process.log();
    let saved = log.lines().find_map(|line| line.split_once(" reports are saved in")?.0.split(' ').next_back());
    let saved: f64 = saved.with_context(|| format!("nothing is saved: {log}"))?.parse()?;
    ensure!(
        saved >= before + 5.0,
        "{saved} reports are saved, and {before} had arrived: those of the outage are not there"
    );
    rig.clients[0].start_again()?;
    rig.redis.start_again()?;
    // What the first process could not send has come in the second one's name, under its own epoch.
    rig.server.eventually("all of both lives has arrived", DEADLINE, |page| {
        let (total, books) = (received_total(page)?, books(page, "one")?);
        ensure!(total == saved + books.received, "{total} of {saved} and {}", books.received);
        Ok(())
    })?;
    rig.recovers().map(drop)
}

/// What the server has received of the host `one`, in all its lives.
fn received_total(page: &Page) -> Result<f64> {
    figure(page, "hostwatch_host_reports_received_total", "one")
}

/// What the client says of itself in its status file, which is written every few seconds.
fn status(client: &Client) -> Result<Value> {
    let asked_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    eventually("the client says how it is", DEADLINE, || {
        let status: Value = serde_json::from_slice(&std::fs::read(client.status_file())?)?;
        ensure!(status["time_ms"].as_u64() > Some(asked_ms), "{status} is old");
        Ok(status)
    })
}

/// How many reports have left the client's ring, by its own word.
fn dropped_from_the_ring(client: &Client) -> Result<f64> {
    status(client)?["ring"]["dropped"].as_f64().context("no count of dropped reports")
}

#[test]
fn what_no_longer_fits_into_the_ring_is_lost_and_counted() -> Result<()> {
    // A machine with so many processors that a second's reports take a good part of the smallest ring.
    let procfs = tempfile::tempdir()?;
    let mut stat = "cpu 1 2 3 4 5 6 7 8 9 10\n".to_owned();
    (0..2_000).try_for_each(|cpu| writeln!(stat, "cpu{cpu} 1 2 3 4 5 6 7 8 9 10"))?;
    std::fs::write(procfs.path().join("stat"), stat)?;
    std::fs::write(procfs.path().join("loadavg"), "0.5 0.5 0.5 1/100 4242\n")?;
    std::fs::write(procfs.path().join("meminfo"), "MemTotal: 1000 kB\nMemFree: 500 kB\n")?;
    let redis = Redis::start()?;
    let large = ClientSetup {
        redis_url: redis.url(),
        toml: Some("[buffer]\nmax_size = \"2MiB\"\n".to_owned()),
        procfs: Some(procfs.path().to_owned()),
        ..ClientSetup::default()
    };
    let mut rig = Rig::start_with(redis, RigSetup { first: Some(large), ..RigSetup::default() })?;
    rig.redis.stop()?;
    rig.wait_for_silence_of("one", Duration::from_secs(3))?;
    let before = books(&rig.server.page()?, "one")?;
    ensure!(before.received == before.sequence, "all that was published has arrived");
    eventually("the ring has dropped what never arrived", DEADLINE, || {
        let dropped = dropped_from_the_ring(&rig.clients[0])?;
        ensure!(dropped >= before.received + 5.0, "{dropped} reports");
        Ok(())
    })?;
    // From now on it has room for everything: what it has dropped so far is all that it ever drops.
    rig.clients[0].write_settings("[buffer]\nmax_size = \"256MiB\"\n")?;
    rig.clients[0].reload()?;
    rig.clients[0].process.eventually("the ring is larger", DEADLINE, |process| {
        ensure!(process.log().contains("the settings were read again"));
        Ok(())
    })?;
    let dropped = dropped_from_the_ring(&rig.clients[0])?;
    rig.resident.remove(rig.clients[0].process.name());
    rig.redis.start_again()?;
    let toll = rig.settles()?;
    let (page, after) = (&toll.page, books(&toll.page, "one")?);
    assert_eq!(dropped_from_the_ring(&rig.clients[0])?, dropped, "the ring has dropped more");
    // The ring drops the oldest first, and those that had arrived are the oldest.
    assert_eq!(
        after.lost,
        dropped - before.received,
        "of {dropped} that the ring dropped {} had arrived",
        before.received
    );
    assert_eq!((after.sequence, after.outstanding), (after.received + after.lost, 0.0), "nothing was left out");
    assert_eq!(figure(page, "hostwatch_host_reports_lost_total", "one")?, after.lost);
    for host in ["two", "three"] {
        assert_eq!(toll.hosts[host].lost, 0.0, "{host} has lost something");
    }
    Ok(())
}

#[test]
fn two_clients_that_say_they_are_one_host_are_named() -> Result<()> {
    let mut rig = Rig::start()?;
    let second = start_client(&rig.redis, "one")?;
    rig.clients.push(second);
    rig.server.eventually("the host is in conflict", DEADLINE, |page| {
        let conflict = page.value("hostwatch_host_state", &[("instance", "one"), ("state", "conflict")]);
        ensure!(conflict == Some(1.0), "no conflict");
        Ok(())
    })?;
    let host: Value = serde_json::from_str(&rig.server.get("/api/v1/hosts/one")?.1)?;
    let (log, (_, overview)) = (rig.server.process.log(), rig.server.get("/")?);
    assert!(log.contains("two clients say that they are one"), "{log}");
    for client in [&rig.clients[0], &rig.clients[3]] {
        let status = status(client)?;
        let epoch = status["epoch"].as_str().context("no epoch")?;
        assert!(log.contains(epoch) && overview.contains(epoch), "{epoch} is not named");
        let named = host["conflict"].as_array().is_some_and(|both| both.iter().any(|one| one["epoch"] == epoch));
        assert!(named, "{epoch} is not in {host}");
    }
    let page = rig.server.page()?;
    assert!(page.value("node_load1", &[("instance", "one")]).is_none(), "whose value would it be?");
    books(&page, "two").context("the other host is not concerned")?;
    is_up(&page, "two")?;
    rig.clients[3].terminate()?;
    rig.recovers()?.is_nothing_for(&["two", "three"]);
    Ok(())
}

#[test]
fn a_server_that_starts_anew_has_the_past_again() -> Result<()> {
    // Every report has a load, since nobody is in the way of a tick and no heartbeat comes in between.
    const SETTINGS: &str = "[delivery]\nack_interval = \"1s\"\n";
    const SERVICES: &str = r#"
[services.load]
plugin = "load"
interval = "1s"
[services.memory]
plugin = "memory"
interval = "10s"
"#;
    const RULES: &str = r#"
[rules.loads]
record = "remembered:load1:count"
expr = 'count_over_time(node_load1[10m])'
interval = "1s"
[rules.memories]
record = "remembered:memory:count"
expr = 'count_over_time(node_memory_MemTotal_bytes[10m])'
interval = "1s"
"#;
    let redis = Redis::start()?;
    let templates = "[templates.linux]\nservices = [\"load\", \"memory\"]\n";
    let files = [
        ("server.toml", SETTINGS),
        ("hosts.toml", ANY_HOST),
        ("templates.toml", templates),
        ("services/linux.toml", SERVICES),
        ("rules/fleet.toml", RULES),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let mut server = Server::start(&ServerSetup { redis_url: redis.url(), files, ..ServerSetup::default() })?;
    let _client = start_client(&redis, "one")?;
    // How many reports there are, and how many values of the rare service: of the frequent one each report has one.
    let remembers = |page: &Page| -> Result<(f64, f64)> {
        let counted = |of: &str| figure(page, &format!("remembered:{of}:count"), "one");
        let (reports, loads) = (figure(page, "hostwatch_host_report_sequence", "one")?, counted("load1")?);
        // A rule may see a report a moment before the page has its number.
        assert!(loads <= reports + 1.0, "{loads} loads are remembered of {reports} reports");
        ensure!(loads == reports, "{loads} loads are remembered of {reports} reports");
        Ok((reports, counted("memory")?))
    };
    let before = server.eventually("the rare service has a past", DEADLINE, |page| {
        let (reports, memories) = remembers(page)?;
        ensure!(memories >= 2.0, "{memories} values");
        Ok((reports, memories))
    })?;
    // Neither the state of the fleet nor of the alerts: all that it knows comes from the host.
    server.kill()?;
    for file in ["fleet.state", "alerts.state"] {
        let _ = std::fs::remove_file(server.state_directory().join(file));
    }
    server.start_again()?;
    let after = server.eventually("it has them again", DEADLINE, |page| {
        let (reports, memories) = remembers(page)?;
        ensure!(memories >= before.1, "{memories} of {} values", before.1);
        Ok((reports, memories))
    })?;
    let new = 1.0 + (after.0 - before.0) / 10.0;
    assert!(after.1 <= before.1 + new, "{} values of {}, and {} reports since", after.1, before.1, after.0 - before.0);
    Ok(())
}

#[test]
fn a_client_is_killed() -> Result<()> {
    let mut rig = Rig::start()?;
    rig.clients[0].kill()?;
    rig.clients[0].start_again()?;
    // Its next life has books of its own; what the first one had sent is all here.
    rig.recovers()?.is_nothing_for(&["two", "three"]);
    Ok(())
}

#[test]
fn a_client_that_hangs_is_down_until_it_goes_on() -> Result<()> {
    // The alert has to end although reports come all the time.
    let mut rig = Rig::start_with(Redis::start()?, RigSetup { interval: Some("100ms"), ..RigSetup::default() })?;
    rig.clients[0].process.signal(Signal::STOP)?;
    rig.wait_for_silence_of("one", OUTAGE)?;
    rig.clients[0].process.signal(Signal::CONT)?;
    rig.true_alerts = vec![("HostDown", Some("one"))];
    rig.recovers()?.is_nothing_for(&["two", "three"]);
    ensure!(!rig.announced()?.is_empty(), "nobody was told");
    Ok(())
}
