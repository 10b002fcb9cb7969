//! Exporters that a real client carries to a real server: Debian's exporter of Redis, one on a unix socket, and such as
//! misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{Client, Page, Process, Redis, Sample, Server, free_port, get, require};

use crate::fleet::{DEADLINE, figure, start_client_with, start_server_with};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";

/// A server whose hosts read the exporters called `targets` each second, and their load.
fn server(redis: &Redis, targets: &[&str]) -> Result<Server> {
    let service = |name: &&str| {
        format!("[services.{name}]\nplugin = \"scrape\"\ninterval = \"1s\"\nparameters.target = \"{name}\"\n")
    };
    let services: String = targets.iter().map(service).collect();
    let services = format!("{services}[services.load]\nplugin = \"load\"\ninterval = \"1s\"\n");
    let templates = format!("[templates.linux]\nservices = {:?}\n", [targets, &["load"]].concat());
    start_server_with(redis, &templates, &services)
}

/// The host `one`, whose owner allows these exporters.
fn client(redis: &Redis, targets: &[(&str, String)]) -> Result<Client> {
    let targets: String = targets.iter().map(|(name, address)| format!("{name} = \"{address}\"\n")).collect();
    start_client_with(redis, "one", format!("[allow.scrape]\n{targets}"))
}

/// Whether the server's page has this series of an exporter, as one of the host's.
fn carries(page: &Page, sample: &Sample) -> bool {
    let labels: Vec<(&str, &str)> = sample
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([("instance", "one")])
        .collect();
    let (labels, count) = (labels.as_slice(), sample.labels.len() + 2);
    page.series(&sample.name).any(|found| found.has(labels) && found.labels.len() == count)
}

#[test]
fn every_series_of_an_exporter_of_redis_arrives() -> Result<()> {
    let redis = Redis::start()?;
    let directory = tempfile::tempdir()?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = Command::new(require("prometheus-redis-exporter")?);
    command.args(["-web.listen-address", &address, "-redis.addr", &redis.url()]);
    let url = format!("http://{address}/metrics");
    let mut exporter = Process::start("redis-exporter", &command, &directory.path().join("log"))?;
    let own = exporter.eventually("the exporter knows its redis", DEADLINE, |_| {
        let (status, text) = get(&url)?;
        ensure!(status == 200, "status {status}");
        let page = Page::parse(&text)?;
        ensure!(page.value("redis_up", &[]) == Some(1.0), "redis is not up");
        Ok(page)
    })?;
    ensure!(own.samples.len() > 100, "only {} series", own.samples.len());
    let summaries: Vec<&str> =
        own.families.keys().map(String::as_str).filter(|name| own.kind(name) == Some("summary")).collect();
    ensure!(!summaries.is_empty(), "the exporter has no summary any more: {:?}", own.families.keys());

    let mut server = server(&redis, &["redis"])?;
    let _client = client(&redis, &[("redis", url)])?;
    server.eventually("all series of the exporter arrive", DEADLINE, |page| {
        ensure!(figure(page, "redis_up", "one")? == 1.0);
        let missing: Vec<_> = own.samples.iter().filter(|sample| !carries(page, sample)).collect();
        ensure!(missing.is_empty(), "missing: {missing:#?}");
        for name in own.samples.iter().map(|sample| sample.name.as_str()).filter(|name| own.kind(name).is_some()) {
            ensure!(page.kind(name) == own.kind(name), "{name} is a {:?} here", page.kind(name));
        }
        ensure!(summaries.iter().all(|name| page.kind(name) == Some("summary")), "a summary is none here");
        Ok(())
    })?;
    exporter.kill()?;
    server.eventually("an exporter that is gone is said, and its series leave", DEADLINE, |page| {
        ensure!(page.series("redis_up").next().is_none(), "redis_up is still there");
        figure(page, "node_load1", "one").map(drop)
    })?;
    let (_, host) = server.get("/api/v1/hosts/one")?;
    ensure!(host.contains("redis: nobody listens there"), "{host}");
    Ok(())
}

