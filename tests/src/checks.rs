//! Checks of the Monitoring Plugins, run through `exec` by a real client: what they say arrives, and nothing else can run.

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, Redis, require};

use crate::fleet::{DEADLINE, start_client_with, start_server_with};

const FOLDER: &str = "/usr/lib/nagios/plugins";

const SERVICES: &str = r#"
[services.disk]
plugin = "exec"
interval = "1s"
parameters.command = "disk"
[[services.disk.triggers]]
alert = "CheckFails"
expr = 'hostwatch_check_state > 0'
annotations.summary = "{{ labels.command }} is {{ value }}"
[services.processes]
plugin = "exec"
interval = "1s"
parameters.command = "processes"
[services.dummy]
plugin = "exec"
interval = "1s"
parameters.command = "dummy"
[services.secret]
plugin = "exec"
interval = "1s"
parameters.command = "/bin/cat"
"#;
const TEMPLATES: &str = "[templates.linux]\nservices = [\"disk\", \"processes\", \"dummy\", \"secret\"]\n";

fn state(page: &Page, command: &str) -> Option<f64> {
    page.value("hostwatch_check_state", &[("instance", "one"), ("command", command)])
}

#[test]
fn checks_of_the_hosts_own_are_run_and_judged() -> Result<()> {
    for check in ["check_disk", "check_procs", "check_dummy"] {
        require(&format!("{FOLDER}/{check}"))?;
    }
    let redis = Redis::start()?;
    let mut server = start_server_with(&redis, TEMPLATES, SERVICES)?;
    let settings = format!(
        "[allow.exec]\n\
         disk = [\"{FOLDER}/check_disk\", \"-w\", \"1\", \"-c\", \"1\", \"-p\", \"/\"]\n\
         processes = [\"{FOLDER}/check_procs\", \"-c\", \"1:\"]\n\
         dummy = [\"{FOLDER}/check_dummy\", \"2\", \"the dummy is ill\"]\n"
    );
    let _client = start_client_with(&redis, "one", settings)?;

    server.eventually("all checks are reported and judged", DEADLINE, |page| {
        ensure!(state(page, "disk") == Some(0.0), "disk: {:?}", state(page, "disk"));
        ensure!(state(page, "processes") == Some(0.0), "processes: {:?}", state(page, "processes"));
        ensure!(state(page, "dummy") == Some(2.0), "dummy: {:?}", state(page, "dummy"));
        let figure = |command, label| {
            let labels = [("instance", "one"), ("command", command), ("label", label)];
            page.value("hostwatch_check_value", &labels).with_context(|| format!("no {label} of {command}"))
        };
        ensure!(figure("disk", "/")? > 1e6 && figure("processes", "procs")? >= 1.0);
        Ok(())
    })?;
    // A server that asks for anything else is refused.
    server.eventually("what is not allowed is refused", DEADLINE, |page| {
        let mut refused = page.series("hostwatch_host_service_refused_info");
        ensure!(refused.any(|refused| refused.has(&[("instance", "one"), ("service", "secret")])), "it is not refused");
        Ok(())
    })?;
    let (_, hosts) = server.get("/api/v1/hosts/one")?;
    ensure!(hosts.contains("CRITICAL: the dummy is ill"), "{hosts}");
    Ok(())
}
