//! Messages that are well formed and untrue.

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Speaker, get_as, open_metrics_samples};
use hostwatch_wire::{
    Applied, ContentHash, EncodedLayout, Family, HostBody, HostMessage, Layout, LayoutId, MetricType, Refusal, Revision,
};

use super::Rig;
use super::evil::{Evil, gauge};
use crate::fleet::{DEADLINE, books, figure};

/// A rig that listens to `evil`.
fn start() -> Result<(Rig, Evil)> {
    let mut rig = Rig::start()?;
    let mut evil = Evil::new("evil");
    rig.evil_speaker()?.publish([(&*evil.join(), &*evil.hello()?)])?;
    rig.server.eventually("the evil host is listened to", DEADLINE, |page| {
        ensure!(figure(page, "hostwatch_host_up", "evil")? == 1.0, "it is not up");
        Ok(())
    })?;
    Ok((rig, evil))
}

fn refused(page: &Page) -> Result<f64> {
    figure(page, "hostwatch_host_messages_refused_total", "evil")
}

#[test]
fn a_message_in_the_name_of_another_is_refused() -> Result<()> {
    let (mut rig, mut evil) = start()?;
    let mut speaker = rig.evil_speaker()?;
    let before = books(&rig.server.page()?, "good")?;
    let (join, reports) = (evil.join(), evil.reports());
    let names = ["good", "*", "a}b", "a/b", "{good}", "good*"];
    for name in names {
        let hello = evil.hello()?;
        let report = evil.report("load", vec![gauge("node_evil", &[])], 6.0)?;
        for (channel, message) in [(&join, hello), (&reports, report)] {
            let message = evil.in_the_name_of(name, &message)?;
            ensure!(speaker.publish([(channel.as_str(), message.as_slice())])? == 1, "nobody hears {channel}");
        }
    }
    rig.server.eventually("each is refused and the culprit named", DEADLINE, |page| {
        ensure!(refused(page)? == 2.0 * names.len() as f64, "{} are refused", refused(page)?);
        let of = |reason| page.value("hostwatch_messages_refused_total", &[("reason", reason)]);
        ensure!(of("wrong_host") == Some(2.0), "{:?} for the wrong host", of("wrong_host"));
        ensure!(page.series("node_evil").next().is_none(), "the report is on the page");
        let hosts = page.series("hostwatch_host_up").filter_map(|host| host.label("instance"));
        ensure!(hosts.eq(["evil", "good"]), "there are other hosts");
        Ok(())
    })?;
    let after = books(&rig.server.page()?, "good")?;
    ensure!(after.sequence < before.sequence + 60.0 && after.received >= before.received, "the books are others");
    rig.stands()
}

/// The layout that `good` says its load has.
fn layout_of_good(rig: &Rig) -> Result<LayoutId> {
    let mut listener = Speaker::connect(&rig.redis)?;
    listener.log_in("admin", "any")?;
    loop {
        let message = listener.hear("hostwatch:{good}:reports")?;
        let HostBody::Report(report) = HostMessage::decode(&message)?.body else { continue };
        let load = report.services.iter().find(|service| service.service == "load");
        return load.and_then(|load| load.layout).context("a load with a layout");
    }
}

#[test]
fn the_layout_of_another_host_stays_what_it_is() -> Result<()> {
    let (mut rig, mut evil) = start()?;
    let mut speaker = rig.evil_speaker()?;
    let reports = evil.reports();
    // The id of one, the content of another: content makes the id, so that this redefines nothing.
    let stolen = layout_of_good(&rig)?;
    let names = ["node_false1", "node_false5", "node_false15"];
    let false_one = EncodedLayout::new(&Layout { families: names.map(|name| gauge(name, &[])).into() });
    let lie = evil.report_with("load", false_one.clone(), stolen, 6.0)?;
    speaker.publish([(&*reports, &*lie)])?;
    rig.server.eventually("what was said under the id is what its owner said", DEADLINE, |page| {
        ensure!(page.value("node_load1", &[("instance", "evil")]) == Some(6.0), "the report is not there");
        Ok(())
    })?;
    let before = books(&rig.server.page()?, "good")?.received;
    rig.server.eventually("the owner goes on under its id", DEADLINE, |page| {
        ensure!(books(page, "good")?.received >= before + 2.0, "it has not reported");
        figure(page, "node_load1", "good")?;
        ensure!(!names.iter().any(|name| page.series(name).next().is_some()), "the false one is in use");
        Ok(())
    })?;

    let layout = |name| EncodedLayout::new(&Layout { families: vec![gauge(name, &[])] });
    let true_one = layout("node_true");
    let lie = evil.report_with("load", layout("node_false"), true_one.id(), 6.0)?;
    let truth = evil.report_with("load", true_one.clone(), true_one.id(), 7.0)?;
    speaker.publish([(&*reports, &*lie), (&*reports, &*truth)])?;
    rig.server.eventually("the true layout is in use", DEADLINE, |page| {
        ensure!(page.value("node_true", &[("instance", "evil")]) == Some(7.0), "it is not");
        ensure!(page.series("node_false").next().is_none(), "the false one is, too");
        Ok(())
    })?;
    // More values than the layout has series.
    let wide = EncodedLayout::new(&Layout { families: vec![gauge("node_a", &[]), gauge("node_b", &[])] });
    let before = refused(&rig.server.page()?)?;
    let lie = evil.report_with("load", wide, true_one.id(), 8.0)?;
    speaker.publish([(&*reports, &*lie)])?;
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        ensure!(refused(page)? > before, "nothing was refused");
        ensure!(page.value("node_true", &[("instance", "evil")]) == Some(7.0));
        Ok(())
    })?;
    rig.stands()
}

