//! Connections to the server, and statements on them.
//!
//! Owns: the settings of a session, time limits, and prepared statements. A direct connection
//! prepares each statement once. A transaction pooler gives each transaction another session, so
//! statements through one are unnamed, and session settings do not reach the server. Which of the
//! two is there is found out by the first connection. Not here: the statements.

#![cfg_attr(
    not(feature = "tls"),
    expect(clippy::clone_on_copy, reason = "only without TLS its maker can be copied")
)]

mod pool;
mod prepared;
#[cfg(feature = "tls")]
mod tls;

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use gesta_store::{DatabaseName, StoreError};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Row, Socket, Statement,
    error::SqlState,
    tls::MakeTlsConnect,
    types::{ToSql, Type},
};

#[cfg(feature = "tls")]
use self::tls::{Tls, refused_certificate};
pub(crate) use self::{pool::Pool, prepared::Prepared};
use crate::{
    errors::{Failure, at_server, of_connecting},
    passwords::{self, PasswordOrigin},
    url::{InvalidUrl, PostgresUrl, addresses},
};

/// Without the feature `tls` no connection is encrypted.
#[cfg(not(feature = "tls"))]
use tokio_postgres::NoTls as Tls;

/// A connection whose messages are read by hand.
pub(crate) type RawConnection =
    tokio_postgres::Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// Maximum time to wait for a new connection, with its authentication.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before another connection is tried.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Minimum time to wait for the server's own error after its time for a statement is over.
const ANSWER_GRACE_MIN: Duration = Duration::from_millis(500);

/// A value of a statement, and its type.
pub(crate) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// A look at the server of each new connection, before it is used.
pub(crate) trait Introduction: std::fmt::Debug + Send + Sync {
    fn introduce<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Time limits of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// The server cancels a statement after this time.
    pub(crate) statement: Duration,
    /// Longest wait for an answer. A little longer, so that the server's own error arrives.
    pub(crate) answer: Duration,
    /// Time in which an append is sent again after its connection broke.
    pub(crate) resend: Duration,
    connect: Duration,
}

impl TimeLimits {
    fn of_statement(statement: Duration) -> Self {
        let answer = statement + (statement / 6).max(ANSWER_GRACE_MIN);
        Self { statement, answer, resend: statement / 2, connect: statement.min(CONNECT_TIMEOUT) }
    }
}

/// Makes connections to one database.
#[derive(Debug)]
pub(crate) struct Connector {
    /// With session settings.
    direct: Config,
    /// Without them, for poolers that refuse them.
    plain: Config,
    through_pooler: AtomicBool,
    /// The server's limit, for error texts; 0 before it is known.
    connections_max: AtomicUsize,
    password: PasswordOrigin,
    limits: TimeLimits,
    /// Set once the store is open.
    introduction: OnceLock<Arc<dyn Introduction>>,
    tls: Tls,
    /// The server with its address, for error texts.
    server: Arc<str>,
}

impl Connector {
    /// # Errors
    ///
    /// If the file of certificates that the URL names cannot be read.
    pub(crate) fn new(url: &PostgresUrl) -> Result<Self, InvalidUrl> {
        #[cfg(feature = "tls")]
        let tls = Tls::new(&url.verification)?;
        #[cfg(not(feature = "tls"))]
        let tls = Tls;
        let limits = TimeLimits::of_statement(url.statement_timeout);
        let mut plain = url.config.clone();
        let password = passwords::add_missing(&mut plain);
        if plain.get_application_name().is_none() {
            plain.application_name("gesta");
        }
        if plain.get_connect_timeout().is_none() {
            plain.connect_timeout(limits.connect);
        }
        let mut direct = plain.clone();
        let asked = plain.get_options().unwrap_or_default();
        let millis = limits.statement.as_millis();
        // A wait for a lock ends earlier, so that the error names it.
        let lock_millis = millis * 3 / 4;
        // Sequential scans: plans are kept while tables grow.
        direct.options(format!(
            "{asked} -c statement_timeout={millis} -c lock_timeout={lock_millis} \
             -c idle_in_transaction_session_timeout={millis} \
             -c default_transaction_isolation=read\\ committed -c enable_seqscan=off -c jit=off"
        ));
        let (through_pooler, connections_max) = (AtomicBool::new(false), AtomicUsize::new(0));
        let introduction = OnceLock::new();
        let server = format!("PostgreSQL at {}", addresses(&plain)).into();
        Ok(Self {
            direct,
            plain,
            through_pooler,
            connections_max,
            password,
            limits,
            introduction,
            tls,
            server,
        })
    }

