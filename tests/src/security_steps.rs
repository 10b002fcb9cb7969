//! The steps of `docs/security.md`, typed as they stand there on a real machine: what they promise is so at their end.

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Page, root};

use crate::machine::{HOST, Machine};

/// What the document calls the host; the machine is Redis, server and host in one.
const DOCUMENTED_HOST: &str = "web01";

/// Whatever is marked as shell, in its order.
fn steps(document: &str) -> Result<String> {
    let blocks: Vec<&str> = document.split("\n```").skip(1).step_by(2).collect();
    let steps: Vec<&str> = blocks.iter().filter_map(|block| block.strip_prefix("sh\n")).collect();
    ensure!(steps.len() >= 8, "only {} steps", steps.len());
    Ok(steps.join("\n"))
}

#[test]
fn the_steps_lead_to_redis_and_pages_that_let_in_only_whom_they_know() -> Result<()> {
    let document = std::fs::read_to_string(root()?.join("docs/security.md"))?;
    let steps = steps(&document)?.replace(DOCUMENTED_HOST, HOST);
    let machine = Machine::with_packages()?;
    machine.run("echo '127.0.0.1 redis.example.net monitor.example.net' >> /etc/hosts")?;
    machine.run(&format!("set -eu\n{steps}"))?;

    let access = "--cacert ca.pem --cert prometheus.pem --key prometheus.key";
    let curl = |options: &str| {
        let secrets = "cd ~/hostwatch-secrets && curl --silent --show-error";
        format!("{secrets} {options} https://monitor.example.net:10120/metrics")
    };
    let password = "--user \"prometheus:$(cat prometheus.password)\"";
    machine.until("this host is up through all of it", || {
        let page = Page::parse(&(machine.run(&curl(&format!("--fail {access} {password}")))? + "\n"))?;
        let up = page.value("hostwatch_host_up", &[("instance", HOST)]);
        ensure!(up == Some(1.0), "hostwatch_host_up is {up:?}");
        ensure!(page.value("hostwatch_redis_connected", &[]) == Some(1.0), "Redis is not connected");
        ensure!(page.series("node_load1").count() == 1, "no figures yet");
        Ok(())
    })?;
    for options in [access.to_owned(), format!("{access} --user prometheus:wrong")] {
        let status = machine.run(&curl(&format!("{options} --output /dev/null --write-out '%{{http_code}}'")))?;
        ensure!(status == "401", "{options}: {status}");
    }
    for options in [
        format!("--cacert ca.pem {password}"),
        format!("--cacert ca.pem --cert server.pem --key server.key {password}"),
    ] {
        machine.0.fail(&curl(&format!("--fail {options}"))).with_context(|| options.clone())?;
    }
    machine.run("hostwatch-server health")?;

    let tls = "--tls --cacert /etc/redis/ca.pem -h redis.example.net -p 6380";
    machine.0.fail("redis-cli -e -p 6379 ping")?;
    machine.0.fail(&format!("redis-cli -e {tls} ping"))?;
    let certificate = "--cert /etc/hostwatch/client.pem --key /etc/hostwatch/client.key";
    let anonymous = machine.run(&format!("redis-cli {tls} {certificate} ping"))?;
    ensure!(anonymous.contains("NOAUTH"), "{anonymous}");
    let login = format!("--user host-{HOST} --no-auth-warning -a \"$(cat ~/hostwatch-secrets/{HOST}.password)\"");
    let foreign = machine.run(&format!("redis-cli {tls} {certificate} {login} set x y"))?;
    ensure!(foreign.contains("NOPERM"), "{foreign}");
    Ok(())
}