#[test]
fn a_family_keeps_the_type_that_others_give_it() -> Result<()> {
    let (mut rig, mut evil) = start()?;
    let family = Family { kind: MetricType::Counter, ..gauge("node_load1", &[("evil", "yes")]) };
    let report = evil.report("load", vec![family, gauge("node_evil", &[])], 6.0)?;
    rig.evil_speaker()?.publish([(&*evil.reports(), &*report)])?;
    rig.server.eventually("the culprit is named", DEADLINE, |page| {
        ensure!(page.value("node_evil", &[("instance", "evil")]) == Some(6.0), "the report is not there");
        let left_out = figure(page, "hostwatch_host_families_left_out", "evil")?;
        ensure!(left_out == 1.0, "{left_out} families are left out");
        Ok(())
    })?;
    let page = rig.server.page()?;
    assert_eq!(page.kind("node_load1"), Some("gauge"));
    assert!(page.value("node_load1", &[("instance", "evil")]).is_none());
    page.value("node_load1", &[("instance", "good")]).context("the other host's series is gone")?;
    rig.stands()
}

#[test]
fn names_that_no_page_may_have_are_refused() -> Result<()> {
    let (mut rig, mut evil) = start()?;
    let long = "x".repeat(10_000);
    let mut families = Vec::new();
    for name in ["", "a b", "a\nb", "a{", "0a", "é", "up", "ALERTS", "hostwatch_host_up", "scrape_x", &long] {
        families.push(gauge(name, &[]));
    }
    for label in ["", "a b", "a\n", "a\"", "0a", "a:b", "é", "instance", "job", "__name__", &long] {
        families.push(gauge("node_x", &[(label, "value")]));
    }
    families.push(gauge("node_x", &[("twice", "a"), ("twice", "b")]));
    families.push(gauge("node_x", &[("long", &"x".repeat(1 << 16))]));
    families.push(Family { kind: MetricType::Histogram, ..gauge("node_x", &[]) });
    families.push(Family { help: long.clone(), ..gauge("node_x", &[]) });
    let mut messages = Vec::new();
    for family in families {
        messages.push(evil.report("load", vec![family], 1.0)?);
    }
    messages.push(evil.report("load", vec![gauge("node_x", &[]), gauge("node_x", &[])], 1.0)?);
    let count = messages.len() as f64;
    let reports = evil.reports();
    rig.evil_speaker()?.publish(messages.iter().map(|message| (reports.as_str(), message.as_slice())))?;
    rig.server.eventually("each is refused and the culprit named", DEADLINE, |page| {
        ensure!(refused(page)? == count, "{} of {count}", refused(page)?);
        ensure!(page.value("node_x", &[("instance", "evil")]).is_none());
        Ok(())
    })?;
    rig.stands()
}

#[test]
fn odd_values_leave_the_page_readable() -> Result<()> {
    const ODD: &str = "\\ \" \n \r \t {}=, # HELP é 漢字 \u{202e} \u{0} \u{7f}\u{85}\u{2028}\u{feff}";
    let (mut rig, mut evil) = start()?;
    let mut speaker = rig.evil_speaker()?;
    let reports = evil.reports();
    evil.facts.os = ODD.to_owned();
    evil.facts.kernel = format!("\n# TYPE node_load1 counter\nnode_load1 {ODD}");
    evil.labels = vec![("rack".to_owned(), ODD.to_owned()), ("instance".to_owned(), "good".to_owned())];
    speaker.publish([(&*evil.join(), &*evil.hello()?)])?;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0, 5e-324] {
        let family = Family { help: ODD.to_owned(), ..gauge("node_odd", &[("empty", ""), ("odd", ODD)]) };
        let report = evil.report("load", vec![family], value)?;
        speaker.publish([(&*reports, &*report)])?;
        rig.server.eventually("the value is on the page", DEADLINE, |page| {
            let shown = page.value("node_odd", &[("instance", "evil"), ("odd", ODD)]).context("no value")?;
            ensure!(shown == value || (shown.is_nan() && value.is_nan()), "{shown}, not {value}");
            Ok(())
        })?;
    }
    let refusal = Refusal { service: "load".parse()?, reason: ODD.to_owned() };
    let applied =
        Applied { revision: Revision { number: 1, content: ContentHash::of(b"evil") }, refused: vec![refusal] };
    speaker.publish([(&*reports, &*evil.say(HostBody::Applied(applied))?)])?;
    rig.server.eventually("the reason is on the page", DEADLINE, |page| {
        let mut reasons = page.series("hostwatch_host_service_refused_info");
        ensure!(reasons.any(|sample| sample.label("reason") == Some(ODD)), "it is not");
        Ok(())
    })?;
    for path in ["/", "/api/v1/hosts", "/metrics/host/good", "/metrics/host/evil"] {
        let (status, body) = rig.server.get(path)?;
        ensure!(status == 200 && !body.contains("\n# TYPE node_load1 counter"), "{path}: {status}: {body}");
    }
    for path in ["/metrics", "/metrics/host/evil"] {
        Page::parse(&rig.server.get(path)?.1).context(path)?;
        let (_, page) = get_as(&rig.server.url(path), "application/openmetrics-text;version=1.0.0")?;
        ensure!(page.ends_with("# EOF\n"), "{path} is not in the format of OpenMetrics");
        let lines = page.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(open_metrics_samples(&page).context(path)?, lines, "{path}");
    }
    rig.stands()
}