#[test]
fn an_exporter_that_misbehaves_costs_only_itself() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("exporter.sock");
    let histogram = "# HELP rpc_seconds How long.\n# TYPE rpc_seconds histogram\nrpc_seconds_bucket{le=\"0.5\"} 1\n\
                     rpc_seconds_bucket{le=\"+Inf\"} 2\nrpc_seconds_sum 1.25\nrpc_seconds_count 2\n\
                     # TYPE odd gauge\nodd{instance=\"other\",path=\"a,b}\\\"\\\\\"} -Inf\n";
    let listener = UnixListener::bind(&socket)?;
    thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| answer(stream, |stream| stream.write_all(format!("{ANSWER}{histogram}").as_bytes())))
    });
    let targets = [
        ("good", format!("http+unix://{}", socket.display())),
        ("hangs", exporter(|_| std::iter::repeat_with(thread::park).try_for_each(|()| Ok(())))?),
        (
            "redirects",
            exporter(|stream| stream.write_all(b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"))?,
        ),
        (
            "floods",
            exporter(|stream| {
                stream.write_all(ANSWER.as_bytes())?;
                let lines = "# a comment that says nothing\n".repeat(10_000);
                (0..350).try_for_each(|_| stream.write_all(lines.as_bytes()))
            })?,
        ),
        ("garbage", exporter(|stream| stream.write_all(format!("{ANSWER}<html>\u{1}").as_bytes()))?),
    ];
    let redis = Redis::start()?;
    let names = targets.each_ref().map(|(name, _)| *name);
    let mut server = server(&redis, &names)?;
    let _client = client(&redis, &targets)?;
    let own = Page::parse(&histogram.replace("instance=", "exported_instance="))?;
    server.eventually("the good one arrives whole", DEADLINE, |page| {
        figure(page, "node_load1", "one")?;
        for sample in &own.samples {
            ensure!(carries(page, sample), "{sample:?} is missing");
        }
        let bucket = page.value("rpc_seconds_bucket", &[("instance", "one"), ("le", "0.5")]);
        ensure!(bucket == Some(1.0) && page.kind("rpc_seconds") == Some("histogram"), "{bucket:?}");
        Ok(())
    })?;
    let messages = [
        "hangs: no whole answer within 900ms",
        "redirects: answers with the status 301 Moved Permanently, and only 200 will do",
        "floods: sends more than 8388608 bytes",
        "garbage: the page is wrong in line 1: ",
    ];
    server.eventually("the others say what is wrong", DEADLINE, |page| {
        figure(page, "odd", "one")?;
        Ok(())
    })?;
    hostwatch_testkit::eventually("the others say what is wrong", DEADLINE, || {
        let (_, host) = server.get("/api/v1/hosts/one")?;
        let silent = messages.iter().find(|message| !host.contains(*message));
        silent.map_or(Ok(()), |message| Err(anyhow::anyhow!("nobody says {message:?}: {host}")))
    })?;
    let page = server.page()?;
    ensure!(own.samples.iter().all(|sample| carries(&page, sample)), "the good one has left");
    figure(&page, "node_load1", "one").context("the load has left").map(drop)
}

/// An exporter on a port of its own which gives every connection to a thread; its address.
fn exporter(behave: fn(&mut TcpStream) -> std::io::Result<()>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/metrics", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream, behave));
        }
    });
    Ok(address)
}

/// Reads the head of a request and behaves as told. Whoever asked may have gone meanwhile.
fn answer<S: Read + Write>(mut stream: S, behave: impl Fn(&mut S) -> std::io::Result<()>) {
    let head = BufReader::new(&mut stream).lines().map_while(Result::ok).find(String::is_empty);
    if head.is_some() {
        let _ = behave(&mut stream);
    }
}
