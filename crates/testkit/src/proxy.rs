//! A TCP proxy on 127.0.0.1 that stands between a daemon and its Redis, and spoils what passes through it. How it does
//! that can be changed at any time.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What is read at once.
const CHUNK: usize = 16 << 10;
/// Chunks that wait to be handed on, in each direction of each connection.
const CHUNKS: usize = 256;

/// What the proxy does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Hands everything on at once.
    Passes,
    /// Hands everything on, each byte so long after it came.
    Delayed(Duration),
    /// Accepts connections and reads nothing from them; what waits meanwhile is handed on afterwards.
    Stalled,
    /// Takes everything and hands on nothing, the ends of connections included, as a router does that has forgotten them. A
    /// connection that was seen in this state is dead for ever, and neither of its ends hears of it.
    Swallowed,
    /// Hands on so many bytes of what comes next, in either direction, and closes the connection.
    Cut(usize),
}

/// A proxy. Its connections are closed when this is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    redis: SocketAddr,
    /// Written by the test, read by every connection's threads, which wait for its changes.
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    traffic: Traffic,
    /// How many connections were spoilt: cut, or dead.
    spoilt: usize,
    connections: Vec<Weak<Connection>>,
    is_over: bool,
}

/// Both ends of one connection.
struct Connection {
    daemon: TcpStream,
    redis: TcpStream,
    /// Whether bytes of it were swallowed or cut.
    is_dead: Mutex<bool>,
}

/// Bytes, and when they may be handed on.
type Chunk = (Instant, Vec<u8>);

impl Proxy {
    /// A proxy to `port` of 127.0.0.1, where nobody has to listen yet. Everything passes.
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the proxy")?;
        let address = listener.local_addr()?;
        let state = State { traffic: Traffic::Passes, spoilt: 0, connections: Vec::new(), is_over: false };
        let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let shared = Arc::new(Shared { redis, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { shared, address })
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this happens to what passes.
    pub fn set(&self, traffic: Traffic) {
        self.shared.state().traffic = traffic;
        self.shared.changed.notify_all();
    }

    /// How many connections were cut or have died so far.
    pub fn spoilt(&self) -> usize {
        self.shared.state().spoilt
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.connections.iter().filter_map(Weak::upgrade).for_each(|connection| connection.close());
        drop(state);
        self.shared.changed.notify_all();
        // Whoever waits for a connection has to see that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Nothing that can panic runs under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for daemon in listener.incoming() {
            if self.state().is_over {
                return;
            }
            // Where nobody listens, the caller's connection ends as well.
            let Ok(connection) = daemon.and_then(|daemon| Connection::new(daemon, self.redis)) else { continue };
            let connection = Arc::new(connection);
            let mut state = self.state();
            state.connections.retain(|known| known.strong_count() > 0);
            state.connections.push(Arc::downgrade(&connection));
            drop(state);
            for direction in [Direction::ToRedis, Direction::ToDaemon] {
                let (sender, chunks) = mpsc::sync_channel(CHUNKS);
                let (reading, from) = (Arc::clone(self), Arc::clone(&connection));
                thread::spawn(move || reading.read(&from, direction, &sender));
                let (writing, to) = (Arc::clone(self), Arc::clone(&connection));
                thread::spawn(move || writing.write(&to, direction, &chunks));
            }
        }
    }

    fn read(&self, connection: &Connection, direction: Direction, chunks: &mpsc::SyncSender<Chunk>) {
        let mut from = connection.ends(direction).0;
        let mut buffer = vec![0; CHUNK];
        loop {
            self.wait_while_stalled(Instant::now());
            let length = from.read(&mut buffer).unwrap_or(0);
            let delay = match self.wait_while_stalled(Instant::now()) {
                Traffic::Swallowed => {
                    self.kill(connection);
                    Duration::ZERO
                }
                Traffic::Cut(at) if length > 0 => {
                    let _ = connection.ends(direction).1.write_all(&buffer[..at.min(length)]);
                    // What comes back of it may be cut, too, and still it is one connection.
                    self.kill(connection);
                    return connection.close();
                }
                Traffic::Delayed(delay) => delay,
                Traffic::Passes | Traffic::Stalled | Traffic::Cut(_) => Duration::ZERO,
            };
            let is_dead = *connection.is_dead();
            if length == 0 && is_dead {
                return;
            }
            // An empty chunk is the end.
            if !is_dead && chunks.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                return;
            }
            if length == 0 {
                return;
            }
        }
    }

    fn write(&self, connection: &Connection, direction: Direction, chunks: &mpsc::Receiver<Chunk>) {
        let mut to = connection.ends(direction).1;
        for (due, chunk) in chunks {
            self.wait_while_stalled(due);
            if *connection.is_dead() {
                continue;
            }
            if chunk.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
            } else if to.write_all(&chunk).is_err() {
                return connection.close();
            }
        }
    }

    /// Waits until `due` has come and nothing is stalled; what happens to traffic then.
    fn wait_while_stalled(&self, due: Instant) -> Traffic {
        let mut state = self.state();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            state = match state.traffic {
                _ if state.is_over => return Traffic::Passes,
                Traffic::Stalled => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                traffic if left.is_zero() => return traffic,
                _ => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn kill(&self, connection: &Connection) {
        let was_dead = std::mem::replace(&mut *connection.is_dead(), true);
        self.state().spoilt += usize::from(!was_dead);
    }
}

#[derive(Clone, Copy)]
enum Direction {
    ToRedis,
    ToDaemon,
}

impl Connection {
    fn new(daemon: TcpStream, redis: SocketAddr) -> io::Result<Self> {
        let redis = TcpStream::connect(redis)?;
        daemon.set_nodelay(true)?;
        redis.set_nodelay(true)?;
        Ok(Self { daemon, redis, is_dead: Mutex::new(false) })
    }

    /// From where to where.
    fn ends(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::ToRedis => (&self.daemon, &self.redis),
            Direction::ToDaemon => (&self.redis, &self.daemon),
        }
    }

    fn is_dead(&self) -> MutexGuard<'_, bool> {
        self.is_dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        // What is closed already needs no closing.
        let _ = self.daemon.shutdown(Shutdown::Both);
        let _ = self.redis.shutdown(Shutdown::Both);
    }
}
