//! Connections to the server, and statements on them.
//!
//! Owns: the settings of a session, time limits, and prepared statements. A direct connection
//! prepares each statement once. A transaction pooler gives each transaction another session, so
//! statements through one are unnamed, and session settings do not reach the server. Which of the
//! two is there is found out by the first connection. Not here: the statements.

mod pool;

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use gesta_store::StoreError;
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, NoTls, Row, Statement,
    error::SqlState,
    types::{ToSql, Type},
};

pub(crate) use self::pool::Pool;
use crate::{
    errors::{Failure, of_connecting},
    url::PostgresUrl,
};

/// Time after which the server cancels a statement, in milliseconds.
pub(crate) const STATEMENT_MILLIS_MAX: u64 = 30_000;
/// Time to wait for an answer: a little longer, so that the server's own error arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(STATEMENT_MILLIS_MAX + 5_000);
/// Time to wait for a new connection, with its authentication.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a statement is sent again after its connection broke.
pub(crate) const RESEND_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before another connection is tried.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// A value of a statement, and its type.
pub(crate) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

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
}

impl Connector {
    pub(crate) fn new(url: &PostgresUrl) -> Self {
        let mut plain = url.config.clone();
        if plain.get_application_name().is_none() {
            plain.application_name("gesta");
        }
        if plain.get_connect_timeout().is_none() {
            plain.connect_timeout(CONNECT_TIMEOUT);
        }
        let mut direct = plain.clone();
        let asked = plain.get_options().unwrap_or_default();
        // Sequential scans: plans are kept while tables grow.
        direct.options(format!(
            "{asked} -c statement_timeout={STATEMENT_MILLIS_MAX} -c lock_timeout={STATEMENT_MILLIS_MAX} \
             -c idle_in_transaction_session_timeout={STATEMENT_MILLIS_MAX} \
             -c default_transaction_isolation=read\\ committed -c enable_seqscan=off -c jit=off"
        ));
        let (through_pooler, connections_max) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { direct, plain, through_pooler, connections_max }
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
        match timeout(CONNECT_TIMEOUT, self.negotiate()).await {
            Ok(connected) => connected,
            Err(_) => Err(StoreError::unreachable(
                "no connection within 10 s; check the address, and the load of the server",
            )),
        }
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
        of_connecting(error, self.connections_max.load(Ordering::Relaxed))
    }

    async fn connect_with(&self, config: &Config) -> Result<Connection, tokio_postgres::Error> {
        let (client, driver) = config.connect(NoTls).await?;
        // Its error reaches the statement that waits.
        tokio::spawn(async move { drop(driver.await) });
        let through_pooler = self.through_pooler();
        Ok(Connection { client, through_pooler, prepared: Mutex::default() })
    }

    /// Connects for notifications, which need a session of their own.
    pub(crate) async fn connect_raw(
        &self,
    ) -> Result<
        (
            Client,
            tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>,
        ),
        StoreError,
    > {
        match timeout(CONNECT_TIMEOUT, self.direct.connect(NoTls)).await {
            Ok(connected) => connected.map_err(|error| self.refused(error)),
            Err(_) => Err(StoreError::unreachable("no connection within 10 s")),
        }
    }
}

/// A connection and its prepared statements.
pub(crate) struct Connection {
    client: Client,
    through_pooler: bool,
    /// By text.
    prepared: Mutex<HashMap<String, Statement>>,
}

impl Connection {
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the driver's client, for statements of users.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the server to cancel the statement that runs.
    pub(crate) async fn cancel(&self) {
        drop(timeout(CONNECT_TIMEOUT, self.client.cancel_token().cancel_query(NoTls)).await);
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
            match timeout(ANSWER_TIMEOUT, self.query_untimed(text, values)).await {
                Ok(rows) => rows.map_err(Failure::of_statement),
                Err(_) => {
                    let cancel = self.client.cancel_token();
                    tokio::spawn(async move { drop(cancel.cancel_query(NoTls).await) });
                    Err(Failure::late())
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

    /// Runs statements without values or results.
    pub(crate) async fn execute(&self, text: &str) -> Result<(), Failure> {
        match timeout(ANSWER_TIMEOUT, self.client.batch_execute(text)).await {
            Ok(done) => done.map_err(Failure::of_statement),
            Err(_) => Err(Failure::late()),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}
