//! What systemd is told about the daemon (sd_notify): readiness, reloads, the status line and signs of life.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The service manager's socket, or silence where there is none. Clones share it.
///
/// Nothing here fails: a daemon that cannot tell systemd how it is logs that, and goes on.
#[derive(Clone, Debug)]
pub struct ServiceManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `sd_notify::notify` finds the socket in the environment for every message and knows no abstract names, so we keep our own.
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The status that was sent last; written and read by whoever sends a status.
    status: Mutex<String>,
}

impl ServiceManager {
    /// Speaks to the socket that `$NOTIFY_SOCKET` names; without that variable every message is dropped.
    pub fn new() -> Self {
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(name) => Self::at(&name),
            None => Self::with(None),
        }
    }

    /// Speaks to the socket `name`: a path, or `@` and an abstract name.
    pub(crate) fn at(name: &OsStr) -> Self {
        let socket = open(name).inspect_err(|error| warn!("cannot reach the service manager at {name:?}: {error}"));
        Self::with(socket.ok())
    }

    fn with(socket: Option<(UnixDatagram, SocketAddr)>) -> Self {
        Self(Arc::new(Inner { socket, status: Mutex::default() }))
    }

    /// The daemon is ready, or has finished a reload.
    pub fn ready(&self) {
        self.send(&[NotifyState::Ready]);
    }

    /// A reload begins; [`ServiceManager::ready`] ends it, whether or not the new settings were taken.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            // From version 253 on, systemd would fail the reload if it came without the time.
            Err(error) => warn!("cannot tell the service manager of the reload: {error}"),
        }
    }

    /// The daemon begins to stop.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// Sets the line that `systemctl status` shows; only a changed text is sent.
    pub fn status(&self, text: &str) {
        // A line end would begin another message; what we show may quote what came from the network.
        let text = text.replace(['\n', '\r'], " ");
        let mut last = self.0.status.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != text {
            self.send(&[NotifyState::Status(&text)]);
            *last = text;
        }
    }

    pub(crate) fn alive(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    pub(crate) fn hung(&self) {
        self.send(&[NotifyState::WatchdogTrigger]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some((socket, address)) = &self.0.socket else { return };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            warn!("cannot tell the service manager {:?}: {error}", message.trim_end());
        }
    }
}

impl Default for ServiceManager {
    fn default() -> Self {
        Self::new()
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not stop us for longer than a moment.
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok((socket, address))
}

#[cfg(test)]
pub(crate) mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The service manager's end of a socket, and what was sent to it so far.
    pub(crate) struct Receiver {
        socket: UnixDatagram,
        directory: TempDir,
    }

    impl Receiver {
        pub(crate) fn bind() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, directory }
        }

        pub(crate) fn manager(&self) -> ServiceManager {
            ServiceManager::at(self.directory.path().join("notify").as_os_str())
        }

        pub(crate) fn take(&self) -> Vec<String> {
            let mut buffer = [0; 1024];
            let received =
                std::iter::from_fn(|| self.socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()));
            received.map(|message| String::from_utf8(message).unwrap()).collect()
        }
    }

    #[test]
    fn says_what_systemd_understands() {
        let receiver = Receiver::bind();
        let manager = receiver.manager();
        manager.ready();
        manager.reloading();
        manager.stopping();
        manager.alive();
        let said = receiver.take();
        let time = said[1].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0);
        assert_eq!([&*said[0], &*said[2], &*said[3]], ["READY=1\n", "STOPPING=1\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn a_status_is_one_line_and_sent_once() {
        let receiver = Receiver::bind();
        let manager = receiver.manager();
        for text in ["connected", "connected", "lost\nREADY=1", "connected"] {
            manager.clone().status(text);
        }
        assert_eq!(receiver.take(), ["STATUS=connected\n", "STATUS=lost READY=1\n", "STATUS=connected\n"]);
    }

    #[test]
    fn abstract_sockets_are_reached() {
        let name = format!("hostwatch-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        ServiceManager::at(OsStr::new(&format!("@{name}"))).ready();
        let mut buffer = [0; 16];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
    }

    #[test]
    fn a_missing_socket_is_survived() {
        ServiceManager::at(OsStr::new("/nonexistent/notify")).ready();
        ServiceManager::at(OsStr::new("bad\0name")).ready();
        ServiceManager::with(None).status("x");
    }
}
