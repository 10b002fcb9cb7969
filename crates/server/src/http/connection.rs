//! One connection, from its first byte to its last: encrypted or not, and never for longer than somebody uses it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hostwatch_daemon::Shutdown;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// The longest request head.
const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// How long a handshake may take, from the connection's first moment on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to read that it has to encrypt.
const LINGER: Duration = Duration::from_secs(1);
/// How long a request head may take to come, or a connection be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a reader may take no byte.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a record of TLS that begins a connection begins with (RFC 8446, section 5.1); no request does.
const HANDSHAKE: u8 = 22;

/// What whoever speaks plain HTTP to a port of TLS is told, in the words of Go's servers.
const NOT_ENCRYPTED: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
    Content-Length: 48\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Why a connection ended that was not closed in an orderly way.
#[derive(Debug)]
pub(super) enum End {
    /// The client spoke plain HTTP where it has to be encrypted, and was told so.
    Plain,
    /// No encryption was agreed upon.
    InHandshake(io::Error),
    /// The client went away, or was sent away.
    Early(hyper::Error),
}

/// Serves one connection until either side has enough of it.
pub(super) async fn serve(
    mut stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    service: TowerToHyperService<axum::Router>,
    shutdown: Shutdown,
) -> Result<(), End> {
    let Some(tls) = tls else { return serve_http(patient(stream), service, shutdown).await };
    let handshake = async {
        if is_plain(&stream).await.map_err(End::InHandshake)? {
            // A client that does not close its side is not waited for.
            let _ = timeout(LINGER, say_not_encrypted(&mut stream)).await;
            return Err(End::Plain);
        }
        TlsAcceptor::from(tls).accept(patient(stream)).await.map_err(End::InHandshake)
    };
    let handshake = timeout(HANDSHAKE_TIMEOUT, handshake);
    let encrypted = tokio::select! {
        encrypted = handshake => encrypted.unwrap_or_else(|_| Err(End::InHandshake(io::ErrorKind::TimedOut.into())))?,
        // There is nothing to finish for whoever has not asked yet.
        () = shutdown.cancelled() => return Ok(()),
    };
    serve_http(encrypted, service, shutdown).await
}

/// Gives a reader up that takes no byte for long.
fn patient(stream: TcpStream) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALL_TIMEOUT));
    Box::pin(stream)
}

/// Whether the first byte is that of a request, looked at without taking it.
async fn is_plain(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] != HANDSHAKE),
    }
}

/// Answers once, and takes what the client has still sent: closing over it would make the answer fail.
async fn say_not_encrypted(stream: &mut TcpStream) {
    // Whoever cannot be told has gone.
    let _ = stream.write_all(NOT_ENCRYPTED).await;
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream.take(MAX_HEAD_BYTES as u64), &mut tokio::io::sink()).await;
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: TowerToHyperService<axum::Router>,
    shutdown: Shutdown,
) -> Result<(), End> {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(End::Early)
}
