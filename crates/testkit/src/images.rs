//! The images that tests and the repository's Dockerfile begin with, made on this machine, because tests ask no registry.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use anyhow::{Context, Result, ensure};

use crate::docker::succeed;
use crate::{Docker, require};

/// Which way [`Docker::make_debian`] makes images: what an earlier one has made is made again.
const RECIPE: &str = "2";
const RECIPE_LABEL: &str = "hostwatch-recipe";

const RUST: &str = "rust:1.95-bookworm";

const RUST_FILE: &str = "FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends ca-certificates gcc libc6-dev pkg-config
COPY ca-certificates.crt /etc/ssl/certs/
COPY bin /usr/local/bin
COPY lib /usr/local/lib
";

impl Docker {
    /// Makes `debian:RELEASE-slim`, unless it is there: what that image is on a machine without a registry.
    ///
    /// # Errors
    /// When mmdebstrap is not installed or fails.
    pub fn make_debian(&self, release: &str) -> Result<()> {
        let image = format!("debian:{release}-slim");
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let recipe = format!("{{{{index .Config.Labels \"{RECIPE_LABEL}\"}}}}");
        if self.run(&["image", "inspect", "--format", &recipe, &image]).is_ok_and(|recipe| recipe.trim() == RECIPE) {
            return Ok(());
        }
        let mut command = Command::new(require("mmdebstrap")?);
        command.args(["--variant=minbase", "--quiet"]);
        // Else apt brings the program that merges /usr, and for it the whole of Perl: 50 MB that the slim image has not.
        command.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
        // As in the slim image: https://github.com/debuerreotype/debuerreotype, scripts/.slimify-excludes.
        for path in ["doc", "info", "linda", "lintian/overrides", "locale", "man"] {
            command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
        // Machines that are offline, or whose clock is, use mirrors that do not change.
        command.args(["--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Check-Date \"false\""]);
        command.arg("--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/*");
        let tar = self.directory.path().join("debian.tar");
        command.arg(release).arg(&tar);
        succeed(&mut command)?;
        let label = format!("LABEL {RECIPE_LABEL}={RECIPE}");
        self.run(&["import", "--change", &label, &tar.display().to_string(), &image])?;
        std::fs::remove_file(tar)?;
        Ok(())
    }

    /// Makes `rust:1.95-bookworm` from this machine's toolchain, unless it is there.
    ///
    /// # Errors
    /// As [`Docker::make_debian`].
    pub fn make_rust(&self) -> Result<()> {
        self.make_debian("bookworm")?;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.run(&["image", "inspect", RUST]).is_ok() {
            return Ok(());
        }
        let sysroot = succeed(Command::new("rustc").args(["--print", "sysroot"]))?;
        let sysroot = Path::new(sysroot.trim_end());
        let context = self.directory.path().join("rust");
        std::fs::create_dir_all(&context)?;
        std::fs::write(context.join("Dockerfile"), RUST_FILE)?;
        std::fs::copy("/etc/ssl/certs/ca-certificates.crt", context.join("ca-certificates.crt"))?;
        let mut tar = Command::new("tar");
        tar.args(["--create", "--directory"]).arg(&context).args(["Dockerfile", "ca-certificates.crt"]);
        tar.arg("--directory").arg(sysroot).args(["--exclude=lib/rustlib/src", "bin/cargo", "bin/rustc", "lib"]);
        let mut tar = tar.stdout(Stdio::piped()).spawn().context("tar")?;
        let mut build = self.command(&["build", "--quiet", "--network", "host", "--tag", RUST, "-"]);
        build.stdin(tar.stdout.take().context("the output of tar")?);
        let built = succeed(&mut build);
        ensure!(tar.wait()?.success(), "tar failed");
        built.map(drop)
    }
}
