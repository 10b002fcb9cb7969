//! `/metrics` and `/metrics/host/HOST`: written by a thread of its own, streamed as the reader takes it.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, VARY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hostwatch_wire::text::Format;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

use super::App;
use super::connection::STALL_TIMEOUT;
use crate::fleet::State as HostState;
use crate::page::Page;

/// Chunks that wait for the reader.
const CHUNKS: usize = 4;

/// How the reader wants a page.
#[derive(Clone, Copy)]
struct Wish {
    format: Format,
    gzip: bool,
}

/// The page of the whole fleet.
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let wish = Wish::of(&headers);
    app.make_page(move |app, permit| {
        let page = app.page.clone();
        stream_page(app, permit, &wish, move |writer, format| page.write(writer, format))
    })
    .await
}

/// The page of one host, which is there only while the host is up: a scrape that fails is what tells Prometheus.
pub(super) async fn host(State(app): State<App>, Path(host): Path<String>, headers: HeaderMap) -> Response {
    let Some(entry) = app.page.directory.host(&host) else {
        return (StatusCode::NOT_FOUND, "There is no such host.\n").into_response();
    };
    let snapshot = entry.snapshot();
    if snapshot.state != HostState::Up {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("The host is {}.\n", snapshot.state.as_str()))
            .into_response();
    }
    let wish = Wish::of(&headers);
    let mut body = Vec::new();
    let written = wish.compressing(&mut body, |writer, format| Page::write_host(snapshot, writer, format));
    match written {
        Ok(()) => wish.response(Body::from(body)),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Begins to answer at once; a further thread writes as long as the reader takes it, and keeps the permit so long.
fn stream_page(
    app: &App,
    permit: OwnedSemaphorePermit,
    wish: &Wish,
    write: impl FnOnce(&mut dyn Write, Format) -> io::Result<()> + Send + 'static,
) -> Response {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
    let (metrics, Wish { format, gzip }) = (app.page.metrics.clone(), *wish);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _timer = metrics.scrape_seconds.start_timer();
        let writer = ChunkWriter { sender: sender.clone(), runtime: Handle::current() };
        if let Err(error) = (Wish { format, gzip }).compressing(writer, write) {
            debug!("a page was not read to its end: {error}");
            // A page that is cut short must not look like a whole one.
            let _ = sender.try_send(Err(error));
        }
    });
    wish.response(Body::from_stream(stream::poll_fn(move |context| receiver.poll_recv(context))))
}

impl Wish {
    fn of(headers: &HeaderMap) -> Self {
        let format = if prefers_open_metrics(headers) { Format::OpenMetrics } else { Format::Text };
        Self { format, gzip: accepts_gzip(headers) }
    }

    fn compressing(
        &self,
        mut writer: impl Write,
        write: impl FnOnce(&mut dyn Write, Format) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.gzip {
            return write(&mut writer, self.format);
        }
        // Level 1: three times as fast as level 6, and a page shrinks to a tenth either way.
        let mut encoder = GzEncoder::new(writer, Compression::fast());
        write(&mut encoder, self.format)?;
        encoder.finish().map(drop)
    }

    fn response(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Whether `Accept` weighs OpenMetrics at least as much as the text format (RFC 9110, section 12.5.1). Who says nothing of
/// either gets the text format.
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let items = items(headers, &ACCEPT);
    let weight = |wanted: &str| {
        let of_type = items.iter().filter(|item| item.name.eq_ignore_ascii_case(wanted));
        of_type
            .map(|item| item.weight)
            .fold(None, |most: Option<f32>, weight| Some(most.map_or(weight, |most| most.max(weight))))
    };
    let open_metrics = weight("application/openmetrics-text").filter(|weight| *weight > 0.0);
    open_metrics.is_some_and(|open_metrics| weight("text/plain").is_none_or(|text| open_metrics >= text))
}

/// Whether `Accept-Encoding` has gzip with a weight above zero (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    items(headers, &ACCEPT_ENCODING).iter().any(|item| item.name.eq_ignore_ascii_case("gzip") && item.weight > 0.0)
}

/// One item of a list in a header, with its weight.
struct Item<'a> {
    name: &'a str,
    weight: f32,
}

/// The items of a header of the form `a;x=y;q=0.5, b`.
fn items<'a>(headers: &'a HeaderMap, header: &HeaderName) -> Vec<Item<'a>> {
    let lists = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    let items = lists.flat_map(|list| list.split(',')).map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        Item { name, weight: weight.unwrap_or(1.0) }
    });
    items.collect()
}

/// Hands chunks to the connection, and gives up on a reader that takes none.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
}

impl Write for ChunkWriter {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let chunk_bytes = Bytes::copy_from_slice(chunk);
        let sent = self.runtime.block_on(self.sender.send_timeout(Ok(chunk_bytes), STALL_TIMEOUT));
        sent.map(|()| chunk.len()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_by_accept() {
        const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (list, expected) in [
            (PROMETHEUS, true),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", false),
            ("application/openmetrics-text;q=0", false),
            ("text/plain", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(list));
            assert_eq!(prefers_open_metrics(&headers), expected, "{list}");
        }
        assert!(!prefers_open_metrics(&HeaderMap::new()));
    }

    #[test]
    fn gzip_by_accept_encoding() {
        for (list, expected) in
            [("gzip", true), ("deflate, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false), ("x-gzip", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(list));
            assert_eq!(accepts_gzip(&headers), expected, "{list}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
