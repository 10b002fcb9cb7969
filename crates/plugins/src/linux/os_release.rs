//! What os-release(5) says about the operating system, for the facts of a host and for the plugin `os`.

use std::path::Path;

use crate::host_file;
use crate::linux::fields::assigned;

/// Puts the content of the host's os-release into `content`: of the one that the administrator may have changed, or
/// else of the one that came with the system. Says whether there is any.
pub(crate) fn read(rootfs: &Path, content: &mut Vec<u8>) -> bool {
    ["etc/os-release", "usr/lib/os-release"].iter().any(|name| host_file::read(rootfs, name, content).is_ok())
}

/// The value of a variable without its quotes; empty when nothing sets it.
pub(crate) fn value(os_release: &str, variable: &str) -> String {
    let value = assigned(os_release, "", variable).unwrap_or_default().trim();
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(quoted) => {
            // A backslash stands before what a shell would take for its own.
            let mut characters = quoted.chars();
            std::iter::from_fn(|| characters.next().and_then(|c| if c == '\\' { characters.next() } else { Some(c) }))
                .collect()
        }
        None => value.trim_matches('\'').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_and_without_quotes() {
        assert_eq!(value("NAME=Arch\n", "NAME"), "Arch");
        assert_eq!(value("NAME='A b'\n", "NAME"), "A b");
        assert_eq!(value(r#"NAME="5\$ \"OS\"""#, "NAME"), "5$ \"OS\"");
        assert_eq!(value(r#"NAME="a\\$b""#, "NAME"), r"a\$b");
        assert_eq!(value("NAME=\"\"\n", "NAME"), "");
        assert_eq!(value("NAME=\"\n", "NAME"), "\"");
        assert_eq!(value("PRETTY_NAME=x\n", "NAME"), "");
    }
}