    /// Plans each statement once for a connection, for statements that are made for that. Otherwise
    /// the server plans a read of a large store for each page, which costs more than the read.
    pub(crate) fn with_generic_plans(mut self) -> Self {
        let asked = self.direct.get_options().unwrap_or_default();
        let options = format!("{asked} -c plan_cache_mode=force_generic_plan");
        self.direct.options(options);
        self
    }

    /// Returns the server with its address, for error texts.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn limits(&self) -> TimeLimits {
        self.limits
    }

    /// Looks at the server of each connection from now on.
    pub(crate) fn introduce(&self, introduction: Arc<dyn Introduction>) {
        // The first one stays.
        drop(self.introduction.set(introduction));
    }

    /// Returns `true` if a transaction pooler is in between, as far as it is known.
    pub(crate) fn through_pooler(&self) -> bool {
        self.through_pooler.load(Ordering::Relaxed)
    }

    pub(crate) fn set_through_pooler(&self) {
        self.through_pooler.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_connections_max(&self, connections: usize) {
        self.connections_max.store(connections, Ordering::Relaxed);
    }

    /// Connects. The connection is driven by a task of the current runtime.
    pub(crate) async fn connect(&self) -> Result<Connection, StoreError> {
        match timeout(self.limits.connect, self.negotiate()).await {
            Ok(connected) => {
                let connection = connected?;
                if let Some(introduction) = self.introduction.get() {
                    introduction.introduce(&connection).await.map_err(Failure::of_read)?;
                }
                Ok(connection)
            }
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> StoreError {
        StoreError::unreachable(format!(
            "{}: no connection within {} s; check the address, and the load of the server",
            self.server,
            self.limits.connect.as_secs()
        ))
    }

    async fn negotiate(&self) -> Result<Connection, StoreError> {
        if !self.through_pooler() {
            match self.connect_with(&self.direct).await {
                // A pooler refuses parameters that it cannot carry to each session.
                Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {
                    self.set_through_pooler();
                }
                connected => return connected.map_err(|error| self.refused(error)),
            }
        }
        self.connect_with(&self.plain).await.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: tokio_postgres::Error) -> StoreError {
        at_server(self.refused_by_server(error), &self.server)
    }

    fn refused_by_server(&self, error: tokio_postgres::Error) -> StoreError {
        #[cfg(feature = "tls")]
        if let Some(reason) = refused_certificate(&error) {
            let reason = format!(
                "the certificate of the server is not trusted: {reason}; give its authority by \
                 sslrootcert=FILE, and the host by a name that the certificate has"
            );
            return StoreError::Denied { reason };
        }
        of_connecting(error, self.connections_max.load(Ordering::Relaxed), &self.password)
    }

    async fn connect_with(&self, config: &Config) -> Result<Connection, tokio_postgres::Error> {
        let (client, driver) = config.connect(self.tls.clone()).await?;
        // Its error reaches the statement that waits.
        tokio::spawn(async move { drop(driver.await) });
        let through_pooler = self.through_pooler();
        let answer_timeout = self.limits.answer;
        let (tls, prepared) = (self.tls.clone(), Mutex::default());
        let server = Arc::clone(&self.server);
        Ok(Connection { client, through_pooler, answer_timeout, tls, prepared, server })
    }

    /// Waits for work of any length, for as long as the server answers others.
    ///
    /// # Errors
    ///
    /// That of the work, or [`Failure::late`].
    pub(crate) async fn while_it_answers<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let mut work = pin!(work);
        loop {
            match timeout(self.limits.answer, &mut work).await {
                Ok(done) => {
                    return done.map_err(|error| Failure::of_statement(error).at(&self.server));
                }
                Err(_) => self.probe().await?,
            }
        }
    }

    /// Fails if the server does not answer on a new connection.
    async fn probe(&self) -> Result<(), Failure> {
        match timeout(self.limits.connect, self.negotiate()).await {
            Ok(Ok(connection)) => match connection.execute("SELECT 1").await {
                Err(Failure::Lost(_)) => Err(Failure::late().at(&self.server)),
                Ok(()) | Err(_) => Ok(()),
            },
            Ok(Err(StoreError::Unreachable { .. })) | Err(_) => {
                Err(Failure::late().at(&self.server))
            }
            // A refusal is an answer, such as that of a server without a free connection.
            Ok(Err(_)) => Ok(()),
        }
    }

    /// Connects for notifications, which need a session of their own.
    pub(crate) async fn connect_raw(&self) -> Result<(Client, RawConnection), StoreError> {
        match timeout(self.limits.connect, self.direct.connect(self.tls.clone())).await {
            Ok(connected) => connected.map_err(|error| self.refused(error)),
            Err(_) => Err(self.late()),
        }
    }
}

/// The identity of the server, and the number of the database in it.
const DATABASE: &str = "
SELECT format('postgresql %s/%s', s.system_identifier, d.oid)
  FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()";

/// Returns the database of a connection. `None` if the server does not tell its identity.
pub(crate) async fn database_of(connection: &Connection) -> Option<DatabaseName> {
    let rows = connection.query(DATABASE, &[]).await.ok()?;
    rows.first()?.try_get::<_, String>(0).ok().map(DatabaseName::new)
}

/// A session of the server, which its process id alone does not identify forever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSession {
    process: i32,
    started_micros: i64,
}

