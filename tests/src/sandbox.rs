//! The sandbox of the units: how tight it is, that it holds, and that what the client measures inside it is true.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Labels, Page, root};

use crate::machine::{HOST, Machine};
use crate::views::compare;

/// Where a script lies that is run in a unit or by a user.
const PROBE: &str = "/usr/local/bin/probe";

/// Runs a script as a unit of ours would run it, and hands out what it printed.
fn inside(machine: &Machine, unit: &str, script: &str) -> Result<String> {
    machine.0.write(PROBE, &format!("{{\n{script}\n}} > \"$STATE_DIRECTORY/printed\"\n"))?;
    // The same unit with another program, which need not say that it is ready.
    let edits = "s|^ExecStart=.*|ExecStart=/bin/sh -e /usr/local/bin/probe|; s|^Type=.*|Type=oneshot|; \
                 s|^Restart=.*|Restart=no|; /^ExecReload=/d; /^WatchdogSec=/d; s|^RuntimeDirectory=.*|RuntimeDirectory=probe|";
    machine.run(&format!("sed '{edits}' /lib/systemd/system/{unit}.service > /run/systemd/system/probe.service"))?;
    machine.run("systemctl daemon-reload && systemctl start probe")?;
    machine.run(&format!("cat /var/lib/{unit}/printed"))
}

/// Runs a script as the user of a unit of ours, whom nothing else holds, and hands out what it printed.
fn outside(machine: &Machine, unit: &str, script: &str) -> Result<String> {
    machine.0.write(PROBE, script)?;
    let user = format!("setpriv --reuid={unit} --regid={unit} --clear-groups");
    machine.run(&format!("STATE_DIRECTORY=/var/lib/{unit} {user} sh -e {PROBE}"))
}

/// Prints `NAME: yes` or `NAME: no` for each thing that is tried.
const ATTEMPTS: &str = r#"
try() { name=$1; shift; if "$@" 2>/dev/null; then echo "$name: yes"; else echo "$name: no"; fi; }
try state sh -c 'echo x > "$STATE_DIRECTORY/probe" && rm "$STATE_DIRECTORY/probe"'
try configuration sh -c 'echo x > /etc/hostwatch/probe'
try system sh -c 'echo x > /usr/lib/probe'
try open sh -c 'echo x > /srv/open/probe && rm /srv/open/probe'
try suid sh -c '[ "$(root-id -u)" = 0 ]'
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

/// What was attempted with what success.
fn answers(printed: &str) -> Result<BTreeMap<&str, bool>> {
    let answers: BTreeMap<&str, bool> = printed
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, answer)| (name, answer == "yes"))
        .collect();
    let attempts: Vec<&str> =
        ATTEMPTS.lines().filter_map(|line| line.strip_prefix("try ")?.split(' ').next()).collect();
    ensure!(attempts.len() == 20 && attempts.iter().all(|name| answers.contains_key(name)), "{printed}");
    Ok(answers)
}

/// Users whom no unit holds may do these, so that it is the unit that keeps the daemons from them.
const ORDINARY: [&str; 7] = ["inet", "namespace", "netlink", "open", "setuid", "state", "suid"];

#[test]
fn systemd_lets_the_daemons_do_their_work_and_nothing_else() -> Result<()> {
    let machine = Machine::with_packages()?;
    machine.run("mkdir -m 1777 /srv/open && install -m 4755 /usr/bin/id /usr/local/bin/root-id")?;
    for (unit, allowed) in
        [("hostwatch-server", vec!["state", "inet"]), ("hostwatch-client", vec!["state", "inet", "netlink"])]
    {
        let printed = inside(&machine, unit, ATTEMPTS)?;
        for (attempt, succeeded) in answers(&printed)? {
            ensure!(succeeded == allowed.contains(&attempt), "{unit}: {attempt}: {succeeded}");
        }
        let printed = outside(&machine, unit, ATTEMPTS)?;
        let free = answers(&printed)?;
        for attempt in ORDINARY {
            ensure!(free[attempt], "{attempt} fails without the sandbox too:\n{printed}");
        }
    }
    Ok(())
}

/// docs/operations.md, which says what the sandbox leaves open and how to loosen it.
fn operations() -> Result<String> {
    Ok(std::fs::read_to_string(root()?.join("docs/operations.md"))?)
}

