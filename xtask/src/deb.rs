//! `cargo xtask deb`: the Debian packages, from a release build of this tree, byte by byte the same each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hostwatch_testkit::root;

use crate::copy::copy_folder;
use crate::install::install;
use crate::manuals;

/// How to pack.
#[derive(Args)]
pub(crate) struct Deb {
    /// Where the packages go [default: target/deb]
    #[arg(long)]
    output: Option<PathBuf>,
    /// The upstream version that the packages carry [default: that of the workspace]
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"), hide_default_value = true)]
    version: String,
    /// Build and pack twice, each time from nothing, and fail unless the packages are the same
    #[arg(long)]
    twice: bool,
}

/// The packages, and the programs in them.
const PACKAGES: [&str; 2] = ["hostwatch-server", "hostwatch-client"];

impl Deb {
    pub(crate) fn run(&self) -> Result<()> {
        install(&["dh", "dpkg-buildpackage"])?;
        let root = root()?;
        let target = root.join("target/deb");
        let output = self.output.clone().unwrap_or_else(|| target.clone());
        fs::create_dir_all(&target)?;
        fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
        if self.twice {
            let (first, again) = (target.join("build-first"), target.join("build-again"));
            for directory in [&first, &again] {
                if directory.exists() {
                    fs::remove_dir_all(directory)?;
                }
            }
            let first = self.pack(&root, &build(&root, &first)?, &output)?;
            let again = self.pack(&root, &build(&root, &again)?, &target.join("again"))?;
            for (first, again) in first.iter().zip(&again) {
                ensure!(fs::read(first)? == fs::read(again)?, "{} and {} differ", first.display(), again.display());
            }
            println!("both builds gave the same packages");
            return Ok(());
        }
        for package in self.pack(&root, &build(&root, &target.join("build"))?, &output)? {
            println!("{} ({} kB)", package.display(), package.metadata()?.len().div_ceil(1000));
        }
        Ok(())
    }

    /// Packs the programs in `programs`; returns the packages, which lie in `output`.
    fn pack(&self, root: &Path, programs: &Path, output: &Path) -> Result<Vec<PathBuf>> {
        let directory = tempfile::Builder::new().prefix("stage.").tempdir_in(root.join("target/deb"))?;
        let tree = directory.path().join(format!("hostwatch-{}", self.version));
        let epoch = source_date_epoch(root)?;
        self.lay_out(root, programs, &epoch, &tree)?;
        let log = directory.path().join("log");
        let log_file = fs::File::create(&log)?;
        let mut pack = Command::new("dpkg-buildpackage");
        pack.args(["--build=binary", "--no-sign", "--no-check-builddeps"])
            .current_dir(&tree)
            .env("SOURCE_DATE_EPOCH", &epoch);
        let exit = pack.stdout(log_file.try_clone()?).stderr(log_file).status().context("dpkg-buildpackage")?;
        if !exit.success() {
            bail!("dpkg-buildpackage: {exit}\n{}", fs::read_to_string(&log)?);
        }
        fs::create_dir_all(output).with_context(|| output.display().to_string())?;
        let mut packages = Vec::new();
        for entry in fs::read_dir(directory.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let package = output.join(path.file_name().context("a file has a name")?);
                fs::copy(&path, &package).with_context(|| package.display().to_string())?;
                packages.push(package);
            }
        }
        packages.sort();
        ensure!(packages.len() == PACKAGES.len(), "dpkg-buildpackage made {packages:?}");
        Ok(packages)
    }

    /// Makes the tree that `packaging/debian` packs.
    fn lay_out(&self, root: &Path, programs: &Path, epoch: &str, tree: &Path) -> Result<()> {
        let packaging = root.join("packaging");
        let debian = tree.join("debian");
        copy_folder(&packaging.join("debian"), &debian)?;
        for folder in ["config", "grafana", "prometheus", "redis"] {
            copy_folder(&packaging.join(folder), &tree.join(folder))?;
        }
        copy_folder(&root.join("systemd"), &tree.join("systemd"))?;
        fs::copy(root.join("CHANGELOG.md"), tree.join("CHANGELOG.md"))?;
        fs::create_dir(tree.join("bin"))?;
        for package in PACKAGES {
            fs::copy(programs.join(package), tree.join("bin").join(package))?;
            for kind in ["service", "sysusers", "tmpfiles"] {
                let file = format!("{package}.{kind}");
                fs::copy(tree.join("systemd").join(&file), debian.join(&file)).context(file)?;
            }
        }
        manuals::write(&packaging, &tree.join("man"), &tree.join("completions"))?;
        fs::write(tree.join("crates"), crates(root)?)?;
        fs::write(debian.join("changelog"), self.changelog(epoch)?)?;
        fs::set_permissions(debian.join("rules"), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Debian's changelog says which version was packed when; what changed stands in the upstream changelog beside it.
    fn changelog(&self, epoch: &str) -> Result<String> {
        let maintainer = "hostwatch developers <hostwatch@users.noreply.github.com>";
        let date = output_of(Command::new("date").args(["--utc", "--rfc-email", "--date", &format!("@{epoch}")]))?;
        let version = &self.version;
        Ok(format!(
            "hostwatch ({version}-1) bookworm; urgency=medium\n\n  * Release {version}.\n\n -- {maintainer}  {date}\n"
        ))
    }
}

/// Builds the programs that users get into `target`, without the paths of this machine in them.
fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "--bins", "--target-dir"]).arg(target).current_dir(root);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir().context("this user has no home directory")?.join(".cargo"),
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // Of several prefixes that match, rustc takes the last one.
    let flags = [remap(&cargo_home, "cargo"), remap(root, "hostwatch"), remap(target, "target")];
    let exit = cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).status().context("run cargo build")?;
    ensure!(exit.success(), "cargo build: {exit}");
    Ok(target.join("release"))
}

/// The crates that are linked into the programs, with their versions and licenses, one a line.
fn crates(root: &Path) -> Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p} {l}"]).current_dir(root);
    cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    let tree = output_of(&mut cargo)?;
    // Parentheses mark our own crates, procedural macros, which run at build time only, and repetitions.
    let mut lines: Vec<&str> = tree.lines().filter(|line| !line.is_empty() && !line.contains(" (")).collect();
    lines.sort_unstable();
    lines.dedup();
    ensure!(!lines.is_empty(), "cargo tree named no crate");
    Ok(lines.join("\n") + "\n")
}

/// The time that every file of a package carries, in seconds since 1970: that of the commit, unless the environment says
/// otherwise. Source: <https://reproducible-builds.org/specs/source-date-epoch/>.
fn source_date_epoch(root: &Path) -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    output_of(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root))
        .context("set SOURCE_DATE_EPOCH where there is no git repository")
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
