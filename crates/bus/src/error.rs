//! Why a command did not do what it was asked to do.

use std::time::Duration;

use redis::{RedisError, ServerError, Value};

/// What went wrong with a command, by what its caller does about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection, or it broke before the answer came: wait for the next one. A command that was under way
    /// may have been carried out.
    #[error("not connected to Redis")]
    Disconnected,
    /// Redis is connected but did not answer within this time. The command may have been carried out, or still may be.
    #[error("no answer from Redis within {0:?}")]
    TimedOut(Duration),
    /// Redis said no, in these words: the ACL, a limit or the state of Redis has to change first.
    #[error("refused by Redis: {0}")]
    Refused(String),
    /// Redis answered something that is no answer to this command.
    #[error("unexpected answer from Redis: {0}")]
    Unexpected(String),
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        if error.is_io_error() {
            return Self::Disconnected;
        }
        match ServerError::try_from(error) {
            Ok(error) => Self::refused(&error),
            Err(error) => Self::Unexpected(error.to_string()),
        }
    }
}

impl From<redis::ParsingError> for Error {
    fn from(error: redis::ParsingError) -> Self {
        Self::Unexpected(error.to_string())
    }
}

impl Error {
    /// The refusal in Redis's own words, without a copy of the command: Redis repeats the arguments of a command that it
    /// does not know, and those of HELLO hold the password.
    pub(crate) fn refused(error: &ServerError) -> Self {
        let details = error.details().unwrap_or_default();
        let details = details.split(", with args").next().unwrap_or_default();
        Self::Refused(format!("{} {details}", error.code()).trim_end().to_owned())
    }

    /// The first refusal in an answer; that of a transaction holds one answer for each of its commands.
    pub(crate) fn first_in(answer: &Value) -> Option<Self> {
        match answer {
            Value::ServerError(error) => Some(Self::refused(error)),
            Value::Array(answers) => answers.iter().find_map(Self::first_in),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: &str) {
        let value = redis::parse_redis_value(answer.as_bytes()).unwrap();
        assert_eq!(Error::first_in(&value), Some(Error::Refused(expected.into())));
        let error = value.extract_error().unwrap_err();
        assert_eq!(Error::from(error), Error::Refused(expected.into()));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_redis_but_never_repeats_a_command() {
        check("-NOPERM no access to the channel\r\n", "NOPERM no access to the channel");
        check("-WRONGPASS invalid pair\r\n", "WRONGPASS invalid pair");
        check("-OOM\r\n", "OOM");
        check(
            "-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'hidden' \r\n",
            "ERR unknown command 'HELLO'",
        );
        check("*2\r\n+OK\r\n-MISCONF disk\r\n", "MISCONF disk");
    }

    #[test]
    fn a_broken_connection_is_a_disconnection_whatever_its_errno() {
        for kind in [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::TimedOut, std::io::ErrorKind::HostUnreachable]
        {
            assert_eq!(Error::from(RedisError::from(std::io::Error::from(kind))), Error::Disconnected);
        }
    }
}
