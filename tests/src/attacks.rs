//! A host's account in the wrong hands, against a real Redis with the shipped settings and rights.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{
    Client, ClientSetup, Redis, RedisSetup, Server, ServerSetup, eventually, programs, require, root,
};
use tempfile::TempDir;

use crate::fleet::{ANY_HOST, DEADLINE, books, files, is_up};

/// A fleet that is set up as docs/security.md says, with a host `evil` whose password is known.
struct Rig {
    redis: Redis,
    server: Server,
    /// Held for its end.
    good: Option<Client>,
    passwords: BTreeMap<String, String>,
    _directory: TempDir,
}

impl Rig {
    fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let acl_file = directory.path().join("users.acl");
        fs::write(&acl_file, "user default on nopass ~* &* +@all\n")?;
        let shipped = root()?.join("packaging/redis");
        let settings = fs::read_to_string(shipped.join("hostwatch.conf"))?;
        let lines = settings.lines().map(|line| match line.strip_prefix("aclfile ") {
            Some(_) => format!("aclfile {}", acl_file.display()),
            None => line.to_owned(),
        });
        let redis = Redis::start_with(&RedisSetup { config: lines.collect(), ..RedisSetup::default() })?;

        let (acl, passwords) = acl(&["--server", "good", "evil"])?;
        let users = fs::read_to_string(shipped.join("users.acl"))?;
        fs::write(&acl_file, format!("{users}{acl}user admin on nopass ~* &* +@all\n"))?;
        redis.cli(&["acl", "load"])?;

        let server = Server::start(&ServerSetup {
            redis_url: redis.url(),
            files: files("", ANY_HOST),
            environment: login(&passwords, "hostwatch-server")?,
            ..ServerSetup::default()
        })?;
        let mut rig = Self { redis, server, good: None, passwords, _directory: directory };
        rig.good = Some(rig.client("good")?);
        rig.server.eventually("a host with no more than its rights is up", DEADLINE, |page| is_up(page, "good"))?;
        Ok(rig)
    }

    fn client(&self, host: &str) -> Result<Client> {
        Client::start(&ClientSetup {
            host: Some(host.to_owned()),
            redis_url: self.redis.url(),
            environment: login(&self.passwords, &format!("host-{host}"))?,
            ..ClientSetup::default()
        })
    }

    /// What Redis answers to `user`.
    fn answer(&self, user: &str, command: &[&str]) -> Result<String> {
        let mut cli = Command::new(require("redis-cli")?);
        cli.arg("-s").arg(self.redis.socket()).args(["--user", user]);
        if let Some(password) = self.passwords.get(user) {
            cli.args(["--pass", password, "--no-auth-warning"]);
        } else {
            cli.args(["--pass", "any", "--no-auth-warning"]);
        }
        let output = cli.args(command).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    fn is_refused(&self, command: &[&str]) -> Result<()> {
        let answer = self.answer("host-evil", command)?;
        ensure!(answer.contains("NOPERM"), "{command:?}: {answer}");
        Ok(())
    }
}

/// The environment of a daemon that connects as `user`.
fn login(passwords: &BTreeMap<String, String>, user: &str) -> Result<Vec<(String, String)>> {
    let password = passwords.get(user).with_context(|| format!("no password of {user}"))?;
    Ok(vec![
        ("HOSTWATCH_REDIS_USERNAME".to_owned(), user.to_owned()),
        ("HOSTWATCH_REDIS_PASSWORD".to_owned(), password.clone()),
    ])
}

/// What `hostwatch-server acl` prints: the lines, and the passwords by user.
fn acl(arguments: &[&str]) -> Result<(String, BTreeMap<String, String>)> {
    let directory = tempfile::tempdir()?;
    let settings = directory.path().join("server.toml");
    fs::write(&settings, "[inventory]\nhosts = []\ntemplates = []\nservices = []\n")?;
    let mut command = Command::new(&programs()?.server);
    command.arg("acl").args(arguments).arg("--config").arg(&settings);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stderr)?;
    let passwords = said.lines().filter_map(|line| line.split_once(": "));
    let passwords = passwords.map(|(user, password)| (user.to_owned(), password.to_owned())).collect();
    Ok((String::from_utf8(output.stdout)?, passwords))
}

#[test]
fn a_host_speaks_for_itself_only() -> Result<()> {
    let rig = Rig::start()?;
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
        rig.is_refused(command)?;
    }
    for command in [&["ping"][..], &["get", "hostwatch:{evil}:config"], &["publish", "hostwatch:{evil}:reports", "x"]] {
        let answer = rig.answer("host-evil", command)?;
        ensure!(!answer.contains("NOPERM"), "{command:?}: {answer}");
    }
    let answer = rig.answer("default", &["ping"])?;
    ensure!(answer.contains("WRONGPASS") || answer.contains("NOAUTH"), "{answer}");
    Ok(())
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
    rig.server.eventually("the other host loses nothing", DEADLINE, |page| {
        is_up(page, "good")?;
        let books = books(page, "good")?;
        ensure!(books.lost + books.outstanding == 0.0);
        Ok(())
    })
}

/// Publishes garbage as `evil`, as quickly as Redis takes it.
fn flood(rig: &Rig, channel: &str, messages: usize) -> Result<()> {
    let output = Command::new(require("redis-benchmark")?)
        .arg("-s")
        .arg(rig.redis.socket())
        .args(["--user", "host-evil", "-a", &rig.passwords["host-evil"]])
        .args(["-n", &messages.to_string(), "-P", "64", "-q"])
        .args(["publish", channel, "garbage-garbage-garbage"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_host_that_floods_is_named_and_costs_the_others_nothing() -> Result<()> {
    const MESSAGES: usize = 20_000;
    let mut rig = Rig::start()?;
    let _evil = rig.client("evil")?;
    rig.server.eventually("the evil host is up", DEADLINE, |page| is_up(page, "evil"))?;
    let before = rig.server.process.resident_bytes()?;
    flood(&rig, "hostwatch:{evil}:join", MESSAGES)?;
    rig.server.eventually("the flood is counted and named", DEADLINE, |page| {
        let refused: f64 = page.series("hostwatch_messages_refused_total").map(|sample| sample.value).sum();
        let of_host = page.value("hostwatch_host_messages_flooded_total", &[("instance", "evil")]);
        ensure!(refused >= MESSAGES as f64 && of_host > Some(1_000.0), "{refused} in all, {of_host:?} of the host");
        ensure!(page.value("hostwatch_host_messages_flooded_total", &[("instance", "good")]) == Some(0.0));
        Ok(())
    })?;
    flood(&rig, "hostwatch:{evil}:reports", MESSAGES)?;
    assert_eq!(rig.server.page()?.value("hostwatch_inbox_dropped_total", &[]), Some(0.0), "the queue is everybody's");
    eventually("nobody listens to it", DEADLINE, || {
        let heard = rig.answer("host-evil", &["publish", "hostwatch:{evil}:reports", "x"])?;
        ensure!(heard.trim() == "0", "{heard}");
        Ok(())
    })?;
    rig.server.eventually("the other host loses nothing", DEADLINE, |page| {
        is_up(page, "good")?;
        let books = books(page, "good")?;
        ensure!(books.lost + books.outstanding == 0.0);
        Ok(())
    })?;
    let after = rig.server.process.resident_bytes()?;
    ensure!(after < before + (64 << 20), "{before} bytes before, {after} after");
    let log = rig.server.process.log();
    ensure!(log.contains("evil floods") && log.lines().count() < 100, "{log}");
    Ok(())
}
