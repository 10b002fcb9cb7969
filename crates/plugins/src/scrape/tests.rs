//! Exporters that are sockets of this test: what they answer is written out.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use hostwatch_wire::{Parameter, Parameters};

use super::*;
use crate::{Access, Allowed};

const LONG: Duration = Duration::from_secs(60);
const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";

/// Answers one request with `answer`, and returns what was asked.
fn serve(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut chunk).unwrap();
        assert!(length > 0, "the request has no end");
        request.extend_from_slice(&chunk[..length]);
    }
    // Whoever had enough does not listen to the end.
    let _ = stream.write_all(answer);
    String::from_utf8(request).unwrap()
}

/// What the plugin makes of the exporter at `address`: a message and a page.
fn scrape(address: &str, timeout: Duration) -> Result<(String, String), String> {
    let allowed = Allowed { scrape: [("it".to_owned(), address.parse().unwrap())].into(), ..Allowed::default() };
    let access = Access { allowed, ..Access::default() };
    let parameters = Parameters::from([("target".to_owned(), Parameter::Text("it".to_owned()))]);
    let mut plugin = DESCRIPTOR.build(&access, &parameters, timeout).map_err(|error| error.to_string())?;
    let mut samples = Samples::new();
    samples.collect(&mut *plugin).map_err(|error| error.to_string())?;
    Ok((samples.message().unwrap_or_default().to_owned(), samples.text()))
}

/// What the plugin makes of an exporter that gives this answer over TCP.
fn answered(answer: impl Into<Vec<u8>>) -> Result<(String, String), String> {
    let (listener, answer) = (TcpListener::bind("127.0.0.1:0").unwrap(), answer.into());
    let address = format!("http://{}/metrics", listener.local_addr().unwrap());
    let exporter = thread::spawn(move || serve(listener.accept().unwrap().0, &answer));
    let result = scrape(&address, LONG);
    let request = exporter.join().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /metrics http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\naccept: text/plain;version=0.0.4,application/openmetrics-text"), "{request}");
    assert!(request.contains("\r\nx-prometheus-scrape-timeout-seconds: 54\r\n"), "{request}");
    assert!(!request.contains("accept-encoding"), "{request}");
    result
}

#[test]
fn pages_of_both_formats_are_carried_on() {
    let expected = "# HELP x_total \n# TYPE x_total counter\nx_total{a=\"b,c\"} 1\n";
    let text = format!("{PLAIN}\r\n# TYPE x_total counter\nx_total{{a=\"b,c\"}} 1\nup 1\n");
    let message = "it: 1 series are left out, the first because of line 3: up: the name is reserved";
    assert_eq!(answered(text).unwrap(), (message.to_owned(), expected.to_owned()));
    let open_metrics = "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0\r\n\
                        Transfer-Encoding: chunked\r\n\r\n2e\r\n# TYPE x counter\nx_total{a=\"b,c\"} 1 2.5\n# EOF\n\r\n0\r\n\r\n";
    assert_eq!(answered(open_metrics).unwrap(), (String::new(), expected.to_owned()));
    assert_eq!(answered(format!("{PLAIN}Content-Length: 0\r\n\r\n")).unwrap(), (String::new(), String::new()));
}

#[test]
fn what_an_exporter_does_wrong_is_said() {
    for (answer, what) in [
        (format!("{PLAIN}\r\n<html>"), "it: the page is wrong in line 1: \"<html>\" is no metric name"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "it: answers with the status 302 Found, and only 200 will do",
        ),
        (
            "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "it: answers with the status 500 Internal Server Error, and only 200 will do",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nx 1\n".to_owned(),
            "it: sends text/html, and only text/plain and application/openmetrics-text are understood",
        ),
        (format!("{PLAIN}\r\n{}", "x".repeat(MAX_PAGE_BYTES + 1)), "it: sends more than 8388608 bytes"),
    ] {
        assert_eq!(answered(answer), Err(what.to_owned()));
    }
    for answer in [
        String::new(),
        "\u{1}\u{2}\u{3}".repeat(100_000),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        format!("{PLAIN}Content-Length: 100\r\n\r\nx 1\n"),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEADER_BYTES)),
    ] {
        let error = answered(answer).unwrap_err();
        assert!(error.starts_with("it: ") && error.len() > 6 && error.len() < 200, "{error}");
    }
}

#[test]
fn an_exporter_has_so_much_time_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/metrics", listener.local_addr().unwrap());
    // It takes the connection, as the kernel does for it, and says nothing.
    let error = scrape(&address, Duration::from_millis(200)).unwrap_err();
    assert_eq!(error, "it: no whole answer within 180ms");
    // It says a little again and again, without an end.
    let exporter = thread::spawn(move || {
        let (_silent, mut stream) = (listener.accept().unwrap(), listener.accept().unwrap().0);
        stream.write_all(PLAIN.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        while stream.write_all(b"x 1\n").is_ok() {
            thread::yield_now();
        }
    });
    let error = scrape(&address, Duration::from_millis(500)).unwrap_err();
    assert!(error == "it: no whole answer within 450ms" || error == "it: sends more than 8388608 bytes", "{error}");
    exporter.join().unwrap();
    let address = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    assert_eq!(scrape(&address, LONG).unwrap_err(), "it: nobody listens there");
}

#[test]
fn an_exporter_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exporter.sock");
    let address = format!("http+unix://{}:/probe?a=b", socket.display());
    assert!(scrape(&address, LONG).unwrap_err().contains("No such file"));
    let listener = UnixListener::bind(&socket).unwrap();
    let exporter = thread::spawn(move || {
        let request = serve(listener.accept().unwrap().0, format!("{PLAIN}\r\nx 1\n").as_bytes());
        (listener, request)
    });
    assert_eq!(scrape(&address, LONG).unwrap().1, "# HELP x \n# TYPE x untyped\nx 1\n");
    let (listener, request) = exporter.join().unwrap();
    assert!(request.starts_with("GET /probe?a=b HTTP/1.1\r\n"), "{request}");

    let silent = scrape(&address, Duration::from_millis(200)).unwrap_err();
    assert_eq!(silent, "it: no whole answer within 180ms");
    // One that takes no connection any more, because as many wait as it lets wait, holds up nobody either.
    rustix::net::listen(&listener, 0).unwrap();
    let full = scrape(&address, Duration::from_millis(200)).unwrap_err();
    assert_eq!(full, "it: no whole answer within 180ms");
}

#[test]
fn what_was_not_allowed_is_refused() {
    let parameters = Parameters::from([("target".to_owned(), Parameter::Text("http://127.0.0.1/".to_owned()))]);
    let error = DESCRIPTOR.build(&Access::default(), &parameters, LONG).err().unwrap().to_string();
    assert_eq!(error, "target: \"http://127.0.0.1/\" is not allowed on this host, whose [allow.scrape] has nothing");
}
