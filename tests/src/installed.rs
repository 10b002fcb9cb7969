//! The packaged daemons under a real systemd: installed, reloaded, killed, hung, upgraded and removed.

use anyhow::{Context, Result, ensure};

use crate::machine::{HOST, Machine, VERSION};

const BOTH: [&str; 2] = ["hostwatch-server", "hostwatch-client"];

/// A version that Debian sorts before every release.
const EARLIER: &str = "0.0.1";

#[test]
fn an_installation_enables_and_starts_and_needs_no_redis() -> Result<()> {
    let machine = Machine::boot()?;
    machine.bring_packages("/packages", VERSION)?;
    machine.run("apt-get install -q -y --no-install-recommends /packages/*.deb")?;
    for unit in BOTH {
        ensure!(
            machine.run(&format!("systemctl is-active {unit} && systemctl is-enabled {unit}"))? == "active\nenabled"
        );
        machine.until("it says what it waits for", || {
            let status = machine.show(unit, "StatusText")?;
            ensure!(status.contains("waiting for Redis"), "{status:?}");
            Ok(())
        })?;
        let user = machine.run(&format!("stat -c %U /proc/{}", machine.show(unit, "MainPID")?))?;
        ensure!(user == unit, "{unit} runs as {user}");
        let owner = machine.run(&format!("stat -c %U:%a /var/lib/{unit}"))?;
        ensure!(owner == format!("{unit}:750"), "{owner}");
    }
    machine.run("hostwatch-client health")?;
    machine.run("apt-get install -q -y redis-server curl")?;
    machine.wait_until_up()
}

/// The revision of the configuration that this host runs, `applied`, or has to run, `wanted`.
fn revision(machine: &Machine, state: &str) -> Result<String> {
    let page = machine.page()?;
    let mut revisions = page.series("hostwatch_host_config_revision_info");
    let revision = revisions.find(|sample| sample.has(&[("instance", HOST), ("state", state)]));
    Ok(revision.and_then(|sample| sample.label("revision")).with_context(|| format!("nothing {state}"))?.to_owned())
}

#[test]
fn a_reload_is_applied_or_fails_with_the_place_of_the_mistake() -> Result<()> {
    let machine = Machine::with_packages()?;
    let first = machine.until("a revision is applied", || revision(&machine, "applied"))?;
    machine.run("sed -i 's/cpu_interval = \"10s\"/cpu_interval = \"11s\"/' /etc/hostwatch/templates.toml")?;
    machine.run("systemctl reload hostwatch-server")?;
    let second = machine.until("the edit is applied", || {
        let now = revision(&machine, "applied")?;
        ensure!(now != first, "still {now}");
        Ok(now)
    })?;

    machine.run(
        "cp /etc/hostwatch/templates.toml /etc/hostwatch/good && sed -i '1i colour = 1' /etc/hostwatch/templates.toml",
    )?;
    let pid = machine.show("hostwatch-server", "MainPID")?;
    machine.0.fail("systemctl reload hostwatch-server")?;
    let mistakes = machine.run("journalctl --unit hostwatch-server --priority err --output cat")?;
    ensure!(mistakes.contains("/etc/hostwatch/templates.toml:1: colour: "), "{mistakes}");
    ensure!(machine.show("hostwatch-server", "MainPID,ActiveState")? == format!("{pid}\nactive"), "it runs on");
    ensure!(revision(&machine, "applied")? == second, "the old configuration stays in force");
    machine.run("mv /etc/hostwatch/good /etc/hostwatch/templates.toml && systemctl reload hostwatch-server")?;

    machine.run("printf 'labels = { rack = \"r1\" }\\n' > /etc/hostwatch/client.toml")?;
    machine.run("systemctl reload hostwatch-client")?;
    machine.eventually("the label has arrived", "curl -sf http://127.0.0.1:10120/api/v1/hosts | grep r1")?;
    machine.run("printf 'labels = { rack = 1 }\\n' > /etc/hostwatch/client.toml")?;
    let pid = machine.show("hostwatch-client", "MainPID")?;
    machine.0.fail("systemctl reload hostwatch-client")?;
    let mistakes = machine.run("journalctl --unit hostwatch-client --priority err --output cat")?;
    ensure!(mistakes.contains("/etc/hostwatch/client.toml:1: labels"), "{mistakes}");
    ensure!(machine.show("hostwatch-client", "MainPID,ActiveState")? == format!("{pid}\nactive"), "it runs on");
    machine.wait_until_up()
}

/// The server is to listen where Redis does, and systemd gives up sooner than as it is shipped.
const LIMIT: &str = "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=100ms\n\
                     Environment=HOSTWATCH_WEB_LISTEN_ADDRESS=127.0.0.1:6379\n";

