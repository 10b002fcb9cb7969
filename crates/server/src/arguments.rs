//! The command line of hostwatch-server, from which its manual page and its shell completions are made too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hostwatch_wire::HostId;

/// Where `server.toml` stands unless `--config` says otherwise.
const DEFAULT_FILE: &str = "/etc/hostwatch/server.toml";

/// Watches a fleet of Linux servers: hands every host its configuration over Redis, receives its reports, and shows
/// all of them on one page for Prometheus.
///
/// SIGHUP reads the configuration again and puts it in force, unless there is a mistake in it. SIGTERM stops.
#[derive(Parser)]
#[command(name = "hostwatch-server", version)]
pub struct Arguments {
    /// The configuration; it names the files of hosts, templates and services.
    #[arg(long, global = true, value_name = "FILE", env = "HOSTWATCH_CONFIG", default_value = DEFAULT_FILE)]
    pub config: PathBuf,

    /// Check the configuration, print every mistake in it, and exit: 0 when there is none, 78 otherwise.
    #[arg(long)]
    pub check: bool,

    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does beside running.
#[derive(Subcommand)]
pub enum Command {
    /// Print the lines of Redis's ACL file that let hosts speak for themselves and for nobody else.
    ///
    /// Without a password file each user gets a new password, which is printed to standard error; the lines hold hashes
    /// only. Append them to the file that `aclfile` in redis.conf names, and load it with `redis-cli ACL LOAD`.
    Acl(Acl),
    /// Exits with 0 if the running server answers on the first address of web.listen_address, else with 1 and a sentence.
    ///
    /// It needs neither Redis nor a password nor a certificate.
    Health,
}

/// Whose lines.
#[derive(Args)]
pub struct Acl {
    /// The hosts, by their ids.
    #[arg(value_name = "HOST", required_unless_present = "server")]
    pub hosts: Vec<HostId>,

    /// Print the line of the server itself, too: of the user that redis.username names, or hostwatch-server.
    #[arg(long)]
    pub server: bool,

    /// A file that holds the password and nothing else; for one user at a time.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}
