//! Too much of everything.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Redis, Server, Speaker, eventually};
use hostwatch_wire::{EncodedLayout, Family, HostBody, Label, Layout, Layouts, Series, Suffix};

use super::evil::{Evil, gauge};
use super::{ROOM, Rig, scrape, stands};
use crate::fleet::{DEADLINE, figure, is_up, start_client, start_server};

/// How long a flood lasts, and how much comes in a second of it.
const SECONDS: usize = 5;
const RATE: usize = 12_000;

/// Scrapes the page again and again while `attack` goes on, and hands out what becomes of it. No scrape may take long.
fn under_fire<T: Send>(server: &Server, attack: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let attack = scope.spawn(attack);
        let mut scrapes = 0;
        while !attack.is_finished() {
            scrape(server)?;
            scrapes += 1;
        }
        println!("{scrapes} scrapes");
        attack.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Publishes `message` as `evil`, 12,000 times a second; less often where Redis does not take so much.
fn flood(rig: &Rig, channel: &str, message: &[u8]) -> Result<()> {
    const AT_ONCE: usize = RATE / 50;
    let mut speaker = rig.evil_speaker()?;
    under_fire(&rig.server, || {
        let begin = Instant::now();
        for sent in (0..SECONDS * RATE).step_by(AT_ONCE) {
            let due = Duration::from_secs_f64(sent as f64 / RATE as f64);
            eventually("it is time for more", DEADLINE, || {
                ensure!(begin.elapsed() >= due, "not yet");
                Ok(())
            })?;
            speaker.publish((0..AT_ONCE).map(|_| (channel, message)))?;
        }
        println!("{} messages a second", (SECONDS * RATE) as f64 / begin.elapsed().as_secs_f64());
        Ok(())
    })
}

#[test]
fn a_host_that_floods_is_named_and_costs_the_others_nothing() -> Result<()> {
    let mut rig = Rig::start()?;
    let _evil = rig.client("evil")?;
    rig.server.eventually("the evil host is up", DEADLINE, |page| is_up(page, "evil"))?;
    flood(&rig, "hostwatch:{evil}:join", b"garbage-garbage-garbage")?;
    rig.server.eventually("the flood is counted and named", DEADLINE, |page| {
        let refused: f64 = page.series("hostwatch_messages_refused_total").map(|sample| sample.value).sum();
        let of_host = page.value("hostwatch_host_messages_flooded_total", &[("instance", "evil")]);
        let connections = page.value("hostwatch_redis_connections_total", &[]);
        let told = format!("{refused} in all, {of_host:?} of the host, {connections:?} connections");
        // Of so many messages a second 500 pass, which are refused one by one.
        let all = (SECONDS * RATE) as f64;
        ensure!(refused >= all && of_host > Some(all / 2.0), "{told}");
        ensure!(page.value("hostwatch_host_messages_flooded_total", &[("instance", "good")]) == Some(0.0));
        Ok(())
    })?;
    flood(&rig, "hostwatch:{evil}:reports", b"garbage-garbage-garbage")?;
    eventually("nobody listens to it", DEADLINE, || {
        let heard = rig.answer("host-evil", &["publish", "hostwatch:{evil}:reports", "x"])?;
        ensure!(heard.trim() == "0", "{heard}");
        Ok(())
    })?;
    rig.stands()?;
    let log = rig.server.process.log();
    ensure!(log.contains("evil floods") && log.lines().count() < 100, "{log}");
    Ok(())
}

#[test]
fn a_flood_of_the_largest_messages() -> Result<()> {
    let mut rig = Rig::start()?;
    let mut speaker = rig.evil_speaker()?;
    let mut evil = Evil::new("evil");
    speaker.publish([(&*evil.join(), &*evil.hello()?)])?;
    rig.server.eventually("the evil host is listened to", DEADLINE, |page| {
        figure(page, "hostwatch_host_up", "evil").map(drop)
    })?;
    // Redis takes no more than a mebibyte. Garbage ends at its first byte; a message that is well formed is read to its end.
    let wide = |number: usize| {
        let value = "x".repeat(1_000);
        let series = (0..1_000).map(|series| Series {
            suffix: Suffix::None,
            labels: vec![Label { name: "wide".to_owned(), value: format!("{number}-{series}-{value}") }],
        });
        EncodedLayout::new(&Layout { families: vec![Family { series: series.collect(), ..gauge("evil_wide", &[]) }] })
    };
    let garbage = vec![0xc1; (1 << 20) - 1];
    let (join, reports) = (evil.join(), evil.reports());
    let mut messages = Vec::new();
    for number in 0..50 {
        let (new, reported) = (wide(number), wide(50 + number));
        let layouts = evil.say(HostBody::Layouts(Layouts { layouts: vec![new] }))?;
        let id = reported.id();
        let report = evil.report_with("load", reported, id, 1.0)?;
        ensure!(layouts.len() > 1_000_000 && report.len() > 1_000_000, "{} and {}", layouts.len(), report.len());
        messages.extend([(&reports, layouts), (&reports, report)]);
    }
    messages.extend([&join, &reports].into_iter().flat_map(|channel| vec![(channel, garbage.clone()); 150]));
    under_fire(&rig.server, || {
        speaker.publish(messages.iter().map(|(channel, message)| (channel.as_str(), message.as_slice())))
    })?;
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        let flooded = figure(page, "hostwatch_host_messages_flooded_total", "evil")?;
        let refused = figure(page, "hostwatch_host_messages_refused_total", "evil")?;
        let layouts = figure(page, "hostwatch_host_layouts_total", "evil")?;
        let told = format!("{flooded} dropped, {refused} refused, {layouts} layouts");
        ensure!(flooded >= 100.0 && refused >= 10.0 && layouts >= 10.0, "{told}");
        Ok(())
    })?;
    rig.stands()
}