#[test]
fn a_reload_is_waited_for_by_a_newer_systemd_with_the_shipped_drop_ins() -> Result<()> {
    let machine = Machine::boot_next()?;
    machine.bring_packages("/packages", VERSION)?;
    machine.run("apt-get install -q -y curl redis-server /packages/*.deb")?;
    for unit in BOTH {
        let drop_in = format!("notify-reload-{}.conf", &unit["hostwatch-".len()..]);
        let folder = format!("/etc/systemd/system/{unit}.service.d");
        machine.run(&format!("mkdir {folder} && cp /usr/share/doc/{unit}/examples/{drop_in} {folder}"))?;
    }
    machine.run("systemctl daemon-reload && systemctl restart hostwatch-server hostwatch-client")?;
    machine.wait_until_up()?;
    for unit in BOTH {
        ensure!(machine.show(unit, "Type")? == "notify-reload", "{unit}");
    }

    let wanted = || revision(&machine, "wanted");
    let first = wanted()?;
    machine.run("sed -i 's/cpu_interval = \"10s\"/cpu_interval = \"11s\"/' /etc/hostwatch/templates.toml")?;
    machine.run("systemctl reload hostwatch-server")?;
    ensure!(wanted()? != first, "the reload came back before the edit was in force");
    machine.run("printf 'labels = { rack = \"r1\" }\\n' > /etc/hostwatch/client.toml")?;
    machine.run("systemctl reload hostwatch-client")?;
    machine.eventually("the label has arrived", "curl -sf http://127.0.0.1:10120/api/v1/hosts | grep r1")?;

    let second = wanted()?;
    for (unit, file) in [(BOTH[0], "/etc/hostwatch/templates.toml"), (BOTH[1], "/etc/hostwatch/client.toml")] {
        let pid = machine.show(unit, "MainPID")?;
        machine.run(&format!("sed -i '1i colour = 1' {file}"))?;
        machine.0.fail(&format!("systemctl reload {unit}"))?;
        let mistakes = machine.run(&format!("journalctl --unit {unit} --priority err --output cat"))?;
        ensure!(mistakes.contains(&format!("{file}:1: colour: ")), "{mistakes}");
        ensure!(machine.show(unit, "MainPID,ActiveState")? == format!("{pid}\nactive"), "it runs on");
    }
    ensure!(wanted()? == second, "the old configuration stays in force");
    Ok(())
}

#[test]
fn a_stop_is_quick_a_kill_restarts_and_a_mistake_does_not() -> Result<()> {
    let machine = Machine::with_packages()?;
    for unit in BOTH {
        machine.run(&format!("timeout 10 systemctl stop {unit}"))?;
        ensure!(machine.show(unit, "Result")? == "success");
        machine.run(&format!("systemctl start {unit} && systemctl kill --signal KILL {unit}"))?;
        machine.until("it is started again", || {
            let state = machine.show(unit, "NRestarts,ActiveState")?;
            ensure!(state == "active\n1" || state == "1\nactive", "{state}");
            Ok(())
        })?;
    }
    machine.wait_until_up()?;

    // What is not a mistake of the settings is tried again, but not for ever.
    machine.0.write("/etc/systemd/system/hostwatch-server.service.d/limit.conf", LIMIT)?;
    machine.run("systemctl daemon-reload && systemctl restart hostwatch-server || true")?;
    let log = "journalctl --output cat --unit hostwatch-server | grep 'Start request repeated too quickly'";
    machine.eventually("systemd gives up", log)?;
    ensure!(machine.show("hostwatch-server", "ActiveState")? == "failed", "it is still tried");
    machine.run("rm /etc/systemd/system/hostwatch-server.service.d/limit.conf && systemctl daemon-reload")?;
    machine.run("systemctl reset-failed hostwatch-server && systemctl start hostwatch-server")?;

    machine.run("echo colour = 1 >> /etc/hostwatch/server.toml")?;
    machine.0.fail("systemctl restart hostwatch-server")?;
    let state = machine.run("systemctl show --property=ActiveState,ExecMainStatus,NRestarts hostwatch-server")?;
    for fact in ["ActiveState=failed", "ExecMainStatus=78", "NRestarts=0"] {
        ensure!(state.contains(fact), "{state}");
    }
    let mistakes = machine.run("journalctl --unit hostwatch-server --priority err --output cat")?;
    ensure!(mistakes.contains("/etc/hostwatch/server.toml:") && mistakes.contains("colour: "), "{mistakes}");
    Ok(())
}

/// A service whose alert always fires and another fails, one that cannot work, and one that there is no plugin for.
const EXTRA: &str = r#"
[services.always]
plugin = "load"
interval = "1s"
[[services.always.triggers]]
alert = "Always"
expr = "node_load1 >= 0"
annotations.summary = "always"
[[services.always.triggers]]
alert = "Broken"
expr = "node_load1 + on () {__name__=~'node_load.+'} > 0"
[services.broken]
plugin = "exec"
interval = "1s"
parameters.command = "none"
[services.unknown]
plugin = "nothing"
interval = "1s"
"#;

