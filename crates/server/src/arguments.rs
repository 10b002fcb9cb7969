//! The command line of hostwatch-server, from which its manual page and its shell completions are made too.

use std::path::PathBuf;

use clap::Parser;

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
    #[arg(long, value_name = "FILE", env = "HOSTWATCH_CONFIG", default_value = DEFAULT_FILE)]
    pub config: PathBuf,

    /// Check the configuration, print every mistake in it, and exit: 0 when there is none, 78 otherwise.
    #[arg(long)]
    pub check: bool,
}
