//! One connection to Redis, from the moment Redis accepts the user until the connection is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisResult, TlsCertificates, Value,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::subscriptions::{Batch, Ticket, Verb};
use crate::{Address, Error, InboxSender, Settings, Tls};

/// A connection as commands use it. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct Session {
    connection: MultiplexedConnection,
    /// Cancelled once the connection is lost or given up. From then on nothing is delivered and no command waits.
    gone: CancellationToken,
    /// Messages that have arrived.
    arrived: Arc<AtomicU64>,
    /// Written by the driver, read by those who wait for their subscriptions.
    settled: watch::Sender<Settled>,
    command_timeout: Duration,
}

/// How far the connection's subscriptions are.
#[derive(Debug, Default)]
struct Settled {
    /// All changes up to this one are confirmed by Redis.
    through: Ticket,
    /// The changes up to this one, after those above, failed for this reason; it is the end of the connection.
    failed: Option<(Ticket, Error)>,
}

impl Session {
    /// Connects, logs in, names the connection and sees that Redis answers. The error is for people.
    pub(crate) async fn open(settings: &Settings, inbox: &InboxSender) -> Result<Self, String> {
        let limit = settings.timing.connect_timeout;
        let session =
            timeout(limit, Self::connect(settings, inbox)).await.map_err(|_| Error::TimedOut(limit).to_string())??;
        session.set_name(&settings.client_name).await.map_err(|error| error.to_string())?;
        if settings.outlives_others {
            session.outlive_others().await.map_err(|error| error.to_string())?;
        }
        session.ping().await.map_err(|error| error.to_string())?;
        Ok(session)
    }

    async fn connect(settings: &Settings, inbox: &InboxSender) -> Result<Self, String> {
        let gone = CancellationToken::new();
        let arrived = Arc::<AtomicU64>::default();
        let deliverer = Deliverer { inbox: inbox.clone(), gone: gone.clone(), arrived: Arc::clone(&arrived) };
        // Every limit of time is set here, outside the library: its own do not cover all that a command may wait for.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(deliverer);
        let client = client(settings).map_err(|error| error.to_string())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| {
            // Only here the text of the system ("connection refused") says more than that there is no connection.
            if error.is_io_error() { error.to_string() } else { Error::from(error).to_string() }
        })?;
        let command_timeout = settings.timing.command_timeout;
        Ok(Self { connection, gone, arrived, settled: watch::Sender::default(), command_timeout })
    }

    /// Sends the commands in one piece and returns one answer for each, refusals included.
    pub(crate) async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, Error> {
        let answers = self.bounded(self.connection.clone().send_packed_commands(commands, 0, commands.len())).await?;
        // Redis 7.0 writes a message into the midst of the answer to EXEC when the transaction published it to its own
        // connection. From there on each answer would be taken for that of the command before.
        if answers.len() != commands.len() || answers.iter().any(holds_message) {
            self.close();
            return Err(Error::Unexpected("the answers do not fit the commands".into()));
        }
        Ok(answers)
    }

    /// Carries a change of subscriptions out; returns once Redis has confirmed each name.
    pub(crate) async fn change(&self, batch: &Batch) -> Result<(), Error> {
        let (names, mut connection) = (&batch.names, self.connection.clone());
        match batch.verb {
            Verb::Subscribe => self.bounded(connection.subscribe(names)).await,
            Verb::Unsubscribe => self.bounded(connection.unsubscribe(names)).await,
            Verb::Psubscribe => self.bounded(connection.psubscribe(names)).await,
            Verb::Punsubscribe => self.bounded(connection.punsubscribe(names)).await,
        }
    }

    /// Asks whether Redis is there. Any answer will do, since Redis also refuses PING when it can not write to its disk, and
    /// channels work all the same; only a Redis that still loads its data is not there yet.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        match Error::first_in(&self.ask_one("PING", &[]).await?) {
            Some(Error::Refused(text)) if text.starts_with("LOADING") => Err(Error::Refused(text)),
            _ => Ok(()),
        }
    }

    /// How many messages have arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// The name is for people who look at `CLIENT LIST`; a Redis that refuses it serves us as well.
    async fn set_name(&self, name: &str) -> Result<(), Error> {
        if let Some(refusal) = Error::first_in(&self.ask_one("CLIENT", &["SETNAME", name]).await?) {
            tracing::debug!("the connection has no name: {refusal}");
        }
        Ok(())
    }

    /// When `maxmemory-clients` makes Redis close connections, this one stays. A Redis that refuses it serves us as well.
    async fn outlive_others(&self) -> Result<(), Error> {
        if let Some(refusal) = Error::first_in(&self.ask_one("CLIENT", &["NO-EVICT", "ON"]).await?) {
            tracing::debug!("Redis may close this connection for want of memory: {refusal}");
        }
        Ok(())
    }

    async fn ask_one(&self, command: &str, arguments: &[&str]) -> Result<Value, Error> {
        let mut commands = redis::pipe();
        commands.cmd(command).arg(arguments);
        Ok(self.ask(&commands).await?.remove(0))
    }

    /// A command's own limits: the end of the connection, and time.
    async fn bounded<T>(&self, command: impl Future<Output = RedisResult<T>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(Error::Disconnected),
            answer = timeout(self.command_timeout, command) => match answer {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(Error::TimedOut(self.command_timeout)),
            },
        }
    }

    /// Waits until a change of subscriptions is confirmed by Redis.
    pub(crate) async fn settled(&self, ticket: Ticket) -> Result<(), Error> {
        let mut settled = self.settled.subscribe();
        let progress = settled.wait_for(|settled| settled.through >= ticket || settled.failed.is_some());
        tokio::select! {
            biased;
            settled = progress => match settled {
                Ok(settled) if settled.through >= ticket => Ok(()),
                Ok(settled) => match &settled.failed {
                    Some((through, error)) if ticket <= *through => Err(error.clone()),
                    _ => Err(Error::Disconnected),
                },
                Err(_) => Err(Error::Disconnected),
            },
            () = self.gone.cancelled() => Err(Error::Disconnected),
        }
    }

    pub(crate) fn settle(&self, through: Ticket) {
        self.settled.send_modify(|settled| settled.through = through);
    }

    pub(crate) fn fail(&self, through: Ticket, error: Error) {
        self.settled.send_modify(|settled| settled.failed = Some((through, error)));
    }

    /// Gives the connection up: commands under way end at once, and a straggler delivers nothing any more.
    pub(crate) fn close(&self) {
        self.gone.cancel();
    }

    /// Waits until the connection is lost or given up.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

