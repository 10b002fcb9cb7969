//! `cargo xtask image`: the Docker images, from the Dockerfile at the root.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hostwatch_testkit::root;

use crate::install::install;

/// How to build them.
#[derive(Args)]
pub(crate) struct Image {
    /// The tag of both images
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Further arguments for `docker build`, behind `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Image {
    pub(crate) fn run(&self) -> Result<()> {
        install(&["docker"])?;
        for target in ["server", "client"] {
            let image = format!("hostwatch-{target}:{}", self.tag);
            let mut docker = Command::new("docker");
            docker.args(["build", "--target", target, "--tag", &image]);
            docker.args(["--build-arg", concat!("VERSION=", env!("CARGO_PKG_VERSION"))]).args(&self.arguments).arg(".");
            let exit = docker.current_dir(root()?).status().context("run docker")?;
            ensure!(exit.success(), "docker build --target {target}: {exit}");
            println!("{image}: {} MB", size_of(&image)?.div_ceil(1_000_000));
        }
        Ok(())
    }
}

/// How many bytes an image takes, with what it is built on.
fn size_of(image: &str) -> Result<u64> {
    let mut docker = Command::new("docker");
    let output = docker.args(["image", "inspect", "--format", "{{.Size}}", image]).output().context("run docker")?;
    ensure!(output.status.success(), "docker image inspect {image}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.trim().parse().with_context(|| format!("the size of {image}"))
}
