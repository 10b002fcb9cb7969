//! What the server's HTTP side lets through, and what it does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use hostwatch_testkit::{Redis, Server};

use crate::fleet::{ANY_HOST, start_server};

/// What the server answers to `request`, until it closes the connection.
fn answer(server: &Server, request: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The head of an answer, in lower case.
fn head(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()
}

#[test]
fn the_page_is_compressed_for_whoever_asks() -> Result<()> {
    let redis = Redis::start()?;
    let server = start_server(&redis, "", ANY_HOST)?;
    let request = |more: &str| format!("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    let plain = answer(&server, &request(""))?;
    let packed = answer(&server, &request("Accept-Encoding: gzip\r\n"))?;
    for answer in [&plain, &packed] {
        let head = head(answer);
        ensure!(head.starts_with("http/1.1 200 ok"), "{head}");
        ensure!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    }
    assert!(!head(&plain).contains("content-encoding"));
    assert!(head(&packed).contains("content-encoding: gzip"));
    // RFC 1952: the two magic bytes, and deflate.
    assert!(packed.windows(3).any(|bytes| bytes == [0x1F, 0x8B, 8]));
    assert!(packed.len() < plain.len() / 2, "{} of {} bytes", packed.len(), plain.len());
    Ok(())
}

#[test]
fn a_head_that_is_too_long_is_refused() -> Result<()> {
    let redis = Redis::start()?;
    let server = start_server(&redis, "", ANY_HOST)?;
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20 << 10));
    let short = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let many: String = (0..100).map(|index| format!("X-{index}: x\r\n")).collect();
    let many = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    for request in [long, many] {
        let head = head(&answer(&server, &request)?);
        ensure!(head.starts_with("http/1.1 431"), "{head}");
    }
    ensure!(head(&answer(&server, short)?).starts_with("http/1.1 200"), "others are served");
    Ok(())
}

#[test]
fn what_is_not_there_is_said() -> Result<()> {
    let redis = Redis::start()?;
    let server = start_server(&redis, "", ANY_HOST)?;
    assert_eq!(server.get("/nothing")?.0, 404);
    let post = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let head = head(&answer(&server, post)?);
    ensure!(head.starts_with("http/1.1 405"), "{head}");
    Ok(())
}
