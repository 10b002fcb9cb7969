//! The command line of hostwatch-client, from which its manual page and its shell completions are made too.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Runs the services that the hostwatch server hands this host, and reports what they measure.
///
/// SIGHUP reads the settings again and puts in force what can be changed while running. SIGTERM stops.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The settings file [default: $HOSTWATCH_CONFIG, else /etc/hostwatch/client.toml if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Checks the settings, prints every mistake and exits: 0 without one, 78 otherwise
    #[arg(long, conflicts_with = "once")]
    pub check: bool,
    /// Runs every plugin that is on by default once and prints what it measures
    #[arg(long)]
    pub once: bool,
    /// With --once: runs this plugin instead; may be repeated
    #[arg(long, value_name = "NAME", requires = "once")]
    pub plugin: Vec<String>,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the client can do instead of running.
#[derive(Subcommand)]
pub enum Command {
    /// Exits with 0 if the running client is well, else with 1 and a sentence; Redis need not be there
    Health,
}
