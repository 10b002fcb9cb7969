//! The sandbox of the units: how tight it is, that it holds, and that what the client measures inside it is true.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Labels, Page};

use crate::machine::Machine;

/// Runs a script as a unit of ours would run it, and hands out what it printed.
fn inside(machine: &Machine, unit: &str, script: &str) -> Result<String> {
    machine.0.write("/usr/local/bin/probe", &format!("{{\n{script}\n}} > \"$STATE_DIRECTORY/printed\"\n"))?;
    // The same unit with another program, which need not say that it is ready.
    let edits = "s|^ExecStart=.*|ExecStart=/bin/sh -e /usr/local/bin/probe|; s|^Type=.*|Type=oneshot|; \
                 s|^Restart=.*|Restart=no|; /^ExecReload=/d; /^WatchdogSec=/d; s|^RuntimeDirectory=.*|RuntimeDirectory=probe|";
    machine.run(&format!("sed '{edits}' /lib/systemd/system/{unit}.service > /run/systemd/system/probe.service"))?;
    machine.run("systemctl daemon-reload && systemctl start probe")?;
    machine.run(&format!("cat /var/lib/{unit}/printed"))
}

/// Prints `NAME: yes` or `NAME: no` for each thing that is tried.
const ATTEMPTS: &str = r#"
try() { name=$1; shift; if "$@" 2>/dev/null; then echo "$name: yes"; else echo "$name: no"; fi; }
try state sh -c 'echo x > "$STATE_DIRECTORY/probe" && rm "$STATE_DIRECTORY/probe"'
try configuration sh -c 'echo x > /etc/hostwatch/probe'
try system sh -c 'echo x > /usr/lib/probe'
try home sh -c 'echo x > /home/probe'
try world sh -c 'echo x > /var/tmp/../probe'
try tunables sh -c 'echo 1 > /proc/sys/vm/swappiness'
try shadow cat /etc/shadow
try root perl -e '$> = 0; exit($> != 0)'
try chown chown 0 "$STATE_DIRECTORY"
try setuid sh -c 'cp /bin/true "$STATE_DIRECTORY/suid" && chmod 4755 "$STATE_DIRECTORY/suid"'
try namespace unshare --user true
try mount mount -t tmpfs none /mnt
try kill kill -0 1
try inet perl -e 'socket(my $s, 2, 1, 0) or exit 1'
try netlink perl -e 'socket(my $s, 16, 3, 0) or exit 1'
try packet perl -e 'socket(my $s, 17, 3, 0) or exit 1'
try vsock perl -e 'socket(my $s, 40, 1, 0) or exit 1'
try raw perl -e 'socket(my $s, 2, 3, 1) or exit 1'
rm -f "$STATE_DIRECTORY/suid"
"#;

#[test]
fn systemds_units_can_be_seen_from_inside() -> Result<()> {
    let machine = Machine::with_packages()?;
    let page = inside(&machine, "hostwatch-client", "hostwatch-client --once --plugin systemd")? + "\n";
    let page = Page::parse(&page)?;
    let state = |name: &str, state: &str| {
        let found =
            page.series("node_systemd_unit_state").find(|series| series.has(&[("name", name), ("state", state)]));
        found.map(|series| series.value)
    };
    for unit in ["dbus.service", "hostwatch-client.service", "multi-user.target"] {
        let says = machine.show(unit, "ActiveState")?;
        ensure!(state(unit, &says) == Some(1.0), "{unit} is {says}");
        ensure!(state(unit, "failed") == Some(0.0), "{unit}");
    }
    let failed = machine.run("systemctl list-units --all --state=failed --plain --no-legend | wc -l")?;
    let count = page.value("node_systemd_units", &[("state", "failed")]);
    ensure!(count.map(|count| count.to_string()).as_deref() == Some(failed.trim()), "{count:?} of {failed} failed");
    Ok(())
}

#[test]
fn systemd_lets_the_daemons_do_their_work_and_nothing_else() -> Result<()> {
    let machine = Machine::with_packages()?;
    for (unit, allowed) in
        [("hostwatch-server", vec!["state", "inet"]), ("hostwatch-client", vec!["state", "inet", "netlink"])]
    {
        let printed = inside(&machine, unit, ATTEMPTS)?;
        let answers: BTreeMap<&str, &str> = printed.lines().filter_map(|line| line.split_once(": ")).collect();
        let attempts = ATTEMPTS.lines().filter_map(|line| line.strip_prefix("try ")?.split(' ').next());
        let attempts: Vec<&str> = attempts.collect();
        ensure!(attempts.len() == 18, "{attempts:?}");
        for attempt in attempts {
            let answer = answers.get(attempt).with_context(|| format!("{unit}: no answer to {attempt}: {printed}"))?;
            ensure!((*answer == "yes") == allowed.contains(&attempt), "{unit}: {attempt}: {answer}");
        }
    }
    Ok(())
}

