//! Where programs come from: ours from one `cargo build`, all others from the machine, by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

/// Our own programs, built.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `hostwatch-server`
    pub server: PathBuf,
    /// `hostwatch-client`
    pub client: PathBuf,
}

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// What users run.
    Release,
}

/// Our programs as of now, in the development profile, built once per process.
///
/// Needed because Cargo builds no program of another package for a test, and tells no path of one.
///
/// # Errors
/// When the build failed; the compiler's messages are on standard error.
pub fn programs() -> Result<&'static Programs> {
    static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
    let built = PROGRAMS.get_or_init(|| build(Profile::Dev).map_err(|error| format!("{error:#}")));
    built.as_ref().map_err(|error| anyhow::Error::msg(error.clone()))
}

/// Builds our programs, with cargo's progress on standard error.
///
/// # Errors
/// When the build failed.
pub fn build(profile: Profile) -> Result<Programs> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // xtask may be what runs just now. The others are built together, so that they share their dependencies' features
    // with a build of the whole workspace and nothing is compiled twice.
    command.args(["build", "--workspace", "--exclude", "xtask", "--bins"]);
    command.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        command.arg("--release");
    }
    // A build script that asks for what cargo told this process of its own package would run again for each package that
    // builds the programs, and everything above it be compiled anew.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let mut cargo = command.current_dir(root()?).stdout(Stdio::piped()).spawn().context("run cargo build")?;
    let output = std::io::BufReader::new(cargo.stdout.take().context("the output of cargo build")?);
    let mut executables = Vec::new();
    for message in Message::parse_stream(output) {
        if let Message::CompilerArtifact(artifact) = message.context("the output of cargo build")? {
            executables.extend(artifact.executable.map(|path| (artifact.target.name, path.into_std_path_buf())));
        }
    }
    let exit = cargo.wait().context("wait for cargo build")?;
    if !exit.success() {
        bail!("cargo build: {exit}");
    }
    let path = |name: &str| {
        let found = executables.iter().find(|(target, _)| target == name);
        found.map(|(_, path)| path.clone()).with_context(|| format!("cargo build made no {name}"))
    };
    Ok(Programs { server: path("hostwatch-server")?, client: path("hostwatch-client")? })
}

/// The folder with the Debian packages of this tree under an upstream version, built once per process by `cargo xtask deb`.
///
/// # Errors
/// When they cannot be built; the reason is on standard error.
pub fn packages(version: &str) -> Result<PathBuf> {
    static PACKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut packed = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let root = root()?;
    let output = root.join("target/test-packages").join(version);
    if packed.contains(version) {
        return Ok(output);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["xtask", "deb", "--version", version, "--output"]).arg(&output).current_dir(root);
    let exit = cargo.stdout(Stdio::null()).status().context("run cargo xtask deb")?;
    ensure!(exit.success(), "cargo xtask deb: {exit}");
    packed.insert(version.to_owned());
    Ok(output)
}

/// The root of the workspace, found from the package that cargo runs, else from the working directory.
///
/// # Errors
/// When neither is inside a workspace.
pub fn root() -> Result<PathBuf> {
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => std::env::current_dir()?,
    };
    let root = start.ancestors().find(|directory| directory.join("Cargo.lock").is_file());
    Ok(root.with_context(|| format!("no Cargo.lock above {}", start.display()))?.to_owned())
}

/// The path of a program that a test cannot do without.
///
/// # Errors
/// When it is not in `$PATH`: names the Debian package that brings it.
pub fn require(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("{program} is missing: install the package {}", package_of(program)))
}

/// The path of a program in `$PATH`; a name with a slash stands for itself.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| is_program(path))
}

/// The Debian package that brings a program.
pub fn package_of(program: &str) -> &str {
    match program {
        "redis-cli" => "redis-tools",
        "/usr/lib/nagios/plugins/check_disk" => "monitoring-plugins-basic",
        "ip" => "iproute2",
        "collectd" => "collectd-core",
        "dh" => "debhelper",
        "dockerd" | "docker" => "docker.io",
        "dpkg-buildpackage" => "dpkg-dev",
        "amtool" => "prometheus-alertmanager",
        "promtool" => "prometheus",
        "/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py" => "python3-prometheus-client",
        "setpriv" | "unshare" => "util-linux",
        same => same,
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        assert!(require("sh").is_ok());
        let error = require("hostwatch-has-no-such-program").unwrap_err().to_string();
        assert!(error.contains("install the package"), "{error}");
        assert_eq!(package_of("promtool"), "prometheus");
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().unwrap().join("crates/testkit").is_dir());
    }

    #[test]
    fn our_programs_can_be_built_from_a_test() {
        let programs = programs().unwrap();
        assert!(programs.server.is_file() && programs.client.is_file(), "{programs:?}");
    }
}
