//! Somebody who publishes whatever a test wants on a Redis, in one go and as any user, or hears what others publish.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::Redis;

/// So many messages are under way at once.
const PIPELINE: usize = 64;

const DEADLINE: Duration = Duration::from_secs(30);

/// A connection to publish on.
pub struct Speaker {
    stream: BufReader<UnixStream>,
}

impl Speaker {
    /// Connects to the unix socket of `redis`, as the user `default`.
    ///
    /// # Errors
    /// When Redis is away.
    pub fn connect(redis: &Redis) -> Result<Self> {
        let stream = UnixStream::connect(redis.socket()).context("connect to Redis")?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Becomes another user.
    ///
    /// # Errors
    /// When Redis does not let it.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        self.send(&[b"AUTH", user.as_bytes(), password.as_bytes()])?;
        let answer = self.answer()?;
        ensure!(answer == "+OK", "{answer}");
        Ok(())
    }

    /// Publishes every message on its channel; how many of them somebody heard.
    ///
    /// # Errors
    /// When Redis refuses one.
    pub fn publish<'a>(&mut self, messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<usize> {
        let (mut waiting, mut heard) = (0, 0);
        for (channel, message) in messages {
            self.send(&[b"PUBLISH", channel.as_bytes(), message])?;
            waiting += 1;
            if waiting == PIPELINE {
                heard += self.receivers()?;
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            heard += self.receivers()?;
        }
        Ok(heard)
    }

    /// The next message on `channel`. From now on it can do nothing but listen.
    ///
    /// # Errors
    /// When Redis refuses, or none comes within 30 s.
    pub fn hear(&mut self, channel: &str) -> Result<Vec<u8>> {
        self.send(&[b"SUBSCRIBE", channel.as_bytes()])?;
        // What kind of message it is, the channel, and either a number or what was published.
        loop {
            let kind = [self.answer()?, self.text()?];
            self.text()?;
            match kind.each_ref().map(String::as_str) {
                ["*3", "subscribe"] => drop(self.answer()?),
                ["*3", "message"] => return self.bulk(),
                other => bail!("SUBSCRIBE: {other:?}"),
            }
        }
    }

    fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8(self.bulk()?)?)
    }

    fn bulk(&mut self) -> Result<Vec<u8>> {
        let length = self.answer()?;
        let length = length.strip_prefix('$').with_context(|| format!("no length: {length}"))?;
        let mut bytes = vec![0; length.parse::<usize>()? + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(bytes)
    }

    fn send(&mut self, words: &[&[u8]]) -> Result<()> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            write!(command, "${}\r\n", word.len())?;
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        Ok(self.stream.get_mut().write_all(&command)?)
    }

    /// Whether anybody heard the next message that is not answered yet.
    fn receivers(&mut self) -> Result<usize> {
        match self.answer()?.as_str() {
            ":0" => Ok(0),
            answer if answer.starts_with(':') => Ok(1),
            answer => bail!("PUBLISH: {answer}"),
        }
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("an answer of Redis")?;
        Ok(line.trim_end().to_owned())
    }
}