/// The drop-in of that page that gives the client a view of all processes.
fn drop_in() -> Result<String> {
    let page = operations()?;
    let (_, rest) = page.split_once("\n```ini\n").context("no drop-in")?;
    Ok(rest.split("```").next().context("a drop-in")?.to_owned())
}

/// What `systemd-analyze security` says of a unit as it is shipped, with a drop-in: the points of each setting that leaves
/// something open, and the exposure in all, where 0.0 is the tightest.
fn exposure(machine: &Machine, unit: &str, drop_in: &str) -> Result<(BTreeMap<String, String>, String)> {
    let file = format!("/root/units/{unit}.service");
    machine.run(&format!("mkdir -p /root/units && cp /lib/systemd/system/{unit}.service {file}"))?;
    let shipped = machine.run(&format!("cat {file}"))?;
    // As systemd reads it: what a drop-in says comes after everything else of its section.
    let (service, install) = shipped.split_once("\n[Install]\n").context("no section [Install]")?;
    machine.0.write(&file, &format!("{service}\n{drop_in}\n[Install]\n{install}\n"))?;
    let report = machine.run(&format!("systemd-analyze security --no-pager --offline=yes {file}"))?;
    let line = report.lines().find(|line| line.contains("Overall exposure level")).with_context(|| report.clone())?;
    let overall = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next()).context("a number")?.to_owned();
    let open = report.lines().filter_map(|line| line.strip_prefix("✗ ")).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.last()?.to_owned()))
    });
    Ok((open.collect(), overall))
}

#[test]
fn systemd_finds_the_units_without_a_mistake_and_as_tight_as_we_say() -> Result<()> {
    let machine = Machine::with_packages()?;
    // The machine is without manual pages, which are of another test.
    machine.run("mkdir /root/bin && printf '#!/bin/sh\\n' > /root/bin/man && chmod +x /root/bin/man")?;
    let remarks = machine
        .run("PATH=/root/bin:$PATH systemd-analyze verify hostwatch-server.service hostwatch-client.service 2>&1")?;
    ensure!(remarks.is_empty(), "{remarks}");

    machine.run("rm /etc/systemd/system/service.d/container.conf")?;
    let page = operations()?;
    let rows: Vec<Vec<String>> = page
        .lines()
        .skip_while(|line| !line.starts_with("| left open |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| "))
        .map(|row| row.replace("\\|", "\n").split('|').map(|cell| cell.trim().replace('\n', "|")).collect())
        .collect();
    for (column, unit, most) in [(1, "hostwatch-server", 2.0), (2, "hostwatch-client", 2.0)] {
        let (open, overall) = exposure(&machine, unit, "")?;
        let told: BTreeMap<String, String> = rows
            .iter()
            .filter(|row| !row[column].is_empty())
            .map(|row| (row[0].trim_matches('`').to_owned(), row[column].clone()))
            .collect();
        ensure!(open == told, "{unit}: {open:?}, the page says {told:?}");
        ensure!(overall.parse::<f64>()? <= most, "{unit}: {overall}");
        let sentence = format!("{overall} for the {}", &unit["hostwatch-".len()..]);
        ensure!(page.contains(&sentence), "the page does not say {sentence}");
    }
    let (_, loosened) = exposure(&machine, "hostwatch-client", drop_in()?.trim_start_matches("[Service]\n"))?;
    ensure!(page.contains(&format!("raises the exposure to {loosened} ")), "{loosened}");
    Ok(())
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
    let page = |text: String| -> Result<Page> { Ok(Page::parse(&(text + "\n"))?) };
    compare(|| page(machine.run(ALL)?), || page(inside(&machine, "hostwatch-client", ALL)?))
}

/// What needs parameters: processes of other users and of the client's own, what a script has written, a check, an exporter.
const SERVICES: &str = r#"
[services.group]
plugin = "process"
interval = "1s"
parameters.names = ["redis-server", "hostwatch-client"]
[services.script]
plugin = "textfile"
interval = "1s"
[services.check]
plugin = "exec"
interval = "1s"
parameters.command = "fine"
[services.exporter]
plugin = "scrape"
interval = "1s"
parameters.target = "exporter"
"#;