/// The exposure of a unit as it is shipped, as `systemd-analyze security` counts it: 0.0 is the tightest.
fn exposure(machine: &Machine, unit: &str) -> Result<f64> {
    let shipped = "mkdir -p /root/units && cp /lib/systemd/system/hostwatch-*.service /root/units";
    let report = machine
        .run(&format!("{shipped} && systemd-analyze security --no-pager --offline=yes /root/units/{unit}.service"))?;
    let line = report.lines().find(|line| line.contains("Overall exposure level")).with_context(|| report.clone())?;
    let number = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next());
    Ok(number.context("a number")?.parse()?)
}

#[test]
fn systemd_finds_the_units_tight_and_without_a_mistake() -> Result<()> {
    let machine = Machine::with_packages()?;
    // The machine is without manual pages, which are of another test.
    machine.run("mkdir /root/bin && printf '#!/bin/sh\\n' > /root/bin/man && chmod +x /root/bin/man")?;
    let remarks = machine
        .run("PATH=/root/bin:$PATH systemd-analyze verify hostwatch-server.service hostwatch-client.service 2>&1")?;
    ensure!(remarks.is_empty(), "{remarks}");
    machine.run("rm /etc/systemd/system/service.d/container.conf")?;
    let (server, client) = (exposure(&machine, "hostwatch-server")?, exposure(&machine, "hostwatch-client")?);
    eprintln!("exposure: server {server}, client {client}");
    ensure!(server <= 1.3, "server {server}");
    ensure!(client <= 1.9, "client {client}");
    Ok(())
}

/// Gauges of what is in use at the moment: whoever looks at them moves them.
const MOVING: [&str; 11] = [
    "node_arp_entries",
    "node_filefd_allocated",
    "node_filesystem_avail_bytes",
    "node_filesystem_files_free",
    "node_filesystem_free_bytes",
    "node_load",
    "node_memory_",
    "node_processes_",
    "node_procs_",
    "node_sockstat_",
    "node_tcp_connection_states",
];

/// What does not move, though its name begins like the name of what does.
const FIXED: [&str; 3] =
    ["node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes", "node_memory_VmallocTotal_bytes"];

/// Whether a value that root saw twice, before and after, agrees with what the client saw in between.
fn agrees(name: &str, counter: bool, before: f64, seen: f64, after: f64) -> bool {
    if counter {
        return before <= seen && seen <= after;
    }
    let (low, high) = (before.min(after), before.max(after));
    let moves = MOVING.iter().any(|begin| name.starts_with(begin)) && !FIXED.contains(&name);
    if moves {
        // What waits to be written, for example, may be nothing at one moment and some pages at the next.
        let little = if name.ends_with("_bytes") { 16e6 } else { 10.0 };
        return (low / 10.0 - little..=high * 10.0 + little).contains(&seen);
    }
    if low == high { seen == low || seen.is_nan() && low.is_nan() } else { (low * 0.5..=high * 2.0).contains(&seen) }
}

/// What runs by default, and what else needs no parameter.
const ALL: &str = "hostwatch-client --once && \
                   hostwatch-client --once --plugin interrupts --plugin processes --plugin tcpstat";

#[test]
fn systemd_does_not_falsify_what_the_client_measures() -> Result<()> {
    let machine = Machine::with_packages()?;
    // Mounts that a sandbox is likely to show otherwise.
    machine.run(
        "mkdir /srv/fixed /home/user && mount -t tmpfs -o size=5m none /srv/fixed && mount -o remount,ro /srv/fixed",
    )?;
    machine.run("mount -t tmpfs -o size=7m none /home && mkdir /home/user && mount -t tmpfs -o size=9m none /tmp")?;
    machine.run("systemctl stop hostwatch-server hostwatch-client redis-server")?;
    let once = || -> Result<Page> { Ok(Page::parse(&(machine.run(ALL)? + "\n"))?) };
    let before = once()?;
    let inside = Page::parse(&(inside(&machine, "hostwatch-client", ALL)? + "\n"))?;
    let after = once()?;
    ensure!(inside.samples.len() > 50, "only {} samples", inside.samples.len());
    let wrong = differences(&before, &inside, &after);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong with what a client saw on this machine, between two looks from outside that nothing kept from seeing all.
pub(crate) fn differences(before: &Page, inside: &Page, after: &Page) -> Vec<String> {
    let (before, seen, after) = (values(before), values(inside), values(after));
    let mut wrong = Vec::new();
    for series in before.keys().filter(|series| after.contains_key(*series) && !seen.contains_key(*series)) {
        wrong.push(format!("only outside: {series:?}"));
    }
    for (series, seen) in &seen {
        let (name, _) = series;
        match (before.get(series), after.get(series)) {
            (None, None) => wrong.push(format!("only inside: {series:?}")),
            // What the client says of itself, and how long a plugin took, is of that run alone.
            (Some(before), Some(after))
                if !name.contains("duration_seconds") && !name.starts_with("hostwatch_client_") =>
            {
                let counter = inside.kind(name) == Some("counter");
                if !agrees(name, counter, *before, *seen, *after) {
                    wrong.push(format!("{series:?}: {before}, inside {seen}, {after}"));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// The values of a page's series by name and labels.
fn values(page: &Page) -> BTreeMap<(String, Labels), f64> {
    page.samples.iter().map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect()
}
