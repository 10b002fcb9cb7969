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
        let user = machine.run(&format!("ps -o user= -p $(systemctl show --property=MainPID --value {unit})"));
        // Without procps, by the owner of its folder.
        let owner = machine.run(&format!("stat -c %U:%a /var/lib/{unit}"))?;
        ensure!(owner == format!("{unit}:750"), "{owner} {user:?}");
    }
    machine.run("hostwatch-client health")?;
    machine.run("apt-get install -q -y redis-server curl")?;
    machine.wait_until_up()
}

#[test]
fn a_reload_is_applied_or_fails_with_the_place_of_the_mistake() -> Result<()> {
    let machine = Machine::with_packages()?;
    let applied = || -> Result<String> {
        let page = machine.page()?;
        let mut revisions = page.series("hostwatch_host_config_revision_info");
        let applied = revisions.find(|sample| sample.has(&[("instance", HOST), ("state", "applied")]));
        Ok(applied.and_then(|sample| sample.label("revision")).context("nothing is applied")?.to_owned())
    };
    let first = machine.until("a revision is applied", applied)?;
    machine.run("sed -i 's/cpu_interval = \"10s\"/cpu_interval = \"11s\"/' /etc/hostwatch/templates.toml")?;
    machine.run("systemctl reload hostwatch-server")?;
    let second = machine.until("the edit is applied", || {
        let now = applied()?;
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
    ensure!(applied()? == second, "the old configuration stays in force");
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

/// A service whose alert always fires, and one that cannot work.
const EXTRA: &str = r#"
[services.always]
plugin = "load"
interval = "1s"
[[services.always.triggers]]
alert = "Always"
expr = "node_load1 >= 0"
annotations.summary = "always"
[services.broken]
plugin = "exec"
interval = "1s"
parameters.command = "none"
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
    machine.run("sed -i 's/\"linux-cpu\"/\"linux-cpu\", \"always\", \"broken\"/' /etc/hostwatch/templates.toml")?;
    machine.run("systemctl reload hostwatch-server && systemctl restart hostwatch-client")?;
    for (field, text) in [("ALERT=Always", "an alert fires"), ("PLUGIN=exec", "fails"), ("SERVICE=broken", "fails")] {
        let command = format!("journalctl --output cat --priority warning HOSTWATCH_{field} | grep '{text}'");
        machine.eventually(field, &command)?;
    }
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

#[test]
fn an_upgrade_keeps_what_was_edited_and_restarts_once_and_a_purge_leaves_nothing() -> Result<()> {
    let machine = Machine::boot()?;
    machine.bring_packages("/packages", VERSION)?;
    machine.bring_packages("/earlier", EARLIER)?;
    machine.run("apt-get install -q -y curl redis-server")?;
    // What apt, dpkg and the journal keep of their own is not of the packages.
    let files = "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache \
                 -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/redis \\) -prune -o -print | sort";
    let before = machine.run(files)?;

    machine.run("apt-get install -q -y /earlier/*.deb")?;
    machine.wait_until_up()?;
    machine.run("for file in server client hosts; do echo '# edited' >> /etc/hostwatch/$file.toml; done")?;
    let identity = "curl -sf http://127.0.0.1:10120/metrics | grep -o 'server_id=\"[^\"]*\"' || cat /var/lib/hostwatch-server/server*";
    let was = machine.run(identity)?;
    for (folder, version, option) in [("/packages", VERSION, ""), ("/earlier", EARLIER, "--allow-downgrades")] {
        let ids = |unit: &str| machine.show(unit, "MainPID");
        let old = [ids(BOTH[0])?, ids(BOTH[1])?];
        machine.run("journalctl --rotate && journalctl --vacuum-time=1us")?;
        machine.run(&format!("apt-get install -q -y {option} {folder}/*.deb"))?;
        machine.wait_until_up()?;
        for (unit, old) in BOTH.iter().zip(&old) {
            ensure!(machine.run(&format!("dpkg-query -W -f '${{Version}}' {unit}"))? == format!("{version}-1"));
            ensure!(&ids(unit)? != old, "{unit} was not restarted");
            let stops = machine.run(&format!("journalctl --output cat --unit {unit} | grep -c '^Stopped '"))?;
            ensure!(stops == "1", "{unit} was stopped {stops} times");
        }
        machine.run("for file in server client hosts; do grep '# edited' /etc/hostwatch/$file.toml; done")?;
        ensure!(machine.run(identity)? == was, "the server is another one");
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
fn systemd_runs_what_the_readme_tells_people_to_install() -> Result<()> {
    let machine = Machine::boot()?;
    machine.bring_packages("/packages", VERSION)?;
    let readme = std::fs::read_to_string(hostwatch_testkit::root()?.join("README.md"))?;
    let (_, section) = readme.split_once("\n## Install it\n").context("no section about the installation")?;
    let section = section.split("\n## ").next().context("a section")?;
    let blocks: Vec<&str> =
        section.split("\n```bash\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    ensure!(blocks.len() == 3, "{blocks:?}");
    for block in blocks {
        let printed = machine.run(&format!("cd /packages\n{block}")).with_context(|| block.to_owned())?;
        eprintln!("{printed}");
        // People take a moment before they type the next.
        machine.wait_until_up()?;
    }
    machine.eventually(
        "the edit is applied",
        "journalctl --unit hostwatch-client | grep -c 'is in force' | grep -v '^1$'",
    )?;
    Ok(())
}
