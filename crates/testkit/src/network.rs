//! A network namespace with one cable to this machine, which can be pulled. Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use crate::require;

/// A namespace. It is deleted, with its cable, when this is dropped; a process in it keeps what it has.
pub struct Network {
    name: String,
    /// The end of the cable that is outside.
    link: String,
    outside: String,
}

impl Network {
    /// A namespace that can reach this machine, and nothing else.
    ///
    /// # Errors
    /// When `ip` is missing or the kernel refuses.
    pub fn start() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Of 10.213.0.0/16, four addresses for each; names of links have at most 15 characters.
        let index = process.wrapping_mul(61).wrapping_add(number) % (1 << 14);
        let address = |host: u32| format!("10.213.{}.{}", index / 64, index % 64 * 4 + host);
        let (name, link, inside) = (format!("hw{process}-{number}"), format!("hwo{index}"), format!("hwi{index}"));
        ip(&["netns", "add", &name])?;
        let network = Self { name, link, outside: address(1) };
        let Self { name, link, outside } = &network;
        ip(&["link", "add", link, "type", "veth", "peer", "name", &inside, "netns", name])?;
        ip(&["address", "add", &format!("{outside}/30"), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        ip(&["-n", name, "address", "add", &format!("{}/30", address(2)), "dev", &inside])?;
        ip(&["-n", name, "link", "set", &inside, "up"])?;
        Ok(network)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Under which address those in it reach this machine.
    pub fn outside(&self) -> &str {
        &self.outside
    }

    /// Runs `ip` with these arguments inside.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// Pulls the cable: whatever is sent is lost, and nobody is told.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self) -> Result<()> {
        ip(&["link", "set", &self.link, "down"])
    }

    /// Puts the cable in again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&self) -> Result<()> {
        ip(&["link", "set", &self.link, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // A process inside would keep the namespace and with it the cable. Where there is none yet, there is nothing to delete.
        let _ = ip(&["link", "delete", &self.link]);
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new(require("ip")?).args(arguments).output()?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(())
}
