//! The Docker images: built from the Dockerfile as it stands, small, without rights, and true about the host.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use hostwatch_testkit::{
    Container, Docker, LABEL, Page, Redis, eventually_every, free_port, get, programs, require, root,
};

use crate::views::compare;

const DEADLINE: Duration = Duration::from_secs(60);

/// Each look starts a process.
const INTERVAL: Duration = Duration::from_millis(500);

/// What `docker stop` waits for before it kills.
const STOP: Duration = Duration::from_secs(10);

const SERVER: &str = "hostwatch-server:test";
const CLIENT: &str = "hostwatch-client:test";

/// The most bytes that each image may take, Debian's slim one included.
const SERVER_MOST: u64 = 120_000_000;
const CLIENT_MOST: u64 = 110_000_000;

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

/// That an image is small, belongs to no root, says what it is, and has no tool in it that its build needed.
fn inspect(docker: &Docker, image: &str, most: u64) -> Result<()> {
    let size: u64 = docker.run(&["image", "inspect", "--format", "{{.Size}}", image])?.trim().parse()?;
    ensure!(size <= most, "{image} takes {size} bytes, more than {most}");
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

/// Starts both as the README tells people to, with another Redis and another port.
fn as_the_readme_says(docker: &Arc<Docker>, redis: &Redis, address: &str) -> Result<[Container; 2]> {
    let readme = std::fs::read_to_string(root()?.join("README.md"))?;
    let (_, section) = readme.split_once("\n### In Docker\n").context("no section about Docker")?;
    let (_, block) = section.split_once("\n```bash\n").context("no block")?;
    let mut script = block.split("\n```").next().context("a block")?.to_owned();
    for (theirs, ours) in [
        ("docker run", &format!("docker run --label {LABEL}")),
        ("redis://127.0.0.1:6379", &redis.url()),
        ("127.0.0.1:10120", &address.to_owned()),
        (concat!(":", env!("CARGO_PKG_VERSION")), &":test".to_owned()),
        ("$(hostname)", &"docked".to_owned()),
        // Volumes with names would outlive the test.
        ("volume hostwatch-server:", &"volume ".to_owned()),
        ("volume hostwatch-client:", &"volume ".to_owned()),
    ] {
        ensure!(script.contains(theirs), "nothing in it says {theirs}: {script}");
        script = script.replace(theirs, ours);
    }
    let output = Command::new("sh").args(["-ec", &script]).envs(docker.environment()).output()?;
    ensure!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    let ids = String::from_utf8(output.stdout)?;
    let containers: Vec<Container> = ids.lines().map(|id| Container::adopt(docker, id)).collect();
    containers.try_into().map_err(|_| anyhow!("not two containers: {ids}"))
}

/// That a host is up, with figures, on the page of the server at an address.
fn becomes_up(address: &str, host: &str, containers: &[&Container]) -> Result<()> {
    eventually_every(INTERVAL, "the host is up", DEADLINE, || {
        let page = Page::parse(&get(&format!("http://{address}/metrics"))?.1)?;
        let host = [("instance", host)];
        ensure!(page.value("hostwatch_host_up", &host) == Some(1.0), "it is not");
        ensure!(page.series("node_load1").any(|series| series.has(&host)), "no figures yet");
        Ok(())
    })
    .with_context(|| {
        containers.iter().map(|container| container.logs().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn images_are_small_and_run_without_rights_and_the_client_reports_the_host() -> Result<()> {
    let docker = Docker::shared()?;
    build(&docker)?;
    inspect(&docker, SERVER, SERVER_MOST)?;
    inspect(&docker, CLIENT, CLIENT_MOST)?;
    keeps_its_dependencies(&docker)?;

    let mut redis = Redis::start()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let [server, client] = as_the_readme_says(&docker, &redis, &address)?;
    runs_well(&server)?;
    runs_well(&client)?;
    becomes_up(&address, "docked", &[&server, &client])?;
    ensure!(server.stdout()?.contains(&format!("listening on http://{address}")), "{}", server.logs()?);
    ensure!(client.stdout()?.contains("is in force"), "{}", client.logs()?);

    let outside = || -> Result<Page> {
        let output = Command::new(&programs()?.client).arg("--once").output()?;
        Ok(Page::parse(&String::from_utf8(output.stdout)?)?)
    };
    compare(outside, || Ok(Page::parse(&client.run("hostwatch-client --once")?)?))?;
    is_configured_by_files(&docker, &redis, &address)?;

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
    is_refused(&wrong, "HOSTWATCH_HOST")?;
    runs_as_composed(&docker)
}

/// A container ends with exit code 78, and says why.
fn is_refused(container: &Container, why: &str) -> Result<()> {
    eventually_every(INTERVAL, "it refuses its settings", DEADLINE, || {
        let exit = container.inspect("{{.State.Status}} {{.State.ExitCode}}")?;
        ensure!(exit == "exited 78", "{exit}");
        Ok(())
    })?;
    let said = container.logs()?;
    ensure!(said.contains(why), "{said}");
    Ok(())
}

/// A client whose settings are a file that is mounted, and which does not see the host; and a server whose file is wrong.
fn is_configured_by_files(docker: &Arc<Docker>, redis: &Redis, address: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mount = |file: &str, text: &str| -> Result<String> {
        let path = directory.path().join(file);
        std::fs::write(&path, text)?;
        Ok(format!("--volume={}:/etc/hostwatch/{file}:ro", path.display()))
    };
    let settings = mount("client.toml", &format!("host = \"lonely\"\n[redis]\nurl = \"{}\"\n", redis.url()))?;
    let narrow = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host"];
    let lonely = Container::start(docker, &[&narrow[..], &[&settings, CLIENT]].concat())?;
    runs_well(&lonely)?;
    becomes_up(address, "lonely", &[&lonely])?;
    // Without the mounts it says so, and takes the container's own root for nobody's.
    let said = lonely.logs()?;
    ensure!(said.matches("this is a container").count() == 1 && said.contains("--pid=host and -v /:/host"), "{said}");
    let page = Page::parse(&lonely.run("hostwatch-client --once")?)?;
    ensure!(!page.series("node_filesystem_size_bytes").any(|series| series.has(&[("mountpoint", "/")])), "{said}");
    stops_well(&lonely)?;

    let mistake = mount("server.toml", "colour = 1\n")?;
    let wrong = Container::start(docker, &["--network=none", &mistake, SERVER])?;
    is_refused(&wrong, "/etc/hostwatch/server.toml:1: colour: ")
}

/// Another source file of ours leaves the layer of the dependencies as it is.
fn keeps_its_dependencies(docker: &Docker) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--parents", "Cargo.toml", "Cargo.lock", "Dockerfile", ".dockerignore", "crates"]);
    copy.args(["tests/Cargo.toml", "xtask/Cargo.toml", "packaging/config"]).arg(directory.path());
    ensure!(copy.current_dir(root()?).status()?.success(), "cp failed");
    let dependencies = || {
        let context = directory.path().display().to_string();
        docker.run(&["build", "--quiet", "--network", "host", "--target", "dependencies", &context])
    };
    let before = dependencies()?;
    std::fs::write(directory.path().join("crates/server/src/lib.rs"), "//! Something else.\n")?;
    ensure!(dependencies()? == before, "the dependencies were built again");
    Ok(())
}

/// What Compose started. It is taken down, with its volumes, when this is dropped.
struct Composed<'a> {
    docker: &'a Arc<Docker>,
    environment: [(&'static str, String); 3],
}

impl Composed<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut compose = Command::new(require("docker-compose")?);
        compose.args(["--project-name", "hostwatch-test", "--file", "packaging/compose.yaml"]).args(arguments);
        compose.envs(self.docker.environment()).envs(self.environment.clone());
        let output = compose.current_dir(root()?).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Composed<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down", "--volumes"]) {
            eprintln!("{error:#}");
        }
    }
}

/// Our part of the Compose file: the images of Redis and the others are in no reach of tests.
fn runs_as_composed(docker: &Arc<Docker>) -> Result<()> {
    for (image, name) in [(SERVER, "hostwatch-server"), (CLIENT, "hostwatch-client")] {
        docker.run(&["tag", image, name])?;
    }
    let (redis, port) = (Redis::start()?, free_port()?);
    let environment = [
        ("HOSTWATCH_REDIS_PORT", redis.port().to_string()),
        ("HOSTWATCH_PORT", port.to_string()),
        ("HOSTWATCH_HOST", "composed".to_owned()),
    ];
    let compose = Composed { docker, environment };
    // What a run that was killed has left.
    compose.run(&["down", "--volumes"])?;
    compose.run(&["up", "--detach", "--no-build", "--no-deps", "server", "client"])?;
    let of = |service| compose.run(&["ps", "--quiet", service]).map(|id| Container::adopt(docker, id.trim()));
    let (server, client) = (of("server")?, of("client")?);
    runs_well(&server)?;
    runs_well(&client)?;
    becomes_up(&format!("127.0.0.1:{port}"), "composed", &[&server, &client])
}
