//! Tests of the whole: what the repository promises about itself, and the real programs as processes.
//!
//! One module per topic. A test of the programs starts what it needs (`Redis::start()`, `Server::start(…)`,
//! `Client::start(…)` of testkit), looks only at what a user can see (pages, exit codes, logs, Redis), waits with
//! `eventually`, and has `prometheus` in its name when it needs Prometheus.

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod attacks;
#[cfg(test)]
mod authority;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod client_cli;
#[cfg(test)]
mod client_figures;
#[cfg(test)]
mod config_files;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod hangs;
#[cfg(test)]
mod http;
#[cfg(test)]
mod images;
#[cfg(test)]
mod installed;
#[cfg(test)]
mod interfaces;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod main_job;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod node_exporter;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod scrape;
#[cfg(test)]
mod security;
#[cfg(test)]
mod security_steps;
#[cfg(test)]
mod service_manager;
#[cfg(test)]
mod textfile;
#[cfg(test)]
mod units;
#[cfg(test)]
mod views;
#[cfg(test)]
mod web_config;
#[cfg(test)]
mod workspace;
