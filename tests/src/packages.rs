//! The Debian packages as files: the same each time, as Debian's policy wants them, and complete.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{packages, require, root};

use crate::machine::VERSION;

/// Both packages of this tree, as paths.
fn paths() -> Result<Vec<std::path::PathBuf>> {
    let folder = packages(VERSION)?;
    let names = ["hostwatch-client", "hostwatch-server"];
    let paths: Vec<_> = names.iter().map(|name| folder.join(format!("{name}_{VERSION}-1_amd64.deb"))).collect();
    for path in &paths {
        ensure!(path.is_file(), "no {}", path.display());
    }
    Ok(paths)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(text)
}

#[test]
fn packages_have_nothing_that_lintian_minds() -> Result<()> {
    let mut lintian = Command::new(require("lintian")?);
    // Any remark is a failure; overrides have their reason beside them.
    lintian.args(["--pedantic", "--allow-root", "--fail-on=error,warning,info,pedantic"]).args(paths()?);
    let remarks = output(&mut lintian)?;
    ensure!(remarks.trim().is_empty(), "{remarks}");
    Ok(())
}

#[test]
fn packages_are_the_same_bytes_each_time() -> Result<()> {
    let again = tempfile::tempdir()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").context("cargo runs tests")?);
    cargo.args(["xtask", "deb", "--output"]).arg(again.path()).current_dir(root()?);
    output(&mut cargo)?;
    for path in paths()? {
        let name = path.file_name().context("a file has a name")?;
        ensure!(std::fs::read(&path)? == std::fs::read(again.path().join(name))?, "{name:?} differs");
    }
    Ok(())
}

#[test]
fn packages_are_complete() -> Result<()> {
    for (path, name) in paths()?.iter().zip(["hostwatch-client", "hostwatch-server"]) {
        let short = &name["hostwatch-".len()..];
        let files = output(Command::new("dpkg-deb").arg("--contents").arg(path))?;
        for file in [
            format!("/usr/bin/{name}"),
            format!("/etc/hostwatch/{short}.toml"),
            format!("/lib/systemd/system/{name}.service"),
            format!("/usr/lib/sysusers.d/{name}.conf"),
            format!("/usr/lib/tmpfiles.d/{name}.conf"),
            format!("/usr/share/man/man8/{name}.8.gz"),
            format!("/usr/share/man/man5/{name}.toml.5.gz"),
            format!("/usr/share/bash-completion/completions/{name}.bash"),
            format!("/usr/share/zsh/vendor-completions/_{name}"),
            format!("/usr/share/fish/vendor_completions.d/{name}.fish"),
            format!("/usr/share/doc/{name}/copyright"),
            format!("/usr/share/doc/{name}/changelog.gz"),
            format!("/usr/share/doc/{name}/crates.gz"),
        ] {
            ensure!(files.lines().any(|line| line.ends_with(&format!(" .{file}"))), "{name} has no {file}:\n{files}");
        }
        if short == "server" {
            ensure!(files.contains(" ./usr/share/man/man5/hostwatch-inventory.5.gz\n"), "{files}");
            // Whatever is shipped below packaging/config is the server's, but for the settings of the client.
            for folder in ["", "services", "rules"] {
                for entry in std::fs::read_dir(root()?.join("packaging/config").join(folder))? {
                    let entry = entry?.path();
                    let file = entry.strip_prefix(root()?.join("packaging/config"))?.display().to_string();
                    let is_shipped = files.contains(&format!(" ./etc/hostwatch/{file}"));
                    ensure!(is_shipped || file == "client.toml", "{name} has no {file}:\n{files}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn packages_complete_commands_in_bash() -> Result<()> {
    for (path, name) in paths()?.iter().zip(["hostwatch-client", "hostwatch-server"]) {
        let directory = tempfile::tempdir()?;
        output(Command::new("dpkg-deb").arg("--extract").arg(path).arg(directory.path()))?;
        let file = format!("usr/share/bash-completion/completions/{name}.bash");
        let script = format!("bash -n {file} && . ./{file} && complete -p {name}");
        let complete = output(Command::new("bash").args(["-c", &script]).current_dir(directory.path()))?;
        ensure!(complete.contains(" -F ") && complete.trim_end().ends_with(name), "{complete}");
    }
    Ok(())
}
