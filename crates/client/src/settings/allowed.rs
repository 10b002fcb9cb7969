//! What the host's owner lets a server choose among.

use std::collections::BTreeMap;

use hostwatch_daemon::settings::{Scalar, Table};
use hostwatch_plugins::Allowed;

const MAX_NAME_BYTES: usize = 64;

/// Reads `[allow]`.
pub(super) fn allowed(mut table: Table<'_>) -> Allowed {
    let allowed = Allowed { exec: exec(&mut table) };
    table.finish();
    allowed
}

/// Commands as lists: a program by its whole path, and all its arguments.
fn exec(table: &mut Table<'_>) -> BTreeMap<String, Vec<String>> {
    let mistakes = table.mistakes();
    let mut commands = BTreeMap::new();
    for (name, command) in table.scalars("exec") {
        if !is_name(&name.value) {
            mistakes.add(
                &name.place,
                format_args!("is no name: letters, digits, '.', '_' and '-', {MAX_NAME_BYTES} at most"),
            );
        }
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

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
