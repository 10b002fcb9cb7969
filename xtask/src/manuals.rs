//! The manual pages and shell completions of the packages: the pages of the programs come from their command lines, the
//! pages of the configuration from the files that are shipped, so that neither can say anything that is not so.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// The pages of section 5, in `packaging/man`.
const FILE_PAGES: [&str; 3] = ["hostwatch-server.toml.5", "hostwatch-client.toml.5", "hostwatch-inventory.5"];

/// Writes all manual pages into the folder `pages`, and completions for bash, fish and zsh into `completions`.
/// `packaging` is the repository's folder of that name.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn write(packaging: &Path, pages: &Path, completions: &Path) -> Result<()> {
    fs::create_dir_all(pages)?;
    fs::create_dir_all(completions)?;
    for (name, command) in [
        ("hostwatch-server", hostwatch_server::Arguments::command()),
        ("hostwatch-client", hostwatch_client::Arguments::command()),
    ] {
        let command = command.name(name).bin_name(name).disable_help_subcommand(true);
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            generate_to(shell, &mut command.clone(), name, completions)
                .with_context(|| format!("{shell} for {name}"))?;
        }
        let more = packaging.join("man").join(format!("{name}.8"));
        let more = fs::read_to_string(&more).with_context(|| more.display().to_string())?;
        let mut command = command.disable_help_flag(true).disable_version_flag(true);
        command.build();
        write_program(&command, &more, pages)?;
        for subcommand in command.get_subcommands() {
            write_program(subcommand, "", pages)?;
        }
    }
    for page in FILE_PAGES {
        let file = packaging.join("man").join(page);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        fs::write(pages.join(page), with_files(&text, packaging)?)?;
    }
    Ok(())
}

/// One page of section 8, with `more` behind what the command line says.
fn write_program(command: &Command, more: &str, pages: &Path) -> Result<()> {
    let mut page = Vec::new();
    let program = format!("hostwatch {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section("8").manual("hostwatch").source(program).date("");
    man.render(&mut page)?;
    page.extend_from_slice(more.as_bytes());
    fs::write(pages.join(man.get_filename()), page)?;
    Ok(())
}

/// The page with `@version@` filled in and each line `@file PATH@` replaced by that file below `packaging`.
fn with_files(page: &str, packaging: &Path) -> Result<String> {
    let mut whole = String::new();
    for line in page.replace("@version@", env!("CARGO_PKG_VERSION")).lines() {
        match line.strip_prefix("@file ").and_then(|rest| rest.strip_suffix('@')) {
            Some(path) => {
                let file = packaging.join(path);
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                text.lines().for_each(|line| whole.push_str(&verbatim(line)));
            }
            None => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
    Ok(whole)
}

/// A line that troff prints as it stands. Source: groff(7), "Escape sequences" and "Control characters".
fn verbatim(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    // At the beginning of a line a dot would be a request; \& is nothing, and keeps it from being the first.
    let line = line.replace('"', "\\(dq").replace('^', "\\(ha").replace('~', "\\(ti");
    format!("\\&{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_file_is_printed_as_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.toml"), ".x = 'a\\b'\n").unwrap();
        let page = with_files(".nf\n@file a.toml@\n.fi @version@", directory.path()).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(page, format!(".nf\n\\&.x = \\(aqa\\eb\\(aq\n.fi {version}\n"));
        assert!(with_files("@file missing@", directory.path()).is_err());
    }
}
