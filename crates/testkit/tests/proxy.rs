//! The proxy, in front of a peer that says everything back.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use hostwatch_testkit::{Proxy, Traffic};

/// Longer than anything takes that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn echo() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(port)
}

fn connect(proxy: &Proxy) -> Result<TcpStream> {
    let stream = TcpStream::connect(proxy.address())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn says_back(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(text.as_bytes())?;
    hears(stream, text)
}

fn hears(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(String::from_utf8_lossy(&answer), text);
    Ok(())
}

fn hears_nothing(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let silence = stream.read(&mut [0]).expect_err("nothing is to be heard");
    assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(())
}

#[test]
fn what_is_delayed_comes_later_and_all_of_it() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let mut stream = connect(&proxy)?;
    says_back(&mut stream, "at once")?;
    proxy.set(Traffic::Delayed(Duration::from_millis(100)));
    let start = Instant::now();
    stream.write_all(b"one")?;
    stream.write_all(b"two")?;
    hears(&mut stream, "onetwo")?;
    assert!(start.elapsed() >= Duration::from_millis(200), "there and back");
    Ok(())
}

#[test]
fn what_was_stalled_comes_in_the_end() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let mut early = connect(&proxy)?;
    says_back(&mut early, "before")?;
    proxy.set(Traffic::Stalled);
    let mut late = connect(&proxy)?;
    for stream in [&mut early, &mut late] {
        stream.write_all(b"meanwhile")?;
        hears_nothing(stream)?;
    }
    proxy.set(Traffic::Passes);
    hears(&mut early, "meanwhile")?;
    hears(&mut late, "meanwhile")?;
    assert_eq!(proxy.spoilt(), 0);
    Ok(())
}

#[test]
fn a_connection_that_lost_bytes_stays_dead_and_open() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let mut stream = connect(&proxy)?;
    says_back(&mut stream, "before")?;
    proxy.set(Traffic::Swallowed);
    stream.write_all(b"lost")?;
    hears_nothing(&mut stream)?;
    proxy.set(Traffic::Passes);
    stream.write_all(b"lost too")?;
    hears_nothing(&mut stream)?;
    assert_eq!(proxy.spoilt(), 1);
    says_back(&mut connect(&proxy)?, "a new one lives")?;
    Ok(())
}

#[test]
fn a_cut_ends_within_a_message() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let mut stream = connect(&proxy)?;
    says_back(&mut stream, "before")?;
    proxy.set(Traffic::Cut(3));
    stream.write_all(b"message")?;
    // What was handed on may come back before the end or not at all.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest == b"mes", "{rest:?}");
    assert_eq!(proxy.spoilt(), 1);
    Ok(())
}

#[test]
fn an_end_is_handed_on() -> Result<()> {
    let proxy = Proxy::start(echo()?)?;
    let mut stream = connect(&proxy)?;
    stream.write_all(b"last")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest)?;
    assert_eq!(rest, "last");
    Ok(())
}
