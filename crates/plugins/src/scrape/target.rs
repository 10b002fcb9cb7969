//! Where an exporter is, as the host's owner writes it.

use std::path::PathBuf;
use std::str::FromStr;

use ureq::http::Uri;

const UNIX: &str = "http+unix://";
/// Where a page is if nobody says otherwise.
const METRICS: &str = "/metrics";

/// An exporter of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// On TCP: `http://127.0.0.1:9121/metrics`
    Http(String),
    /// On a unix socket: `http+unix:///run/exporter.sock:/metrics`
    Unix {
        /// The path of the socket.
        socket: PathBuf,
        /// The path of the page.
        page: String,
    },
}

/// What is no address of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "write http://HOST:PORT/PATH or http+unix:///PATH/OF/SOCKET:/PATH, without a password; without a path, {METRICS} is read"
)]
pub struct InvalidTarget;

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        match text.strip_prefix(UNIX) {
            Some(rest) => {
                let (socket, page) = match rest.split_once(":/") {
                    Some((socket, page)) => (socket, format!("/{page}")),
                    None => (rest, METRICS.to_owned()),
                };
                let page_is_one = page.parse::<Uri>().is_ok() && !page.contains('#');
                if !socket.starts_with('/') || socket.len() < 2 || !page_is_one {
                    return Err(InvalidTarget);
                }
                Ok(Self::Unix { socket: socket.into(), page })
            }
            None => {
                let uri: Uri = text.parse().map_err(|_| InvalidTarget)?;
                let authority = uri.authority().ok_or(InvalidTarget)?;
                let is_plain = uri.scheme_str() == Some("http")
                    && !authority.as_str().contains('@')
                    && !authority.host().is_empty()
                    && (authority.port_u16().is_some() || authority.as_str() == authority.host())
                    && !text.contains('#');
                if !is_plain {
                    return Err(InvalidTarget);
                }
                let path = if uri.path_and_query().is_none_or(|path| path.as_str() == "/") { METRICS } else { "" };
                Ok(Self::Http(format!("{}{path}", text.strip_suffix('/').filter(|_| !path.is_empty()).unwrap_or(text))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_exporters() {
        for (text, url) in [
            ("http://127.0.0.1:9121/metrics", "http://127.0.0.1:9121/metrics"),
            ("http://127.0.0.1:9121", "http://127.0.0.1:9121/metrics"),
            ("http://[::1]:9121/", "http://[::1]:9121/metrics"),
            ("http://localhost/probe?target=http://x/", "http://localhost/probe?target=http://x/"),
        ] {
            assert_eq!(text.parse(), Ok(Target::Http(url.to_owned())), "{text}");
        }
        for (text, socket, page) in [
            ("http+unix:///run/x.sock", "/run/x.sock", "/metrics"),
            ("http+unix:///run/x.sock:/a?b=c:/d", "/run/x.sock", "/a?b=c:/d"),
        ] {
            assert_eq!(text.parse(), Ok(Target::Unix { socket: socket.into(), page: page.to_owned() }), "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "127.0.0.1:9121",
            "/metrics",
            "https://127.0.0.1/",
            "http://",
            "http://user:password@127.0.0.1/",
            "http://127.0.0.1:/metrics",
            "http://127.0.0.1:99999/metrics",
            "http://127.0.0.1/#part",
            "http+unix://x.sock:/metrics",
            "http+unix:///",
            "http+unix:///run/x.sock:/a b",
            "file:///etc/passwd",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
        }
    }
}
