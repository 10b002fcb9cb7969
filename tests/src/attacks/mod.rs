//! A host's account in the wrong hands, against a real Redis with the shipped settings and rights. Afterwards a scrape still
//! answers, the server's memory is bounded, the other hosts have lost nothing, and a metric names the culprit.

mod evil;
mod floods;
mod lies;
mod rights;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hostwatch_testkit::{
    Client, ClientSetup, Redis, RedisSetup, Server, ServerSetup, Speaker, programs, require, root,
};
use tempfile::TempDir;

use crate::fleet::{ANY_HOST, DEADLINE, books, files, is_up};

/// So much more memory than before an attack a server may take.
const ROOM: u64 = 64 << 20;
/// Longer no scrape may take, on a machine that is busy with the attack as well.
const SCRAPE: Duration = Duration::from_secs(5);

/// A fleet that is set up as docs/security.md says, with a host `evil` whose password is known.
struct Rig {
    redis: Redis,
    server: Server,
    /// Held for its end.
    good: Option<Client>,
    passwords: BTreeMap<String, String>,
    /// How much memory the server may take: what it took before the attack, and some more.
    room: u64,
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
        let mut rig = Self { redis, server, good: None, passwords, room: 0, _directory: directory };
        rig.good = Some(rig.client("good")?);
        rig.server.eventually("a host with no more than its rights is up", DEADLINE, |page| is_up(page, "good"))?;
        rig.room = rig.server.process.resident_bytes()? + ROOM;
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

    /// Somebody who knows the password of `evil`.
    fn evil_speaker(&self) -> Result<Speaker> {
        let mut speaker = Speaker::connect(&self.redis)?;
        speaker.log_in("host-evil", &self.passwords["host-evil"])?;
        Ok(speaker)
    }

    /// The server answers, within its memory; the other host has lost nothing.
    fn stands(&mut self) -> Result<()> {
        stands(&mut self.server, self.room)
    }
}

/// A scrape answers, and before long.
fn scrape(server: &Server) -> Result<()> {
    let start = Instant::now();
    let (status, body) = server.get("/metrics")?;
    ensure!(status == 200, "a scrape answers {status}: {body}");
    ensure!(start.elapsed() < SCRAPE, "a scrape took {:?}", start.elapsed());
    Ok(())
}

/// What holds after every attack, of a server that may take `room` bytes.
fn stands(server: &mut Server, room: u64) -> Result<()> {
    scrape(server)?;
    server.eventually("the other host loses nothing", DEADLINE, |page| {
        is_up(page, "good")?;
        let books = books(page, "good")?;
        ensure!(books.lost + books.outstanding == 0.0, "{} lost, {} outstanding", books.lost, books.outstanding);
        Ok(())
    })?;
    let page = server.page()?;
    assert_eq!(page.value("hostwatch_inbox_dropped_total", &[]), Some(0.0), "the queue is everybody's");
    assert_eq!(page.value("hostwatch_host_messages_refused_total", &[("instance", "good")]), Some(0.0));
    let resident = server.process.resident_bytes()?;
    ensure!(resident < room, "it takes {resident} bytes, and may take {room}");
    ensure!(!server.process.log().contains("panicked"), "{}", server.process.show_log());
    Ok(())
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