const SESSION: &str = "
SELECT a.pid, (extract(epoch FROM a.backend_start) * 1000000)::bigint
  FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()";

/// Ends the session of process $1 that started at $2, and waits at most $3 milliseconds for it.
const END_SESSION: &str = "
SELECT pg_terminate_backend(a.pid, $3) FROM pg_stat_activity a
 WHERE a.pid = $1 AND (extract(epoch FROM a.backend_start) * 1000000)::bigint = $2";

/// A connection and its prepared statements.
pub(crate) struct Connection {
    client: Client,
    through_pooler: bool,
    answer_timeout: Duration,
    tls: Tls,
    /// By text.
    prepared: Mutex<HashMap<String, Statement>>,
    server: Arc<str>,
}

impl Connection {
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the server with its address, for error texts.
    pub(crate) fn server(&self) -> &Arc<str> {
        &self.server
    }

    fn failure(&self, error: tokio_postgres::Error) -> Failure {
        Failure::of_statement(error).at(&self.server)
    }

    /// Returns the driver's client, for statements of users.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the server to cancel the statement that runs.
    pub(crate) async fn cancel(&self) {
        drop(
            timeout(CONNECT_TIMEOUT, self.client.cancel_token().cancel_query(self.tls.clone()))
                .await,
        );
    }

    /// Returns the session, or `None` through a pooler, where each transaction may have another.
    pub(crate) async fn session(&self) -> Result<Option<ServerSession>, Failure> {
        if self.through_pooler {
            return Ok(None);
        }
        let rows = self.query(SESSION, &[]).await?;
        Ok(rows
            .first()
            .map(|row| ServerSession { process: row.get(0), started_micros: row.get(1) }))
    }

    /// Ends another session of the same user, with what it still does. Has no effect if it is gone.
    pub(crate) async fn end_session(&self, session: ServerSession) -> Result<(), Failure> {
        let ServerSession { process, started_micros } = session;
        let wait_millis = i64::try_from((self.answer_timeout / 4).as_millis()).unwrap_or(i64::MAX);
        let values: [Value<'_>; 3] =
            [(&process, Type::INT4), (&started_micros, Type::INT8), (&wait_millis, Type::INT8)];
        self.query(END_SESSION, &values).await.map(drop)
    }

    /// Runs one statement, as a transaction of its own unless one was begun, and returns its rows
    /// after the commit.
    ///
    /// Boxed, because the compiler does not see that the future of a statement can be sent.
    pub(crate) fn query<'a>(
        &'a self,
        text: &'a str,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, Failure>> {
        Box::pin(async move {
            match timeout(self.answer_timeout, self.query_untimed(text, values)).await {
                Ok(rows) => rows.map_err(|error| self.failure(error)),
                Err(_) => {
                    let (cancel, tls) = (self.client.cancel_token(), self.tls.clone());
                    tokio::spawn(async move { drop(cancel.cancel_query(tls).await) });
                    Err(Failure::late().at(&self.server))
                }
            }
        })
    }

    async fn query_untimed(
        &self,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        if self.through_pooler {
            return self.client.query_typed(text, values).await;
        }
        let statement = self.statement(text, values).await?;
        let values: Vec<_> = values.iter().map(|(value, _)| *value).collect();
        self.client.query(&statement, &values).await
    }

    async fn statement(
        &self,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.prepared().get(text) {
            return Ok(known.clone());
        }
        let types: Vec<Type> = values.iter().map(|(_, kind)| kind.clone()).collect();
        let statement = self.client.prepare_typed(text, &types).await?;
        self.prepared().insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<String, Statement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work on the client of this connection, no longer than for an answer.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.answer_timeout, work).await {
            Ok(done) => done.map_err(|error| self.failure(error)),
            Err(_) => Err(Failure::late().at(&self.server)),
        }
    }

    /// Runs statements without values or results.
    pub(crate) async fn execute(&self, text: &str) -> Result<(), Failure> {
        self.in_time(self.client.batch_execute(text)).await
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