/// An exporter on port 9 with one series.
const EXPORTER: &str = r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:9", Listen => 9) or die;
while (my $client = $listener->accept) {
    while (<$client>) { last if /^\r?$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\nexported 7\n";
    close $client;
}
"#;

/// What the kernel shows of a process to its owner alone.
const OWNERS: [&str; 2] = ["read_bytes_total", "write_bytes_total"];

/// What Linux before 6.2 shows to the owner alone, and later to everybody.
const LATER_EVERYBODYS: [&str; 2] = ["open_filedesc", "worst_fd_ratio"];

#[test]
fn systemd_keeps_from_the_client_only_what_the_kernel_shows_to_owners() -> Result<()> {
    let machine = Machine::with_packages()?;
    machine.0.write("/root/exporter", EXPORTER)?;
    machine.run("systemd-run --quiet perl /root/exporter")?;
    machine.run("echo scripted 3 > /var/lib/hostwatch-client/textfile/a.prom")?;
    machine.run(
        r#"sed -i '/^\[allow.exec\]/a fine = ["/bin/echo", "fine | a=1"]' /etc/hostwatch/client.toml
        sed -i '/^\[allow.scrape\]/a exporter = "http://127.0.0.1:9/metrics"' /etc/hostwatch/client.toml
        sed -i 's/"linux-cpu"/"linux-cpu", "group", "script", "check", "exporter"/' /etc/hostwatch/templates.toml"#,
    )?;
    machine.0.write("/etc/hostwatch/services/parameters.toml", SERVICES)?;
    machine.run("systemctl reload hostwatch-server && systemctl restart hostwatch-client")?;
    // The same program as root, whom no unit holds, under another name: it is to be in none of the groups.
    machine.run(
        "mkdir /root/outside && cp /usr/bin/hostwatch-client /root/outside/root-client && systemd-run --quiet \
         --setenv=HOSTWATCH_HOST=outside --setenv=HOSTWATCH_STATE_DIRECTORY=/root/outside \
         --setenv=HOSTWATCH_STATUS_FILE=/root/outside/status.json /root/outside/root-client",
    )?;
    // Names with the labels that tell series of one host apart.
    let of = |page: &Page, host: &str| -> BTreeSet<(String, Labels)> {
        let ours = ["namedprocess_", "hostwatch_check_", "exported", "scripted"];
        let samples = page.samples.iter().filter(|sample| sample.has(&[("instance", host)]));
        samples
            .filter(|sample| ours.iter().any(|begin| sample.name.starts_with(begin)))
            .map(|sample| (sample.name.clone(), sample.labels.clone()))
            .map(|(name, mut labels)| {
                labels.remove("instance");
                (name, labels)
            })
            .collect()
    };
    let is = |figures: &[&str], (name, labels): &(String, Labels)| {
        figures.iter().any(|figure| name.ends_with(figure)) && labels["groupname"] == "redis-server"
    };
    machine.until("both report, one without what is the owner's", || {
        let page = machine.page()?;
        let (mut inside, mut outside) = (of(&page, HOST), of(&page, "outside"));
        for name in ["exported", "scripted", "hostwatch_check_state", "namedprocess_namegroup_num_procs"] {
            ensure!(outside.iter().any(|(found, _)| found == name), "no {name}: {outside:?}");
        }
        for figures in [&OWNERS, &LATER_EVERYBODYS] {
            ensure!(outside.iter().filter(|series| is(figures, series)).count() == figures.len(), "{outside:?}");
        }
        outside.retain(|series| !is(&OWNERS, series) && !is(&LATER_EVERYBODYS, series));
        inside.retain(|series| !is(&LATER_EVERYBODYS, series));
        ensure!(inside == outside, "{:?}", inside.symmetric_difference(&outside).collect::<Vec<_>>());
        for (name, labels, value) in [
            ("exported", vec![], 7.0),
            ("scripted", vec![], 3.0),
            ("namedprocess_namegroup_num_procs", vec![("groupname", "redis-server")], 1.0),
        ] {
            for host in [HOST, "outside"] {
                let labels = [&labels[..], &[("instance", host)]].concat();
                ensure!(page.value(name, &labels) == Some(value), "{name} of {host}: {:?}", page.value(name, &labels));
            }
        }
        Ok(())
    })?;

    machine.0.write("/etc/systemd/system/hostwatch-client.service.d/processes.conf", &drop_in()?)?;
    machine.run("systemctl daemon-reload && systemctl restart hostwatch-client")?;
    machine.until("with the right to see it, the client reports that too", || {
        let page = machine.page()?;
        let (inside, outside) = (of(&page, HOST), of(&page, "outside"));
        ensure!(inside == outside, "{:?}", inside.symmetric_difference(&outside).collect::<Vec<_>>());
        Ok(())
    })
}
