//! Redis, server and client come and go, in every order; configuration and counts survive.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hostwatch_testkit::{Client, ClientSetup, Page, Process, Redis, Server, ServerSetup, free_port};

use crate::fleet::{ANY_HOST, DEADLINE, books, figure, files, is_up, revision, start_client, start_server};

/// The promise: so long after the last start everything is up again.
const BACK: Duration = Duration::from_secs(20);

/// When the newest report of `host` was received.
fn last_report(page: &Page, host: &str) -> Result<f64> {
    figure(page, "hostwatch_host_last_report_timestamp_seconds", host)
}

fn no_panic(processes: [&Process; 2]) {
    for process in processes {
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
}

#[test]
fn all_are_up_again_whatever_the_order() -> Result<()> {
    let mut redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    for order in ["rsc", "rcs", "src", "scr", "crs", "csr"] {
        redis.kill()?;
        server.kill()?;
        client.kill()?;
        for part in order.chars() {
            match part {
                'r' => redis.start_again()?,
                's' => server.start_again()?,
                _ => client.start_again()?,
            }
        }
        let started = Instant::now();
        server.eventually(&format!("up after {order}"), BACK, |page| is_up(page, "web"))?;
        println!("{order}: up {:.1} s after the last start", started.elapsed().as_secs_f64());
        no_panic([&server.process, &client.process]);
    }
    Ok(())
}

#[test]
fn one_after_the_other_comes_back() -> Result<()> {
    let mut redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    for part in ["redis", "server", "client"] {
        let before = last_report(&server.page()?, "web")?;
        match part {
            "redis" => {
                redis.kill()?;
                redis.start_again()?;
            }
            "server" => {
                server.kill()?;
                server.start_again()?;
            }
            _ => {
                client.kill()?;
                client.start_again()?;
            }
        }
        server.eventually(&format!("reports come again after {part}"), BACK, |page| {
            is_up(page, "web")?;
            ensure!(last_report(page, "web")? > before, "no newer report");
            Ok(())
        })?;
        no_panic([&server.process, &client.process]);
    }
    Ok(())
}

#[test]
fn a_host_that_only_matched_is_known_after_a_server_restart() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let _client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    let before = revision(&server.page()?, "web", "applied")?;
    let received = books(&server.page()?, "web")?.received;
    server.terminate()?;
    server.start_again()?;
    let page = server.page()?;
    assert!(figure(&page, "hostwatch_host_up", "web").is_ok(), "it is known from the first second on");
    let page = server
        .eventually("the host is up", Duration::from_secs(35), |page| is_up(page, "web").map(|()| page.clone()))?;
    assert_eq!(revision(&page, "web", "wanted")?, before, "unchanged content keeps its revision");
    let books_after = books(&page, "web")?;
    assert!(books_after.received > received, "the books go on");
    assert_eq!(books_after.lost, 0.0);
    let counted = figure(&page, "hostwatch_host_reports_received_total", "web")?;
    assert!(counted < books_after.received, "counters begin with the process");

    // Without what it saved, the server finds the host by its key in Redis.
    server.kill()?;
    std::fs::remove_file(server.state_directory().join("fleet.state"))?;
    server.start_again()?;
    let page = server
        .eventually("the host is up", Duration::from_secs(35), |page| is_up(page, "web").map(|()| page.clone()))?;
    assert_eq!(revision(&page, "web", "wanted")?, before, "unchanged content keeps its revision");
    assert_eq!(books(&page, "web")?.lost, 0.0, "what is missing may still come");
    Ok(())
}

#[test]
fn a_client_restart_begins_a_new_epoch() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    let enough = |page: &Page| {
        let books = books(page, "web")?;
        ensure!(books.received >= 3.0, "{} reports", books.received);
        assert_eq!((books.lost, books.outstanding), (0.0, 0.0));
        Ok(books)
    };
    server.eventually("reports come", DEADLINE, enough)?;
    client.terminate()?;
    let last = books(&server.page()?, "web")?;
    assert_eq!((last.lost, last.outstanding), (0.0, 0.0), "it sent what it held and said goodbye");
    assert_eq!(server.page()?.value("hostwatch_host_state", &[("instance", "web"), ("state", "left")]), Some(1.0));
    assert!(figure(&server.page()?, "node_load1", "web").is_err(), "its series have left");
    client.start_again()?;
    let page = server.eventually("a new epoch counts from 1", DEADLINE, |page| {
        is_up(page, "web")?;
        let books = enough(page)?;
        ensure!(books.sequence < last.sequence + 100.0, "it goes on counting");
        Ok(page.clone())
    })?;
    let now = books(&page, "web")?;
    let of = |name: &str| figure(&page, &format!("hostwatch_host_reports_{name}_total"), "web");
    assert_eq!(of("received")?, last.received + now.received, "every report of both epochs, each once");
    assert_eq!((of("lost")?, of("duplicate")?), (0.0, 0.0));
    Ok(())
}

