//! What Redis itself refuses to an account.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::Server;

use super::{Rig, acl};

#[test]
fn a_host_speaks_for_itself_only() -> Result<()> {
    let mut rig = Rig::start()?;
    for command in [
        &["publish", "hostwatch:{good}:reports", "x"][..],
        &["publish", "hostwatch:{good}:join", "x"],
        &["publish", "hostwatch:{good}:commands", "x"],
        &["publish", "hostwatch:{evil}:commands", "x"],
        &["publish", "hostwatch:{*}:reports", "x"],
        &["subscribe", "hostwatch:{good}:commands"],
        &["subscribe", "hostwatch:{good}:reports"],
        &["subscribe", "hostwatch:{evil}:reports"],
        &["psubscribe", "hostwatch:{*}:commands"],
        &["psubscribe", "*"],
        &["ssubscribe", "hostwatch:{good}:commands"],
        &["spublish", "hostwatch:{good}:reports", "x"],
        &["get", "hostwatch:{good}:config"],
        &["get", "hostwatch:{*}:config"],
        &["set", "hostwatch:{evil}:config", "x"],
        &["set", "hostwatch:{good}:config", "x"],
        &["del", "hostwatch:{good}:config"],
        &["keys", "*"],
        &["scan", "0"],
        &["flushall"],
        &["config", "get", "*"],
        &["acl", "list"],
        &["client", "list"],
        &["eval", "return 1", "0"],
    ] {
        let answer = rig.answer("host-evil", command)?;
        ensure!(answer.contains("NOPERM"), "{command:?}: {answer}");
    }
    for command in [&["ping"][..], &["get", "hostwatch:{evil}:config"], &["publish", "hostwatch:{evil}:reports", "x"]] {
        let answer = rig.answer("host-evil", command)?;
        ensure!(!answer.contains("NOPERM"), "{command:?}: {answer}");
    }
    let answer = rig.answer("default", &["ping"])?;
    ensure!(answer.contains("WRONGPASS") || answer.contains("NOAUTH"), "{answer}");
    let log = rig.answer("admin", &["acl", "log"])?;
    ensure!(log.contains("host-evil"), "Redis does not name the culprit: {log}");
    rig.stands()
}

#[test]
fn an_id_that_would_be_a_pattern_gets_no_line() -> Result<()> {
    for id in ["a*", "a}", "{a", "a/b", "a b", "", "-a", "a\nb"] {
        let refused = acl(&["--", id]);
        let Err(error) = refused else { anyhow::bail!("{id:?} got a line") };
        ensure!(error.to_string().contains("invalid value"), "{id:?}: {error}");
    }
    Ok(())
}

#[test]
fn a_command_that_never_ends_costs_its_sender_the_connection() -> Result<()> {
    let mut rig = Rig::start()?;
    let mut stream = UnixStream::connect(rig.redis.socket())?;
    let password = &rig.passwords["host-evil"];
    write!(stream, "AUTH host-evil {password}\r\n*1000000\r\n$9\r\nSUBSCRIBE\r\n")?;
    let mut argument = b"$1000000\r\n".to_vec();
    argument.resize(argument.len() + 1_000_000, b'x');
    argument.extend_from_slice(b"\r\n");
    let sent = (0..2_000).take_while(|_| stream.write_all(&argument).is_ok()).count();
    ensure!((900..1_200).contains(&sent), "Redis took {sent} MB");
    let page = rig.server.page()?;
    assert_eq!(page.value("hostwatch_redis_connections_total", &[]), Some(1.0), "the server kept its own");
    rig.stands()
}

#[test]
fn a_message_that_is_too_large_stays_with_its_sender() -> Result<()> {
    let mut rig = Rig::start()?;
    let mut stream = UnixStream::connect(rig.redis.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let password = &rig.passwords["host-evil"];
    write!(stream, "AUTH host-evil {password}\r\n")?;
    let channel = "hostwatch:{evil}:reports";
    let begin = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), 34 << 20);
    stream.write_all(begin.as_bytes())?;
    // Redis closes the connection as soon as it has read the length.
    let mut answer = String::new();
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let _ = stream.read_to_string(&mut answer);
    ensure!(answer.contains("invalid bulk length"), "{answer:?}");
    let connections = |server: &Server| -> Result<f64> {
        server.page()?.value("hostwatch_redis_connections_total", &[]).context("no count")
    };
    assert_eq!(connections(&rig.server)?, 1.0);
    rig.stands()
}
