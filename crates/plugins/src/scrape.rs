//! Reads an exporter of the host and carries its series to the server.
//!
//! Where the exporter is stands in the host's own settings: a server can only name it.

mod target;
mod unix;

use std::io::{self, Read};
use std::time::Duration;

use hostwatch_wire::text::Format;
use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::{Agent, Error};

use crate::exposition::{MAX_PAGE_BYTES, Origin, Page};
use crate::options::BuildError;
use crate::{CollectError, Descriptor, Plugin, Samples};

pub use target::{InvalidTarget, Target};
use unix::{Nowhere, UnixConnector};

pub(crate) const DESCRIPTOR: Descriptor = Descriptor {
    name: "scrape",
    collector: "scrape",
    about: "the series of a Prometheus exporter that the host's owner allowed under [allow.scrape]",
    on_by_default: false,
    build: |_, options| {
        let timeout = options.timeout();
        let Some((name, target)) = options.allowed_target("target") else { return Err(BuildError::noted()) };
        Ok(Box::new(Scrape::new(name, target, timeout)))
    },
};

/// OpenMetrics says nothing more that could be carried on, so it is for exporters that know nothing else.
const ACCEPT: &str = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
/// The headers of an answer; those of exporters have a few hundred bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

struct Scrape {
    name: String,
    url: String,
    agent: Agent,
    /// A little shorter than the service's own, so that it is this plugin which says what was slow.
    timeout: Duration,
    content: Vec<u8>,
    page: Page,
}

impl Plugin for Scrape {
    fn collect(&mut self, samples: &mut Samples) -> Result<(), CollectError> {
        let outcome = self.fetch().and_then(|format| {
            let origin = Origin::Exporter(format);
            self.page.parse(&self.content, origin).map_err(|mistake| format!("the page is wrong in {mistake}"))
        });
        outcome.map_err(|what| CollectError::Target { name: self.name.clone(), what })?;
        self.page.push_to(samples);
        if let Some((count, reason)) = self.page.left_out() {
            samples.say(&format!("{}: {count} series are left out, the first because of {reason}", self.name));
        }
        Ok(())
    }
}

impl Scrape {
    fn new(name: &str, target: &Target, timeout: Duration) -> Self {
        let timeout = timeout - timeout / 10;
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .accept(ACCEPT)
            .accept_encoding(AutoHeaderValue::None)
            .user_agent(concat!("hostwatch-client/", env!("CARGO_PKG_VERSION")))
            .max_response_header_size(MAX_HEADER_BYTES)
            // Each scrape has a connection of its own: an exporter that was started again is no reason to fail.
            .max_idle_connections(0)
            .timeout_global(Some(timeout))
            .build();
        let (agent, url) = match target {
            Target::Http(url) => (Agent::new_with_config(config), url.clone()),
            Target::Unix { socket, page } => {
                let agent = Agent::with_parts(config, UnixConnector(socket.clone()), Nowhere);
                (agent, format!("http://localhost{page}"))
            }
        };
        Self { name: name.to_owned(), url, agent, timeout, content: Vec::new(), page: Page::default() }
    }

    /// Fills the buffer and says what it holds.
    fn fetch(&mut self) -> Result<Format, String> {
        self.content.clear();
        let seconds = self.timeout.as_secs_f64().to_string();
        let request = self.agent.get(&self.url).header("X-Prometheus-Scrape-Timeout-Seconds", seconds);
        let mut answer = request.call().map_err(|error| self.reason(error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("answers with the status {}, and only 200 will do", answer.status()));
        }
        let format = format(answer.headers())?;
        let body = answer.body_mut().as_reader().take(MAX_PAGE_BYTES as u64 + 1);
        self.read(body)?;
        Ok(format)
    }

    fn read(&mut self, mut body: impl Read) -> Result<(), String> {
        match body.read_to_end(&mut self.content) {
            Ok(length) if length > MAX_PAGE_BYTES => Err(format!("sends more than {MAX_PAGE_BYTES} bytes")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.reason(error.into())),
        }
    }

    fn reason(&self, error: Error) -> String {
        match error {
            Error::Timeout(_) => format!("no whole answer within {:?}", self.timeout),
            Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            Error::Io(error) => error.to_string(),
            error => error.to_string(),
        }
    }
}

/// The format of a page by what its headers say.
fn format(headers: &HeaderMap) -> Result<Format, String> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(Format::Text) };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/plain" | "" => Ok(Format::Text),
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        other => {
            Err(format!("sends {other:.100}, and only text/plain and application/openmetrics-text are understood"))
        }
    }
}

#[cfg(test)]
mod tests;