#[test]
fn a_flood_of_ever_new_layouts() -> Result<()> {
    const LAYOUTS: u32 = 1_000;
    let mut rig = Rig::start()?;
    let mut speaker = rig.evil_speaker()?;
    let mut evil = Evil::new("evil");
    speaker.publish([(&*evil.join(), &*evil.hello()?)])?;
    let is_up = |page: &Page| ensure_up(page, "evil");
    rig.server.eventually("the evil host is listened to", DEADLINE, is_up)?;
    under_fire(&rig.server, || {
        for number in 0..LAYOUTS {
            let families = (0..50).map(|family| gauge(&format!("evil_{number}_{family}"), &[("a", "b")]));
            let report = evil.report("load", families.collect(), 1.0)?;
            speaker.publish([(&*evil.reports(), &*report)])?;
        }
        Ok(())
    })?;
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        let layouts = figure(page, "hostwatch_host_layouts_total", "evil")?;
        let flooded = figure(page, "hostwatch_host_messages_flooded_total", "evil")?;
        ensure!(layouts + flooded >= f64::from(LAYOUTS), "{layouts} layouts, {flooded} messages dropped");
        Ok(())
    })?;
    let page = rig.server.page()?;
    let shown = page.samples.iter().filter(|sample| sample.name.starts_with("evil_")).count();
    ensure!(shown <= 50, "{shown} series are on the page");
    rig.stands()
}

#[test]
fn a_flood_of_hosts_that_do_not_exist() -> Result<()> {
    const HELLOS: usize = 12_000;
    // Only a Redis without rights lets anybody speak in any name.
    let redis = Redis::start()?;
    let mut server = start_server(&redis, "", "[hosts.good]\ntemplates = [\"linux\"]\n")?;
    let _good = start_client(&redis, "good")?;
    server.eventually("the host is up", DEADLINE, |page| is_up(page, "good"))?;
    let room = server.process.resident_bytes()? + ROOM;
    let mut speaker = Speaker::connect(&redis)?;
    let hellos: Vec<(String, Vec<u8>)> = (0..HELLOS)
        .map(|number| {
            let mut nobody = Evil::new(&format!("nobody-{number}"));
            Ok((nobody.join(), nobody.hello()?))
        })
        .collect::<Result<_>>()?;
    let heard = under_fire(&server, || {
        speaker.publish(hellos.iter().map(|(channel, hello)| (channel.as_str(), hello.as_slice())))
    })? as f64;
    server.eventually("every hello that came through is accounted for", DEADLINE, |page| {
        let value =
            |name: &str, labels: &[(&str, &str)]| page.value(name, labels).with_context(|| format!("no {name}"));
        let refused: f64 = page.series("hostwatch_messages_refused_total").map(|sample| sample.value).sum();
        let pending = value("hostwatch_hosts", &[("state", "pending")])?;
        let dropped = value("hostwatch_inbox_dropped_total", &[])?;
        let connections = value("hostwatch_redis_connections_total", &[])?;
        let accounted = refused + pending + dropped;
        let told = format!(
            "{refused} refused, {pending} pending, {dropped} dropped of {heard} over {connections} connections"
        );
        // A server that gets no time to read loses its connection, and with it what Redis has not handed on and counts nowhere.
        ensure!(accounted == heard || (connections > 1.0 && accounted < heard), "{told}");
        // There is no room for all of them, so that some were refused where nothing was lost.
        ensure!(pending <= 10_000.0, "{told}");
        Ok(())
    })?;
    stands(&mut server, room)
}

fn ensure_up(page: &Page, host: &str) -> Result<()> {
    ensure!(figure(page, "hostwatch_host_up", host)? == 1.0, "{host} is not up");
    Ok(())
}
