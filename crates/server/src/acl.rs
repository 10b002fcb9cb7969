//! What Redis has to allow whom: one user for the server and one for each host, as lines of a Redis ACL file.
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use hostwatch_daemon::Secret;
use hostwatch_wire::{HostId, Names};
use sha2::{Digest, Sha256};

/// Writes the lines of `hosts`, and before them the server's own when `server` names its user.
///
/// A password is read from `password_file`, for one user at a time; without one each user gets a new one, which goes to
/// `secrets`. The lines hold its SHA-256 only.
///
/// # Errors
/// When the file cannot be read, or nobody takes what is written.
pub fn write(
    names: &Names,
    server: Option<&str>,
    hosts: &[HostId],
    password_file: Option<&Path>,
    lines: &mut impl Write,
    secrets: &mut impl Write,
) -> anyhow::Result<()> {
    let users = server.map(|user| (user.to_owned(), rules_of_server(names)));
    let users = users.into_iter().chain(hosts.iter().map(|host| (format!("host-{host}"), rules_of_host(names, host))));
    for (user, rules) in users {
        let password = match password_file {
            Some(file) => Secret::from_file(file).context("cannot read the password")?,
            None => {
                let password = new_password();
                writeln!(secrets, "{user}: {}", password.expose())?;
                password
            }
        };
        let hash = hex::encode(Sha256::digest(password.expose()));
        writeln!(lines, "user {user} on #{hash} resetkeys resetchannels -@all {rules}")?;
    }
    Ok(())
}

/// Rights have no direction: the selectors in parentheses keep a host from publishing where it may listen.
fn rules_of_host(names: &Names, host: &HostId) -> String {
    let (reports, join, commands) = (names.reports(host), names.join(host), names.commands(host));
    let key = names.config_key(host);
    format!(
        "+publish &{reports} &{join} +ping +client|setname (+subscribe +unsubscribe resetchannels &{commands}) (+get %R~{key})"
    )
}

fn rules_of_server(names: &Names) -> String {
    let of_all = |kind: fn(&Names, &HostId) -> String| {
        let anybody: HostId = "HOST".parse().expect("it is an id");
        kind(names, &anybody).replace("{HOST}", "{*}")
    };
    let [key, commands, reports] = [Names::config_key, Names::commands, Names::reports].map(of_all);
    let join = names.join_pattern();
    format!(
        "~{key} &{commands} &{reports} &{join} +publish +subscribe +unsubscribe +psubscribe +punsubscribe +get +set +del \
         +scan +multi +exec +ping +client|setname +client|no-evict"
    )
}

/// 256 bits that nobody can guess, in hexadecimal.
fn new_password() -> Secret {
    Secret::new(hex::encode(rand::random::<[u8; 32]>()))
}

/// For the program: lines to standard output, passwords to standard error.
///
/// # Errors
/// As [`write`].
pub fn print(
    names: &Names,
    server: Option<&str>,
    hosts: &[HostId],
    password_file: Option<&Path>,
) -> anyhow::Result<()> {
    write(names, server, hosts, password_file, &mut io::stdout().lock(), &mut io::stderr().lock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_user_with_the_hash_of_its_password() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "pw\n").unwrap();
        let (mut lines, mut secrets) = (Vec::new(), Vec::new());
        let names = Names::new("site").unwrap();
        let hosts = ["web1".parse().unwrap()];
        write(&names, Some("hostwatch-server"), &hosts, Some(&file), &mut lines, &mut secrets).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let hash = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
        let server = format!(
            "user hostwatch-server on #{hash} resetkeys resetchannels -@all ~site:{{*}}:config &site:{{*}}:commands \
             &site:{{*}}:reports &site:{{*}}:join +publish +subscribe +unsubscribe +psubscribe +punsubscribe +get +set +del \
             +scan +multi +exec +ping +client|setname +client|no-evict"
        );
        let host = format!(
            "user host-web1 on #{hash} resetkeys resetchannels -@all +publish &site:{{web1}}:reports &site:{{web1}}:join \
             +ping +client|setname (+subscribe +unsubscribe resetchannels &site:{{web1}}:commands) (+get %R~site:{{web1}}:config)"
        );
        assert_eq!(lines.lines().collect::<Vec<_>>(), [server, host]);
        assert!(secrets.is_empty());

        let (mut lines, mut secrets) = (Vec::new(), Vec::new());
        write(&names, None, &hosts, None, &mut lines, &mut secrets).unwrap();
        let secret = String::from_utf8(secrets).unwrap();
        let password = secret.trim_end().strip_prefix("host-web1: ").unwrap();
        let hash = hex::encode(Sha256::digest(password));
        assert!(password.len() == 64 && String::from_utf8(lines).unwrap().contains(&hash));
    }
}
