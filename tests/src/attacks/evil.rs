//! A host that speaks the protocol and means no good.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hostwatch_wire::{
    ClaimedValue, EncodedLayout, Epoch, Facts, Family, Hello, HostBody, HostMessage, Label, Layout, LayoutId,
    MetricType, Report, Series, ServiceReport, Status, Suffix, Values,
};

/// Makes messages of one host and one epoch.
pub(super) struct Evil {
    host: String,
    seq: u64,
    pub(super) facts: Facts,
    pub(super) labels: Vec<(String, String)>,
}

impl Evil {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), seq: 0, facts: Facts::default(), labels: Vec::new() }
    }

    pub(super) fn join(&self) -> String {
        format!("hostwatch:{{{}}}:join", self.host)
    }

    pub(super) fn reports(&self) -> String {
        format!("hostwatch:{{{}}}:reports", self.host)
    }

    pub(super) fn hello(&mut self) -> Result<Vec<u8>> {
        let labels = self.labels.iter().map(|(name, value)| (name.clone(), ClaimedValue(value.clone())));
        let hello = Hello {
            sent_at_ms: now_ms()?,
            client_version: "0".to_owned(),
            facts: self.facts.clone(),
            labels: labels.collect(),
            revision: None,
            ring: Vec::new(),
        };
        self.say(HostBody::Hello(Box::new(hello)))
    }

    /// A report of `service` with these families, each of whose series has the value `value`.
    pub(super) fn report(&mut self, service: &str, families: Vec<Family>, value: f64) -> Result<Vec<u8>> {
        let layout = EncodedLayout::new(&Layout { families });
        let id = layout.id();
        self.report_with(service, layout, id, value)
    }

    /// The same, where the layout that comes along need not be the one that the report refers to.
    pub(super) fn report_with(
        &mut self,
        service: &str,
        sent: EncodedLayout,
        id: LayoutId,
        value: f64,
    ) -> Result<Vec<u8>> {
        self.seq += 1;
        let series = sent.decode().map_or(1, |layout| layout.len());
        let mut buffer = Vec::new();
        let report = Report {
            seq: self.seq,
            oldest_seq: 1,
            acked: Vec::new(),
            collected_at_ms: now_ms()?,
            revision: None,
            layouts: vec![sent],
            services: vec![ServiceReport {
                service,
                status: Status::Ok,
                message: None,
                duration_us: 1,
                layout: Some(id),
                values: Values::encode(&vec![value; series], &mut buffer),
            }],
        };
        self.say(HostBody::Report(report))
    }

    /// `message`, which it would say in its own name, in the name of `host`, whether a host may have that name or not.
    pub(super) fn in_the_name_of(&self, host: &str, message: &[u8]) -> Result<Vec<u8>> {
        // MessagePack: a text of less than 32 bytes begins with 0xa0 and its length.
        let field = |name: &str| [&b"\xa4host"[..], &[0xa0 + name.len() as u8], name.as_bytes()].concat();
        let (own, other) = (field(&self.host), field(host));
        let at = message.windows(own.len()).position(|bytes| bytes == own).context("the message names no host")?;
        Ok([&message[..at], &other, &message[at + own.len()..]].concat())
    }

    pub(super) fn say(&self, body: HostBody<'_>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        HostMessage { host: self.host.parse()?, epoch: Epoch(666), body }.encode(&mut bytes)?;
        Ok(bytes)
    }
}

/// A family with one series.
pub(super) fn gauge(name: &str, labels: &[(&str, &str)]) -> Family {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    Family {
        name: name.to_owned(),
        kind: MetricType::Gauge,
        help: "Help.".to_owned(),
        series: vec![Series { suffix: Suffix::None, labels: labels.iter().map(label).collect() }],
    }
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}
