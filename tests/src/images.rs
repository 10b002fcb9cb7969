//! The Docker images: built from the Dockerfile as it stands, small, without rights, and true about the host.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Container, Docker, Page, Redis, eventually_every, free_port, get, programs, root};

use crate::sandbox::differences;

const DEADLINE: Duration = Duration::from_secs(60);

/// Each look starts a process.
const INTERVAL: Duration = Duration::from_millis(500);

/// What `docker stop` waits for before it kills.
const STOP: Duration = Duration::from_secs(10);

const SERVER: &str = "hostwatch-server:test";
const CLIENT: &str = "hostwatch-client:test";

/// Builds both images, each time with what the last build left.
fn build(docker: &Docker) -> Result<()> {
    docker.make_rust()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").context("cargo runs tests")?);
    cargo.args(["xtask", "image", "--tag", "test", "--", "--network", "host", "--quiet"]).current_dir(root()?);
    cargo.envs(docker.environment());
    let exit = cargo.status()?;
    ensure!(exit.success(), "cargo xtask image: {exit}");
    Ok(())
}

/// What ours may take beyond Debian's slim image, which is larger here than the one that Debian publishes.
const MOST: u64 = 20_000_000;

/// That an image is small, belongs to no root, says what it is, and has no tool in it that its build needed.
fn inspect(docker: &Docker, image: &str) -> Result<()> {
    let size_of = |image: &str| -> Result<u64> {
        Ok(docker.run(&["image", "inspect", "--format", "{{.Size}}", image])?.trim().parse()?)
    };
    let (size, base) = (size_of(image)?, size_of("debian:bookworm-slim")?);
    eprintln!("{image}: {} MB, of which Debian takes {} MB", size / 1_000_000, base / 1_000_000);
    ensure!(size - base <= MOST, "{image} takes {size} bytes, Debian {base} of them");
    let labels = docker.run(&["image", "inspect", "--format", "{{json .Config.Labels}}", image])?;
    for label in ["title", "description", "source", "licenses", "version"] {
        ensure!(labels.contains(&format!("org.opencontainers.image.{label}")), "{labels}");
    }
    let history = docker.run(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", image])?.to_lowercase();
    for finding in ["cargo", "apt-get", "gcc", "password", "secret", "token"] {
        ensure!(!history.contains(finding), "{finding}: {history}");
    }
    let tools = "for tool in cargo rustc cc gcc ld make git; do ! command -v $tool || exit 1; done";
    docker.run(&["run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", tools])?;
    Ok(())
}

/// Its main process is not root's, can write nothing outside its volume, and is healthy.
fn runs_well(container: &Container) -> Result<()> {
    eventually_every(INTERVAL, "it is healthy", DEADLINE, || {
        let health = container.inspect("{{.State.Health.Status}}")?;
        ensure!(health == "healthy", "{health}");
        Ok(())
    })
    .with_context(|| container.logs().unwrap_or_default())?;
    ensure!(container.run("id -u")?.trim() != "0", "it runs as root");
    for place in ["/etc/hostwatch/x", "/tmp/x", "/x"] {
        container.fail(&format!("touch {place}"))?;
    }
    Ok(())
}

fn stops_well(container: &Container) -> Result<()> {
    container.stop(STOP)?;
    // 137 would be that of a process that had to be killed.
    let exit = container.inspect("{{.State.ExitCode}}")?;
    ensure!(exit == "0", "exit code {exit}\n{}", container.logs()?);
    Ok(())
}

#[test]
fn images_are_small_and_run_without_rights_and_the_client_reports_the_host() -> Result<()> {
    let docker = Docker::shared()?;
    build(&docker)?;
    inspect(&docker, SERVER)?;
    inspect(&docker, CLIENT)?;

    let mut redis = Redis::start()?;
    let url = format!("HOSTWATCH_REDIS_URL={}", redis.url());
    let address = format!("127.0.0.1:{}", free_port()?);
    let listen = format!("HOSTWATCH_WEB_LISTEN_ADDRESS={address}");
    let narrow = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host", "--env", &url];
    let server = Container::start(&docker, &[&narrow[..], &["--env", &listen, SERVER]].concat())?;
    let host = ["--pid=host", "--volume=/:/host:ro,rslave", "--env", "HOSTWATCH_HOST=docked", CLIENT];
    let client = Container::start(&docker, &[&narrow[..], &host].concat())?;
    runs_well(&server)?;
    runs_well(&client)?;
    eventually_every(INTERVAL, "the host is up", DEADLINE, || {
        let page = Page::parse(&get(&format!("http://{address}/metrics"))?.1)?;
        ensure!(page.value("hostwatch_host_up", &[("instance", "docked")]) == Some(1.0), "it is not");
        ensure!(page.series("node_load1").count() == 1, "no figures yet");
        Ok(())
    })
    .with_context(|| format!("{}\n{}", server.logs().unwrap_or_default(), client.logs().unwrap_or_default()))?;

    let outside = || -> Result<Page> {
        let output = Command::new(&programs()?.client).arg("--once").output()?;
        Ok(Page::parse(&String::from_utf8(output.stdout)?)?)
    };
    let before = outside()?;
    let inside = Page::parse(&client.run("hostwatch-client --once")?)?;
    let wrong = differences(&before, &inside, &outside()?);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Without the mounts it says so, and takes the container's own root for nobody's.
    let lonely = Container::start(&docker, &[&narrow[..], &["--env", "HOSTWATCH_HOST=lonely", CLIENT]].concat())?;
    runs_well(&lonely)?;
    let said = lonely.logs()?;
    ensure!(said.matches("this is a container").count() == 1 && said.contains("--pid=host and -v /:/host"), "{said}");
    let page = Page::parse(&lonely.run("hostwatch-client --once")?)?;
    ensure!(!page.series("node_filesystem_size_bytes").any(|series| series.has(&[("mountpoint", "/")])), "{said}");
    stops_well(&lonely)?;

    // Liveness is not readiness: without Redis both stay healthy.
    redis.kill()?;
    eventually_every(INTERVAL, "the server misses Redis", DEADLINE, || {
        let (status, _) = get(&format!("http://{address}/-/ready"))?;
        ensure!(status == 503, "{status}");
        Ok(())
    })?;
    server.run("hostwatch-server health")?;
    client.run("hostwatch-client health")?;
    stops_well(&server)?;
    stops_well(&client)?;

    let wrong = Container::start(&docker, &["--network=none", "--env=HOSTWATCH_HOST=*", CLIENT])?;
    eventually_every(INTERVAL, "it refuses a name that is none", DEADLINE, || {
        let exit = wrong.inspect("{{.State.Status}} {{.State.ExitCode}}")?;
        ensure!(exit == "exited 78", "{exit}");
        Ok(())
    })?;
    ensure!(wrong.logs()?.contains("HOSTWATCH_HOST"), "{}", wrong.logs()?);
    Ok(())
}