#[test]
fn redis_may_forget_everything() -> Result<()> {
    let mut redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    let before = revision(&server.page()?, "web", "applied")?;
    redis.cli(&["FLUSHALL"])?;
    client.kill()?;
    std::fs::remove_dir_all(client.state_directory())?;
    std::fs::create_dir(client.state_directory())?;
    let killed = last_report(&server.page()?, "web")?;
    client.start_again()?;
    server.eventually("a client that remembers nothing has its configuration", DEADLINE, |page| {
        ensure!(last_report(page, "web")? > killed, "no newer report");
        is_up(page, "web")
    })?;
    redis.cli(&["FLUSHALL"])?;
    redis.kill()?;
    redis.start_again()?;
    let key = || redis.cli(&["EXISTS", "hostwatch:{web}:config"]);
    server.eventually("the key is written again", DEADLINE, |_| {
        ensure!(key()?.trim() == "1", "there is no key");
        Ok(())
    })?;
    let page = server.eventually("the host is up", DEADLINE, |page| is_up(page, "web").map(|()| page.clone()))?;
    assert_eq!(revision(&page, "web", "applied")?, before);
    Ok(())
}

#[test]
fn both_run_and_wait_when_redis_is_away() -> Result<()> {
    let mut redis = Redis::start()?;
    redis.stop()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    let (status, body) = server.get("/-/ready")?;
    assert_eq!(status, 503, "{body}");
    assert_eq!(server.get("/-/healthy")?.0, 200);
    assert_eq!(server.page()?.value("hostwatch_redis_connected", &[]), Some(0.0));
    for process in [&mut server.process, &mut client.process] {
        // By the fourth attempt the waits have grown.
        let attempts = |process: &Process| process.log().matches("Redis").count();
        process.eventually("it says that it waits", DEADLINE, |process| {
            ensure!(attempts(process) >= 3, "{} lines", attempts(process));
            Ok(())
        })?;
    }
    let (begin, used) = (Instant::now(), [server.process.cpu_time()?, client.process.cpu_time()?]);
    // Long enough to tell a loop from a wait: two of the longest back-offs.
    hostwatch_testkit::eventually("time passes", DEADLINE, || {
        ensure!(begin.elapsed() >= Duration::from_secs(10), "not yet");
        Ok(())
    })?;
    let per_minute =
        |now: Duration, before: Duration| (now - before).as_secs_f64() * 60.0 / begin.elapsed().as_secs_f64();
    let server_cpu = per_minute(server.process.cpu_time()?, used[0]);
    let client_cpu = per_minute(client.process.cpu_time()?, used[1]);
    println!("CPU per minute while Redis is away: server {server_cpu:.2} s, client {client_cpu:.2} s");
    assert!(server_cpu < 6.0 && client_cpu < 6.0, "a busy loop: {server_cpu:.1} s and {client_cpu:.1} s a minute");
    redis.start_again()?;
    server.eventually("the host is up", BACK, |page| is_up(page, "web"))?;
    Ok(())
}

#[test]
fn a_client_measures_by_what_it_remembers() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    client.terminate()?;
    server.terminate()?;
    redis.cli(&["FLUSHALL"])?;
    client.start_again()?;
    client.process.eventually("it runs what it remembers", DEADLINE, |process| {
        ensure!(process.log().contains("(saved on disk) is in force: 3 services run"), "not yet");
        Ok(())
    })?;
    server.start_again()?;
    server.eventually("what it measured meanwhile has not been waited for", BACK, |page| is_up(page, "web"))?;
    Ok(())
}

#[test]
fn both_stop_when_told() -> Result<()> {
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", ANY_HOST)?;
    let mut client = start_client(&redis, "web")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "web"))?;
    assert!(client.terminate()?.success());
    assert!(server.terminate()?.success());
    // And when nobody answers.
    let nobody = format!("redis://127.0.0.1:{}", free_port()?);
    let mut server = Server::start(&ServerSetup {
        redis_url: nobody.clone(),
        files: files("", ANY_HOST),
        ..ServerSetup::default()
    })?;
    let mut client = Client::start(&ClientSetup { redis_url: nobody, ..ClientSetup::default() })?;
    client.process.eventually("it runs", DEADLINE, |process| {
        ensure!(process.log().contains("Redis"), "not yet");
        Ok(())
    })?;
    let limit = Duration::from_secs(10);
    assert!(client.process.terminate(limit)?.success());
    assert!(server.process.terminate(limit)?.success());
    Ok(())
}
