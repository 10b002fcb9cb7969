//! Programs that a chore needs and the machine lacks: from Debian's packages, if we may install them.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use hostwatch_testkit::{find, package_of, require};

/// Installs the packages of those programs that are missing.
///
/// # Errors
/// When something is missing and this user may not install packages, or apt fails: names the packages.
pub(crate) fn install(programs: &[&str]) -> Result<()> {
    let mut packages: Vec<&str> =
        programs.iter().filter(|program| find(program).is_none()).map(|program| package_of(program)).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("missing; install by hand: apt-get install {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("{by_hand}");
    }
    let as_root: &[&str] = if is_root()? {
        &[]
    } else if may_sudo() {
        &["sudo", "-n"]
    } else {
        bail!("{by_hand} (this user is not root and has no sudo without a password)");
    };
    eprintln!("installing {}", packages.join(" "));
    apt_get(as_root, &["update", "--quiet"])?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    apt_get(as_root, &[&install, packages.as_slice()].concat()).context(by_hand)?;
    programs.iter().try_for_each(|program| require(program).map(drop))
}

fn apt_get(as_root: &[&str], arguments: &[&str]) -> Result<()> {
    // Through env, because sudo does not hand on a caller's environment.
    let words = [as_root, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat();
    let exit = Command::new(words[0]).args(&words[1..]).status().with_context(|| words.join(" "))?;
    if !exit.success() {
        bail!("{}: {exit}", words.join(" "));
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    // The kernel gives this folder to the user that the process acts as.
    Ok(std::fs::metadata("/proc/self").context("/proc/self")?.uid() == 0)
}

fn may_sudo() -> bool {
    Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|output| output.status.success())
}