fn holds_message(answer: &Value) -> bool {
    match answer {
        Value::Push { .. } => true,
        Value::Array(answers) => answers.iter().any(holds_message),
        _ => false,
    }
}

fn client(settings: &Settings) -> RedisResult<Client> {
    let info = connection_info(settings)?;
    if !settings.address.is_tls() {
        return Client::open(info);
    }
    // The process may have chosen one before; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Tls { ca, identity } = settings.tls.clone();
    let client_tls = identity.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: ca })
}

fn connection_info(settings: &Settings) -> RedisResult<redis::ConnectionInfo> {
    let mut login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(settings.address.database().into())
        // CLIENT SETINFO is unknown to Redis 7.0 and would only fill the ACL log.
        .set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        // Without a password the library would leave the user name out too, and connect as the default user.
        login = login.set_username(username).set_password("");
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    let address = match &settings.address {
        Address::Tcp { host, port, tls: false, .. } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Tcp { host, port, tls: true, .. } => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Address::Unix { path, .. } => ConnectionAddr::Unix(path.clone()),
    };
    // The ping notices a dead peer sooner. These keep the kernel from holding a socket of ours for minutes, and routers from
    // forgetting it.
    let patience = settings.timing.ping_timeout + settings.timing.command_timeout;
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(patience).with_interval(patience))
        .set_user_timeout(patience);
    Ok(address.into_connection_info()?.set_redis_settings(login).set_tcp_settings(tcp))
}

/// Receives what Redis pushes, on the task that reads the connection: it never waits.
struct Deliverer {
    inbox: InboxSender,
    gone: CancellationToken,
    arrived: Arc<AtomicU64>,
}

impl AsyncPushSender for Deliverer {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        if push.kind == PushKind::Disconnection {
            self.gone.cancel();
        }
        if self.gone.is_cancelled() {
            return Err(SendError);
        }
        let mut data = push.data.into_iter();
        if push.kind == PushKind::PMessage {
            data.next();
        }
        if matches!(push.kind, PushKind::Message | PushKind::PMessage)
            && let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) = (data.next(), data.next())
        {
            // Names of ours are ASCII; one that is not text is passed on mangled, for its reader to refuse and count.
            let channel = String::from_utf8(channel)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            self.arrived.fetch_add(1, Ordering::Relaxed);
            self.inbox.offer(channel, payload);
        }
        Ok(())
    }
}

impl Drop for Deliverer {
    /// The library's task owns this, so the session learns of its end however it came.
    fn drop(&mut self) {
        self.gone.cancel();
    }
}
