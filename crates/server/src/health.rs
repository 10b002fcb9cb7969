//! `hostwatch-server health`: whether the running server answers on its own port, for whoever restarts what does not.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use hostwatch_daemon::settings::Mistakes;

use crate::{Settings, Source};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server that runs with these settings, and says what it has answered. Neither Redis nor a password nor a
/// certificate is needed: a server that demands them answers as well, that it does.
///
/// # Errors
/// A sentence for people, when nothing answers.
pub fn probe(source: &Source) -> anyhow::Result<String> {
    probe_within(PATIENCE, source)
}

fn probe_within(patience: Duration, source: &Source) -> anyhow::Result<String> {
    let address = address(source)?;
    let status = ask(address, patience).with_context(|| format!("no answer from {address}"))?;
    match status {
        200 => Ok(format!("hostwatch-server answers on {address}")),
        // What it says to plain HTTP where it wants TLS, and to whoever shows no password.
        400 | 401 => Ok(format!("hostwatch-server answers on {address}, and lets in only whom it knows")),
        _ => bail!("{address} answers with status {status}"),
    }
}

/// The first address of the settings. Mistakes in them are no matter: the server may run on with what it had.
fn address(source: &Source) -> anyhow::Result<SocketAddr> {
    let file = &source.file;
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let settings = Settings::read(file, &text, &source.environment, &Mistakes::default());
    let mut address = *settings.web.listen_address.first().context("the settings name no address to listen on")?;
    if address.ip().is_unspecified() {
        let loopback = match address.ip() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    Ok(address)
}

/// The status of the answer.
fn ask(address: SocketAddr, patience: Duration) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // In one piece: after an answer to the first of several, writing the next one could fail.
    let request = format!("GET /-/healthy HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut head = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|status| status.parse().ok());
    status.with_context(|| format!("this is not HTTP: {head:?}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use hostwatch_daemon::settings::Environment;

    use super::*;

    /// Longer than a busy machine lets a thread wait; only a failure takes as long.
    const GENEROUS: Duration = Duration::from_secs(60);

    /// What is said of a server that answers so.
    fn probe_of(answer: &'static str) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server.toml");
        // Mistakes are no matter.
        std::fs::write(&file, format!("[web]\nlisten_address = [\"0.0.0.0:{port}\"]\njob = 3\n")).unwrap();
        // Not waited for: a probe that does not come would keep it for ever.
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            // All of the request: closing over what is unread would make the answer fail.
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the request has no end");
            }
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        });
        probe_within(GENEROUS, &Source { file, environment: Environment::none() }).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn whatever_answers_lives() {
        assert!(probe_of("HTTP/1.1 200 OK\r\n\r\n").unwrap().contains("answers on 127.0.0.1:"));
        assert!(probe_of("HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap().contains("whom it knows"));
        assert!(probe_of("HTTP/1.1 400 Bad Request\r\n\r\n").unwrap().contains("whom it knows"));
        assert!(probe_of("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().contains("status 503"));
        assert!(probe_of("").unwrap_err().contains("no answer from 127.0.0.1:"));
        assert!(probe_of("+PONG 012345\r\n").unwrap_err().contains("not HTTP"));
    }
}