#[test]
fn the_journal_has_priorities_and_fields() -> Result<()> {
    let machine = Machine::with_packages()?;
    // Each has information as well, which must not be among the warnings.
    let everything = machine.run("journalctl --output cat --unit hostwatch-server --unit hostwatch-client")?;
    ensure!(everything.contains("connected to Redis"), "{everything}");
    machine.run("systemctl stop redis-server")?;
    for unit in BOTH {
        let warnings = format!("journalctl --output cat --priority warning --unit {unit}");
        let warnings =
            machine.eventually("it warns", &format!("{warnings} | grep 'the connection to Redis' && {warnings}"))?;
        ensure!(!warnings.contains("listening on") && !warnings.contains("joined server"), "{warnings}");
    }
    let named = machine.run(&format!("journalctl --output cat HOSTWATCH_HOST={HOST}"))?;
    ensure!(named.contains("a new host joined"), "{named}");

    machine.run("systemctl start redis-server")?;
    machine.0.write("/etc/hostwatch/services/extra.toml", EXTRA)?;
    machine.run(r#"sed -i '/^\[allow.exec\]/a none = ["/nonexistent"]' /etc/hostwatch/client.toml"#)?;
    machine.run(
        "sed -i 's/\"linux-cpu\"/\"linux-cpu\", \"always\", \"broken\", \"unknown\"/' /etc/hostwatch/templates.toml",
    )?;
    machine.run("systemctl reload hostwatch-server && systemctl restart hostwatch-client")?;
    for (fields, text) in [
        ("HOSTWATCH_ALERT=Always HOSTWATCH_HOST=machine", "an alert fires"),
        ("HOSTWATCH_ALERT=Broken HOSTWATCH_HOST=machine", "rule Broken of always failed on machine"),
        ("HOSTWATCH_PLUGIN=exec HOSTWATCH_SERVICE=broken", "fails"),
        ("HOSTWATCH_PLUGIN=nothing HOSTWATCH_SERVICE=unknown", "is refused"),
    ] {
        machine.eventually(fields, &format!("journalctl --output cat --priority warning {fields} | grep '{text}'"))?;
    }
    // Once it is connected again, the server hears what is none of its messages.
    let hears = "redis-cli PUBLISH hostwatch:{machine}:reports garbage && \
                 journalctl --output cat --priority warning HOSTWATCH_HOST=machine | grep 'was refused'";
    machine.eventually("the speaker of what is refused is named", hears)?;
    Ok(())
}

#[test]
fn passwords_come_as_credentials() -> Result<()> {
    let machine = Machine::with_packages()?;
    machine.run("redis-cli CONFIG SET requirepass secret && redis-cli -a secret CLIENT KILL TYPE pubsub")?;
    machine.run("systemctl stop hostwatch-server hostwatch-client; mkdir -p -m 0700 /etc/credstore")?;
    for unit in BOTH {
        machine.run(&format!("(umask 077 && printf secret > /etc/credstore/{unit}.redis.password)"))?;
    }
    machine.run("systemctl start hostwatch-server hostwatch-client")?;
    machine.wait_until_up()?;
    let said = machine.run("journalctl --output verbose --unit hostwatch-server --unit hostwatch-client")?;
    ensure!(!said.contains("secret"), "the password is in the journal");
    Ok(())
}

/// Makes a folder of packages ship all their configuration otherwise.
const REPACK: &str = r#"
cd /earlier
for package in *.deb; do
    dpkg-deb --raw-extract "$package" tree
    while read -r file; do echo '# as it was' >> "tree$file"; done < tree/DEBIAN/conffiles
    dpkg-deb --root-owner-group --build tree "$package"
    rm -r tree
done
"#;

#[test]
fn an_upgrade_keeps_what_was_edited_and_restarts_once_and_a_purge_leaves_nothing() -> Result<()> {
    let machine = Machine::boot()?;
    machine.bring_packages("/packages", VERSION)?;
    machine.bring_packages("/earlier", EARLIER)?;
    machine.run(REPACK)?;
    machine.run("apt-get install -q -y curl redis-server")?;
    // What apt, dpkg and the journal keep of their own is not of the packages.
    let files = "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache \
                 -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/redis \\) -prune -o -print | sort";
    let before = machine.run(files)?;

    machine.run("apt-get install -q -y /earlier/*.deb")?;
    machine.wait_until_up()?;
    machine.run("for file in server client hosts; do echo '# edited' >> /etc/hostwatch/$file.toml; done")?;
    let identity = "cat /var/lib/hostwatch-server/server-id";
    let was = machine.run(identity)?;
    // An alert that waits for its time, of whose beginning the server alone knows.
    machine.run(
        "printf '[hosts.machine]\\ntemplates = [\"linux\"]\\nvars = { load_warn = \"-1\" }\\n' >> /etc/hostwatch/hosts.toml
        systemctl reload hostwatch-server",
    )?;
    let since = || -> Result<String> {
        let alerts = machine.run("curl -sf http://127.0.0.1:10120/api/v1/alerts?alertname=HostHighLoad")?;
        let alerts: serde_json::Value = serde_json::from_str(&alerts)?;
        let since = &alerts["alerts"][0]["since"];
        ensure!(since.is_number(), "{alerts}");
        Ok(since.to_string())
    };
    let began = machine.until("an alert is pending", since)?;
    for (folder, version, option) in [("/packages", VERSION, ""), ("/earlier", EARLIER, "--allow-downgrades")] {
        let ids = |unit: &str| machine.show(unit, "MainPID");
        let old = [ids(BOTH[0])?, ids(BOTH[1])?];
        machine.run("journalctl --rotate && journalctl --vacuum-time=1us")?;
        // Nobody is there whom dpkg could ask, as it does when a file was edited that has changed in the package, too.
        machine.run(&format!("apt-get install -q -y -o Dpkg::Options::=--force-confold {option} {folder}/*.deb"))?;
        machine.wait_until_up()?;
        for (unit, old) in BOTH.iter().zip(&old) {
            ensure!(machine.run(&format!("dpkg-query -W -f '${{Version}}' {unit}"))? == format!("{version}-1"));
            ensure!(&ids(unit)? != old, "{unit} was not restarted");
            let stops = machine.run(&format!("journalctl --output cat --unit {unit} | grep -c '^Stopped '"))?;
            ensure!(stops == "1", "{unit} was stopped {stops} times");
        }
        machine.run("for file in server client hosts; do grep '# edited' /etc/hostwatch/$file.toml; done")?;
        // What nobody edited is what the package has; so is what it would have in place of an edited file.
        for file in ["templates.toml", "services/linux.toml", "server.toml.dpkg-dist", "client.toml.dpkg-dist"] {
            let earlier = machine.run(&format!("grep -c '# as it was' /etc/hostwatch/{file} || true"))?;
            ensure!((earlier == "1") == (version == EARLIER), "{version}: {file}: {earlier}");
        }
        ensure!(machine.run(identity)? == was, "the server is another one");
        ensure!(machine.until("the alert is still there", since)? == began, "the alert began anew");
        machine.run("journalctl --output cat --unit hostwatch-client | grep '(saved on disk) is in force: [1-9]'")?;
    }

    machine.run("apt-get remove -q -y hostwatch-server hostwatch-client")?;
    machine.run(
        "grep '# edited' /etc/hostwatch/client.toml && ls -d /var/lib/hostwatch-server /var/lib/hostwatch-client",
    )?;
    machine.run("apt-get purge -q -y hostwatch-server hostwatch-client")?;
    let after = machine.run(files)?;
    let left: Vec<&str> = after.lines().filter(|file| !before.lines().any(|old| old == *file)).collect();
    // Users stay, and so do the copies that useradd makes of their files.
    let users = ["/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"];
    let left: Vec<&&str> = left.iter().filter(|file| !users.contains(file)).collect();
    ensure!(left.is_empty(), "{left:?}");
    machine.0.fail("systemctl list-unit-files --no-legend | grep hostwatch")?;
    Ok(())
}

#[test]
fn what_the_readme_tells_people_to_install_works() -> Result<()> {
    let machine = Machine::boot()?;
    machine.bring_packages("/packages", VERSION)?;
    let readme = std::fs::read_to_string(hostwatch_testkit::root()?.join("README.md"))?;
    let (_, section) = readme.split_once("\n## Install it\n").context("no section about the installation")?;
    // The one about Docker is run where there is Docker.
    let section = section.split("\n### In Docker\n").next().context("a section")?;
    let blocks: Vec<&str> =
        section.split("\n```bash\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    ensure!(blocks.len() == 6, "{blocks:?}");
    let mut last = None;
    for block in blocks {
        machine.run(&format!("cd /packages\n{block}")).with_context(|| block.to_owned())?;
        // People take a moment before they type the next.
        machine.wait_until_up()?;
        if block.contains("systemctl reload") {
            ensure!(last.is_some(), "nothing was in force before");
            machine.until("the edit is applied", || {
                let now = revision(&machine, "applied")?;
                ensure!(Some(&now) != last.as_ref(), "still {now}");
                Ok(())
            })?;
        }
        last = Some(machine.until("a revision is applied", || revision(&machine, "applied"))?);
    }
    Ok(())
}
