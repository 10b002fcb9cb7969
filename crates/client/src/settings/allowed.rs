//! What the host's owner lets a server choose among.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hostwatch_daemon::settings::{Located, Mistakes, Scalar, Table};
use hostwatch_plugins::{Allowed, Directory, Target};

const MAX_NAME_BYTES: usize = 64;
/// The directory that `[allow.textfile]` has where the owner says nothing else.
const TEXTFILE: &str = "/var/lib/hostwatch-client/textfile";

/// Reads `[allow]`.
pub(super) fn allowed(mut table: Table<'_>) -> Allowed {
    let allowed = Allowed { exec: exec(&mut table), scrape: scrape(&mut table), textfile: textfile(&mut table) };
    table.finish();
    allowed
}

/// Commands as lists: a program by its whole path, and all its arguments.
fn exec(table: &mut Table<'_>) -> BTreeMap<String, Vec<String>> {
    let mistakes = table.mistakes();
    let mut commands = BTreeMap::new();
    for (name, command) in table.scalars("exec") {
        check_name(&name, mistakes);
        match command.value {
            Scalar::List(command) if command.first().is_some_and(|program| program.starts_with('/')) => {
                commands.insert(name.value, command);
            }
            _ => mistakes.add(
                &command.place,
                "write a list: the program with its whole path, then each argument, as in [\"/bin/true\", \"-x\"]",
            ),
        }
    }
    commands
}

/// Exporters by their addresses.
fn scrape(table: &mut Table<'_>) -> BTreeMap<String, Target> {
    let mistakes = table.mistakes();
    let mut targets = BTreeMap::new();
    for (name, address) in table.string_map("scrape") {
        check_name(&name, mistakes);
        match address.value.parse() {
            Ok(target) => drop(targets.insert(name.value, target)),
            Err(error) => mistakes.add(&address.place, format_args!("{error}")),
        }
    }
    targets
}

/// Directories by their whole paths.
fn textfile(table: &mut Table<'_>) -> BTreeMap<String, Directory> {
    let mistakes = table.mistakes();
    let usual = Directory { path: PathBuf::from(TEXTFILE), is_optional: true };
    let mut directories = BTreeMap::from([("default".to_owned(), usual)]);
    for (name, path) in table.string_map("textfile") {
        check_name(&name, mistakes);
        if path.value.starts_with('/') {
            directories.insert(name.value, Directory { path: path.value.into(), is_optional: false });
        } else {
            mistakes.add(&path.place, format_args!("{:?} is not an absolute path; begin it with /", path.value));
        }
    }
    directories
}

fn check_name(name: &Located<String>, mistakes: &Mistakes) {
    let is_one = (1..=MAX_NAME_BYTES).contains(&name.value.len())
        && name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !is_one {
        let what = format_args!("is no name: letters, digits, '.', '_' and '-', {MAX_NAME_BYTES} at most");
        mistakes.add(&name.place, what);
    }
}
