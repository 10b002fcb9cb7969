//! `/metrics`: written by a thread of its own, streamed as the reader takes it.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use hostwatch_wire::text;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

use super::{App, STALL_TIMEOUT};

/// Chunks that wait for the reader.
const CHUNKS: usize = 4;

/// The page, compressed when the reader can take it so.
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Response {
    let gzip = accepts_gzip(&headers);
    app.make_page(move |app, permit| stream_page(app, permit, gzip)).await
}

/// Begins to answer at once; a further thread writes as long as the reader takes it, and keeps the permit so long.
fn stream_page(app: &App, permit: OwnedSemaphorePermit, gzip: bool) -> Response {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
    let page = app.page.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let _timer = page.metrics.scrape_seconds.start_timer();
        let writer = ChunkWriter { sender: sender.clone(), runtime: Handle::current() };
        let written = if gzip { write_gzip(&page, writer) } else { page.write(writer) };
        if let Err(error) = written {
            debug!("a page was not read to its end: {error}");
            // A page that is cut short must not look like a whole one.
            let _ = sender.try_send(Err(error));
        }
    });
    let body = Body::from_stream(stream::poll_fn(move |context| receiver.poll_recv(context)));
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
    if gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn write_gzip(page: &crate::page::Page, writer: ChunkWriter) -> io::Result<()> {
    // Level 1: three times as fast as level 6, and a page shrinks to a tenth either way.
    let mut encoder = GzEncoder::new(writer, Compression::fast());
    page.write(&mut encoder)?;
    encoder.finish().map(drop)
}

/// Whether `Accept-Encoding` has gzip with a weight above zero (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        gzip && weight.is_none_or(|weight| weight > 0.0)
    })
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
