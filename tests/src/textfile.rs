//! Files of scripts through a real client: what they say arrives, and what is wrong with them.

use std::fs;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Redis, eventually};

use crate::fleet::{DEADLINE, figure, start_client_with, start_server_with};

const SERVICES: &str = r#"
[services.files]
plugin = "textfile"
interval = "1s"
[services.secret]
plugin = "textfile"
interval = "1s"
parameters.directory = "/etc"
"#;

#[test]
fn what_scripts_write_arrives_and_a_mistake_is_named() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name);
    fs::write(file("jobs.prom"), "# HELP jobs Jobs that wait.\n# TYPE jobs gauge\njobs{queue=\"a\",job=\"x\"} 3\n")?;
    fs::write(file("more.prom"), "# TYPE jobs gauge\njobs{queue=\"b\"} 4\n")?;
    let redis = Redis::start()?;
    let templates = "[templates.linux]\nservices = [\"files\", \"secret\"]\n";
    let mut server = start_server_with(&redis, templates, SERVICES)?;
    let _client = start_client_with(&redis, "one", format!("[allow.textfile]\ndefault = {:?}\n", directory.path()))?;
    let path = file("jobs.prom").display().to_string();
    server.eventually("both files arrive as one family", DEADLINE, |page| {
        let jobs = |queue| page.value("jobs", &[("instance", "one"), ("queue", queue)]);
        ensure!((jobs("a"), jobs("b")) == (Some(3.0), Some(4.0)), "{:?}", (jobs("a"), jobs("b")));
        ensure!(page.value("jobs", &[("exported_job", "x"), ("job", "node")]) == Some(3.0), "the label job is lost");
        ensure!(figure(page, "node_textfile_scrape_error", "one")? == 0.0, "a mistake");
        let changed = page.value("node_textfile_mtime_seconds", &[("instance", "one"), ("file", &path)]);
        ensure!(changed.is_some_and(|changed| changed > 1e9), "{changed:?}");
        let mut refused = page.series("hostwatch_host_service_refused_info");
        ensure!(refused.any(|refused| refused.has(&[("instance", "one"), ("service", "secret")])), "it is not refused");
        Ok(())
    })?;
    fs::write(file("jobs.prom"), "jobs{queue=\"a\"} 3\njobs{queue=\"b} 3\n")?;
    server.eventually("the file with a mistake is left out", DEADLINE, |page| {
        ensure!(figure(page, "node_textfile_scrape_error", "one")? == 1.0, "no mistake");
        ensure!(page.series("jobs").count() == 1, "{:?}", page.series("jobs").collect::<Vec<_>>());
        Ok(())
    })?;
    eventually("the mistake is named", DEADLINE, || {
        let (_, host) = server.get("/api/v1/hosts/one")?;
        let named = "jobs.prom:2: the value of the label \\\"queue\\\" has no end";
        ensure!(host.contains(named), "{host}");
        Ok(())
    })?;
    fs::remove_file(file("jobs.prom"))?;
    server.eventually("without the file all is well", DEADLINE, |page| {
        ensure!(figure(page, "node_textfile_scrape_error", "one")? == 0.0, "a mistake");
        Ok(())
    })?;
    Ok(())
}
