//! For tests only: guards for real processes, a strict reader of Prometheus pages, and `eventually`.
//!
//! A guard owns its process: it ends with the guard, and with the test program even if that is killed. What a process
//! wrote is in a log file, whose end is part of every error and is printed when a test panics. Waiting is polling a
//! condition with a deadline, never a pause of fixed length. A missing program is a loud failure, never a skip.

mod client;
mod container;
mod docker;
mod eventually;
mod home;
mod http;
mod images;
mod network;
mod page;
mod ports;
mod process;
mod programs;
mod prometheus;
mod proxy;
mod redis;
mod server;
mod speaker;

pub use client::{Client, ClientSetup};
pub use container::Container;
pub use docker::{Docker, LABEL};
pub use eventually::{eventually, eventually_every};
pub use http::{Scraper, get, get_as};
pub use network::Network;
pub use page::{Family, Labels, Page, PageError, Sample};
pub use ports::free_port;
pub use process::{Process, Signal};
pub use programs::{Profile, Programs, build, find, package_of, packages, programs, require, root};
pub use prometheus::{Prometheus, RangeSeries, open_metrics_samples, promtool_remarks};
pub use proxy::{Proxy, Traffic};
pub use redis::{Redis, RedisSetup};
pub use server::{Server, ServerSetup};
pub use speaker::Speaker;
