//! The programs that do the same: Debian's node_exporter, which is scraped, and collectd, which sends.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hostwatch_testkit::{Page, Process, Scraper, free_port, get, require};

use super::DEADLINE;

/// node_exporter with its default collectors.
pub(super) struct Exporter {
    pub(super) process: Process,
    scraper: Scraper,
    url: String,
    pub(super) scrapes: f64,
    /// As the last page had them.
    pub(super) series: f64,
}

impl Exporter {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(require("prometheus-node-exporter")?);
        // Without what it says about its own process, which the client has not to measure either.
        command.arg(format!("--web.listen-address={address}")).arg("--web.disable-exporter-metrics");
        let process = Process::start("node_exporter", &command, &directory.join("node_exporter.log"))?;
        let url = format!("http://{address}/metrics");
        let mut exporter = Self { process, scraper: Scraper::new("gzip"), url, scrapes: 0.0, series: 0.0 };
        let url = exporter.url.clone();
        let page = exporter.process.eventually("node_exporter answers", DEADLINE, |_| get(&url))?.1;
        exporter.series = Page::parse(&page)?.samples.iter().filter(|it| it.name.starts_with("node_")).count() as f64;
        Ok(exporter)
    }

    /// From now on its page comes as it is.
    pub(super) fn uncompressed(&mut self) {
        self.scraper = Scraper::new("identity");
    }

    pub(super) fn scrape(&mut self) -> Result<()> {
        let (status, _) = self.scraper.get(&self.url)?;
        ensure!(status == 200, "node_exporter: {status}");
        self.scrapes += 1.0;
        Ok(())
    }
}

/// collectd with the plugins that it is usually run with.
pub(super) struct Collectd {
    pub(super) process: Process,
    packets: UdpSocket,
    /// How many have come.
    pub(super) values: f64,
}

impl Collectd {
    pub(super) fn start(directory: &Path, interval: Duration) -> Result<Self> {
        let packets = UdpSocket::bind("127.0.0.1:0")?;
        packets.set_nonblocking(true)?;
        let mut config = format!(
            "Hostname bench\nFQDNLookup false\nInterval {}\nBaseDir \"{directory}\"\nPIDFile \"{directory}/collectd.pid\"\n\
             TypesDB \"/usr/share/collectd/types.db\"\n",
            interval.as_secs_f64(),
            directory = directory.display()
        );
        for plugin in ["cpu", "load", "memory", "df", "disk", "interface", "network"] {
            config.push_str(&format!("LoadPlugin {plugin}\n"));
        }
        let port = packets.local_addr()?.port();
        config.push_str(&format!("<Plugin network>\n  Server \"127.0.0.1\" \"{port}\"\n</Plugin>\n"));
        let file = directory.join("collectd.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new(require("collectd")?);
        command.arg("-f").arg("-C").arg(&file);
        let process = Process::start("collectd", &command, &directory.join("collectd.log"))?;
        let mut collectd = Self { process, packets, values: 0.0 };
        let Self { process, packets, values } = &mut collectd;
        process.eventually("collectd sends", DEADLINE, |_| {
            *values += receive(packets)?;
            ensure!(*values > 0.0, "nothing yet");
            Ok(())
        })?;
        Ok(collectd)
    }

    /// Counts the values of all packets that wait.
    pub(super) fn receive(&mut self) -> Result<()> {
        self.values += receive(&self.packets)?;
        Ok(())
    }
}

fn receive(packets: &UdpSocket) -> Result<f64> {
    let (mut values, mut packet) = (0, [0; 1 << 16]);
    loop {
        match packets.recv(&mut packet) {
            Ok(length) => values += count(&packet[..length]).context("a packet of collectd")?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(f64::from(values)),
            Err(error) => return Err(error).context("packets of collectd"),
        }
    }
}

/// The values in a packet of collectd's binary protocol: parts, each with a type, its own length, and, if it holds
/// values, their count.
fn count(mut packet: &[u8]) -> Result<u32> {
    const VALUES: u16 = 6;
    let number = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).context("a short part");
    let mut values = 0;
    while !packet.is_empty() {
        let length = usize::from(number(packet.get(2..).unwrap_or_default())?);
        let Some((part, rest)) = packet.split_at_checked(length).filter(|_| length >= 4) else {
            bail!("a part of {length} bytes")
        };
        if number(part)? == VALUES {
            values += u32::from(number(&part[4..])?);
        }
        packet = rest;
    }
    Ok(values)
}
