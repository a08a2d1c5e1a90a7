//! A connection with an open transaction on one read model.
//!
//! Owns: the beginning and the end of the transaction, its statements, and their time limits. A
//! session is used on any thread: the driver of the connection and the timer run on the thread of
//! the store. Dropping a session rolls back there, and no caller waits for it. Not here: the
//! statements of a transaction or reader.

mod joining;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gesta_store::{DatabaseError, ReadModelId};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, Sleep, timeout},
};
use tokio_postgres::{
    CopyInSink, Row, SimpleQueryMessage, Statement,
    error::{Severity, SqlState},
    types::{ToSql, Type},
};

use super::{
    core::{Purpose, ReadModelsCore, Server, TURN_TIMEOUT, Turn, late_turn},
    errors::{at_server, is_undefined, of_statement},
    replica::LogPosition,
};
use crate::{
    append_transaction::OpenAppend, connection::Prepared, errors::NO_ANSWER, schema_name::quoted,
};

/// Time after which the server cancels a statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to wait for an answer: a little longer, so that the server's own error arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Time after which the server ends a transaction whose process says nothing. A process that was
/// stopped keeps others from the read model for as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a reader, which delays only the removal of dropped rows.
const IDLE_READER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to wait for a rollback, before the connection is closed instead.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A value of a statement: a reference to any value that the driver can send.
///
/// ```
/// use gesta_postgres::Parameter;
///
/// let row: [Parameter<'_>; 2] = [&7_i64, &"Ann"];
/// assert_eq!(row.len(), 2);
/// ```
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A connection with an open transaction on one read model.
pub(super) struct Session {
    pub(super) core: Arc<ReadModelsCore>,
    pub(super) read_model: ReadModelId,
    /// The read model's schema, quoted.
    pub(super) schema: String,
    /// `None` after the end, and while the session is dropped.
    open: Option<OpenSession>,
    time_limit: Pin<Box<Sleep>>,
    state: SessionState,
    /// Identifies the transaction, to notice that a statement has ended it.
    mark: String,
    /// No statement was sent since the mark was last seen.
    is_checked: bool,
}

struct OpenSession {
    prepared: Prepared,
    origin: Origin,
    // Released in this order, after the transaction has ended.
    turn: Option<Turn>,
    place: Option<OwnedSemaphorePermit>,
    keeper: mpsc::Sender<()>,
}

/// The origin of a connection, which gets it back.
enum Origin {
    Server(Server),
    /// The transaction is an append's, which commits or rolls back.
    Append(Arc<OpenAppend>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Ready,
    /// A statement has no answer yet. If it stays so, its future was dropped.
    Waiting,
    /// The connection broke, or no answer came in time.
    Broken,
    /// A statement has ended the transaction.
    Ended,
}

/// The failed beginning of a session, which may be repeated on another connection or not.
enum Begin {
    Again(DatabaseError),
    Failed(DatabaseError),
}

impl Session {
    /// Begins a transaction. Runs on the thread of the store.
    pub(super) async fn begin(
        core: Arc<ReadModelsCore>,
        read_model: ReadModelId,
        purpose: Purpose,
    ) -> Result<Self, DatabaseError> {
        if purpose == Purpose::Read
            && let Some(session) = Self::begin_on_replica(&core, &read_model).await?
        {
            return Ok(session);
        }
        let keeper = core.keeper()?;
        let turn = core.turn(&read_model, purpose).await?;
        let place = Some(core.place(purpose).await?);
        let idle = core.idle_connection();
        let was_idle = idle.is_some();
        let prepared = match idle {
            Some(prepared) => prepared,
            None => core.new_connection().await?,
        };
        let origin = Origin::Server(Server::Primary);
        let open = OpenSession { prepared, origin, turn, place, keeper };
        let mut session = Self::new(core, read_model, open);
        match session.start(purpose).await {
            Ok(()) => Ok(session),
            // An idle connection may have broken unnoticed.
            Err(Begin::Again(_)) if was_idle => {
                let fresh = session.core.new_connection().await?;
                if let Some(open) = &mut session.open {
                    open.prepared = fresh;
                }
                session.state = SessionState::Ready;
                session.start(purpose).await.map(|()| session).map_err(Begin::into_error)
            }
            Err(error) => Err(error.into_error()),
        }
    }

    fn new(core: Arc<ReadModelsCore>, read_model: ReadModelId, open: OpenSession) -> Self {
        // The timer runs on the thread of the store.
        let runtime = core.worker.handle().clone();
        let _entered = runtime.enter();
        Self {
            schema: quoted(&core.names.schema_of(&read_model)),
            core,
            read_model,
            open: Some(open),
            time_limit: Box::pin(tokio::time::sleep(ANSWER_TIMEOUT)),
            state: SessionState::Ready,
            mark: uuid::Uuid::new_v4().simple().to_string(),
            is_checked: false,
        }
    }

    /// Begins a reader on the replica. Returns `None` if there is none that can be used.
    async fn begin_on_replica(
        core: &Arc<ReadModelsCore>,
        read_model: &ReadModelId,
    ) -> Result<Option<Self>, DatabaseError> {
        let Some(replica) = &core.replica else { return Ok(None) };
        let keeper = core.keeper()?;
        let place = Some(core.place(Purpose::Read).await?);
        let (needed, primary) = match core.log_position().await {
            Ok(written) => (written, None),
            Err(error @ DatabaseError::Unavailable { .. }) => match replica.without_primary() {
                // Nothing later can have been seen, whatever the primary has beyond it.
                Some(seen) => (seen, Some(error)),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let prepared = match replica.caught_up(needed).await {
            Ok(prepared) => prepared,
            Err(error) => {
                replica.note_failure(&error);
                return Ok(None);
            }
        };
        let origin = Origin::Server(Server::Replica);
        let open = OpenSession { prepared, origin, turn: None, place, keeper };
        let mut session = Self::new(Arc::clone(core), read_model.clone(), open);
        match session.start(Purpose::Read).await.map_err(Begin::into_error) {
            Ok(()) => {
                replica.note_use(primary.as_ref());
                Ok(Some(session))
            }
            // The primary finds out whether it is true.
            Err(DatabaseError::Missing { .. }) => Ok(None),
            Err(error) => {
                replica.note_failure(&error);
                Ok(None)
            }
        }
    }

    async fn start(&mut self, purpose: Purpose) -> Result<(), Begin> {
        let begin = self.beginning(purpose);
        let (open, limit) = self.parts().map_err(Begin::Failed)?;
        let client = open.prepared.connection.client();
        let begun = limited(limit, client.simple_query(&begin)).await;
        let messages = match begun {
            Some(Ok(messages)) => messages,
            Some(Err(error)) if is_undefined(&error) => {
                return Err(Begin::Failed(self.absent().await));
            }
            Some(Err(error)) if error.as_db_error().is_none() => {
                self.state = SessionState::Broken;
                return Err(Begin::Again(self.at_server(of_statement(error))));
            }
            Some(Err(error)) => {
                let writes = matches!(purpose, Purpose::Write | Purpose::WritePartition);
                let late = is_late(&error) && writes;
                return Err(match self.at_server(of_statement(error)) {
                    _ if late => Begin::Failed(self.at_server(late_turn(&self.read_model))),
                    // A session that the server ended while it was idle.
                    error @ DatabaseError::Unavailable { .. } => Begin::Again(error),
                    error => Begin::Failed(error),
                });
            }
            None => {
                self.state = SessionState::Broken;
                return Err(Begin::Failed(self.at_server(no_answer())));
            }
        };
        let is_there = messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
        match is_there {
            true => Ok(()),
            false => {
                let read_model = self.read_model.clone();
                Err(Begin::Failed(DatabaseError::Missing { read_model }))
            }
        }
    }

    /// The statements that begin the transaction. The last one has a row if the read model exists.
    fn beginning(&self, purpose: Purpose) -> String {
        let Self { schema, mark, .. } = self;
        let statement = STATEMENT_TIMEOUT.as_millis();
        // Rows can be derived again, so a commit need not wait for the disk. With a replica it is
        // written at once, so that it reaches the replica at once.
        let commit = match self.core.replica {
            Some(_) => "SET LOCAL synchronous_commit = local;",
            None => "SET LOCAL synchronous_commit = off;",
        };
        let (begin, settings, lock, idle) = match purpose {
            // The lock is taken before the first snapshot, so statements see what was committed
            // before.
            Purpose::Write => (
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
                commit,
                "SHARE UPDATE EXCLUSIVE",
                IDLE_TIMEOUT,
            ),
            // Excludes transactions on the whole, and not other partitions. Two that change one
            // row, each from what it has read, would lose a change: at this isolation level the
            // server refuses the second one, which is repeated.
            Purpose::WritePartition => {
                ("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE", commit, "SHARE", IDLE_TIMEOUT)
            }
            Purpose::Maintain => (
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
                "",
                "ACCESS SHARE",
                IDLE_TIMEOUT,
            ),
            Purpose::Read => (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                "",
                "ACCESS SHARE",
                IDLE_READER_TIMEOUT,
            ),
        };
        let (wait, idle) = (TURN_TIMEOUT.as_millis(), idle.as_millis());
        let build = self.read_model.build;
        let text = format!(
            "{begin}; SET LOCAL search_path = {schema}; SET LOCAL statement_timeout = {statement}; \
             SET LOCAL lock_timeout = {wait}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle}; \
             SET LOCAL enable_seqscan = on; SET LOCAL gesta.transaction = '{mark}'; {settings} \
             LOCK TABLE {schema}.gesta_build IN {lock} MODE; \
             SELECT m.build FROM {{schema}}.read_models m WHERE m.build = {build} \
             AND m.stage IN ('rebuilding', 'live', 'retired')"
        );
        self.core.names.fill(&text)
    }

    /// Returns why the tables of the read model are not there: it was dropped, or they are gone.
    async fn absent(&self) -> DatabaseError {
        let listed = super::catalogue::exists(&self.core, &self.read_model).await;
        let read_model = self.read_model.clone();
        match listed {
            Ok(false) => DatabaseError::Missing { read_model },
            Ok(true) => {
                let reason = format!(
                    "read model {read_model}: the schema {} or its tables are gone; rebuild the \
                     projection",
                    self.schema
                );
                self.at_server(DatabaseError::Corrupt { reason, source: None })
            }
            Err(error) => error,
        }
    }

    fn parts(&mut self) -> Result<(&mut OpenSession, &mut Pin<Box<Sleep>>), DatabaseError> {
        match self.state {
            SessionState::Ready => {}
            SessionState::Waiting => {
                return Err(DatabaseError::rejected(
                    "the last statement was abandoned before it ended; begin another transaction",
                ));
            }
            SessionState::Ended => {
                return Err(DatabaseError::rejected(
                    "a statement ended the projection's transaction",
                ));
            }
            SessionState::Broken => {
                return Err(DatabaseError::unavailable("the connection of the transaction broke"));
            }
        }
        match &mut self.open {
            Some(open) => Ok((open, &mut self.time_limit)),
            None => Err(DatabaseError::rejected("the transaction has ended")),
        }
    }

    /// Waits for the answer of a statement.
    async fn answer<'a, T>(
        &'a mut self,
        send: impl FnOnce(&'a mut Prepared) -> BoxFuture<'a, Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        self.parts()?;
        self.state = SessionState::Waiting;
        self.is_checked = false;
        let Self { open, time_limit, state, .. } = self;
        let Some(open) = open else {
            return Err(DatabaseError::rejected("the transaction has ended"));
        };
        let server = Arc::clone(open.prepared.connection.server());
        let answered = limited(time_limit, send(&mut open.prepared)).await;
        match answered {
            Some(answer) => {
                let is_lost = answer.as_ref().is_err_and(is_of_connection);
                let answer = answer.map_err(|error| at_server(of_statement(error), &server));
                let is_unavailable = matches!(answer, Err(DatabaseError::Unavailable { .. }));
                let is_broken = match &open.origin {
                    Origin::Server(_) => is_unavailable,
                    Origin::Append(append) if is_lost && is_unavailable => {
                        append.mark_lost();
                        true
                    }
                    // The append rolls back.
                    Origin::Append(_) => false,
                };
                *state = if is_broken { SessionState::Broken } else { SessionState::Ready };
                answer
            }
            None => {
                *state = SessionState::Broken;
                Err(at_server(no_answer(), &server))
            }
        }
    }

    /// Runs a statement of this crate, whose parameters have these types, and returns its rows.
    pub(super) fn query_own<'a>(
        &'a mut self,
        text: &'a str,
        values: &'a [(Parameter<'a>, Type)],
    ) -> BoxFuture<'a, Result<Vec<Row>, DatabaseError>> {
        let build = self.read_model.build;
        Box::pin(self.answer(move |prepared| {
            Box::pin(async move {
                let types: Vec<Type> = values.iter().map(|(_, kind)| kind.clone()).collect();
                let statement = prepare(prepared, build, text, &types).await?;
                let values: Vec<_> = values.iter().map(|(value, _)| *value).collect();
                prepared.connection.client().query(&statement, &values).await
            })
        }))
    }

    /// Runs a statement and returns its rows.
    pub(super) fn query<'a>(
        &'a mut self,
        text: &'a str,
        values: &'a [Parameter<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, DatabaseError>> {
        let build = self.read_model.build;
        Box::pin(async move {
            refuse_end(text)?;
            let send = move |prepared: &'a mut Prepared| -> BoxFuture<'a, _> {
                Box::pin(async move {
                    let statement = prepare(prepared, build, text, &[]).await?;
                    prepared.connection.client().query(&statement, values).await
                })
            };
            self.answer(send).await
        })
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn read<T>(
        &mut self,
        text: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Vec<T>, DatabaseError> {
        let rows = self.query(text, values).await?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(of_statement)
    }

    /// Runs a statement and reads its first row.
    pub(super) async fn find<T>(
        &mut self,
        text: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Option<T>, DatabaseError> {
        let rows = self.query(text, values).await?;
        rows.first().map(read).transpose().map_err(of_statement)
    }

    /// Runs a statement and returns the number of changed rows.
    pub(super) fn execute<'a>(
        &'a mut self,
        text: &'a str,
        values: &'a [Parameter<'a>],
    ) -> BoxFuture<'a, Result<u64, DatabaseError>> {
        let build = self.read_model.build;
        Box::pin(async move {
            refuse_end(text)?;
            let send = move |prepared: &'a mut Prepared| -> BoxFuture<'a, _> {
                Box::pin(async move {
                    let statement = prepare(prepared, build, text, &[]).await?;
                    prepared.connection.client().execute(&statement, values).await
                })
            };
            self.answer(send).await
        })
    }

    /// Runs a statement once for each set of values, without waiting for one answer before the next
    /// one is sent.
    pub(super) fn execute_each<'a>(
        &'a mut self,
        text: &'a str,
        sets: &'a [&'a [Parameter<'a>]],
    ) -> BoxFuture<'a, Result<u64, DatabaseError>> {
        let build = self.read_model.build;
        Box::pin(async move {
            refuse_end(text)?;
            let send = move |prepared: &'a mut Prepared| -> BoxFuture<'a, _> {
                Box::pin(async move {
                    let statement = prepare(prepared, build, text, &[]).await?;
                    let client = prepared.connection.client();
                    let all = sets.iter().map(|values| client.execute(&statement, values));
                    let changed = futures_util::future::try_join_all(all).await?;
                    Ok(changed.iter().sum())
                })
            };
            self.answer(send).await
        })
    }

    /// Runs several statements without values. Notices if one of them ended the transaction.
    pub(super) async fn batch_execute(&mut self, text: &str) -> Result<(), DatabaseError> {
        let text = text.to_owned();
        self.answer(move |prepared| {
            // The statements may change the columns of tables that prepared ones read.
            prepared.forget();
            Box::pin(async move { prepared.connection.client().batch_execute(&text).await })
        })
        .await?;
        self.check_open().await
    }

    /// Checks that the transaction is still the one that was begun.
    pub(super) async fn check_open(&mut self) -> Result<(), DatabaseError> {
        let check = "SELECT coalesce(current_setting('gesta.transaction', true), '')";
        let rows = self.query_own(check, &[]).await?;
        let mark = rows.first().and_then(|row| row.try_get::<_, &str>(0).ok());
        self.check_mark(mark.unwrap_or_default())
    }

    /// Returns the setting that the transaction has until its end.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Checks that the mark is that of the transaction that was begun.
    pub(super) fn check_mark(&mut self, mark: &str) -> Result<(), DatabaseError> {
        if mark != self.mark {
            self.state = SessionState::Ended;
            return Err(DatabaseError::rejected("a statement ended the projection's transaction"));
        }
        self.is_checked = true;
        Ok(())
    }

    /// Returns the types of the columns of a query without values.
    pub(super) async fn types_of(&mut self, query: &str) -> Result<Vec<Type>, DatabaseError> {
        let (build, query) = (self.read_model.build, query.to_owned());
        let statement = self
            .answer(move |prepared| {
                Box::pin(async move { prepare(prepared, build, &query, &[]).await })
            })
            .await?;
        Ok(statement.columns().iter().map(|column| column.type_().clone()).collect())
    }

    /// Begins a `COPY`. Until [`end_copy`](Self::end_copy), the session takes no other statement.
    pub(super) async fn begin_copy(
        &mut self,
        text: &str,
    ) -> Result<CopyInSink<Bytes>, DatabaseError> {
        let (build, text) = (self.read_model.build, text.to_owned());
        let sink = self
            .answer(move |prepared| {
                Box::pin(async move {
                    let statement = prepare(prepared, build, &text, &[]).await?;
                    prepared.connection.client().copy_in(&statement).await
                })
            })
            .await?;
        self.state = SessionState::Waiting;
        Ok(sink)
    }

    fn at_server(&self, error: DatabaseError) -> DatabaseError {
        match &self.open {
            Some(open) => at_server(error, open.prepared.connection.server()),
            None => error,
        }
    }

    /// Waits for a step of a `COPY`.
    pub(super) async fn copy_step<T>(
        &mut self,
        step: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        let answered = limited(&mut self.time_limit, step).await;
        let answer = answered.ok_or_else(no_answer).and_then(|it| it.map_err(of_statement));
        answer.map_err(|error| self.at_server(error))
    }

    /// Admits further statements after a `COPY`.
    pub(super) fn end_copy(&mut self) {
        self.state = SessionState::Ready;
    }

    /// Commits, unless the transaction is an append's. The error of a failed statement of the
    /// transaction shows here, too.
    pub(super) async fn commit(mut self) -> Result<(), DatabaseError> {
        if matches!(&self.open, Some(OpenSession { origin: Origin::Append(_), .. })) {
            if !self.is_checked {
                self.check_open().await?;
            }
            return self.rollback().await;
        }
        let through_pooler = self.core.through_pooler();
        // The query refuses in a transaction that has failed, where a commit would answer as if
        // nothing were wrong.
        let commit = match &self.core.replica {
            // A query may wait for this commit, and then be answered by the replica alone.
            Some(_) => {
                "SELECT current_setting('gesta.transaction', true); COMMIT; \
                 SELECT pg_current_wal_insert_lsn()::text"
            }
            None => "SELECT current_setting('gesta.transaction', true); COMMIT",
        };
        let committed = self
            .answer(move |prepared| {
                if through_pooler {
                    // The next transaction may have another session, which does not know them.
                    prepared.forget();
                }
                Box::pin(async move { prepared.connection.client().simple_query(commit).await })
            })
            .await?;
        let mut texts = committed.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let (mark, written) = (texts.next(), texts.next().and_then(LogPosition::parse));
        if let (Some(replica), Some(written)) = (&self.core.replica, written) {
            replica.has_seen(written);
        }
        let is_own = mark == Some(self.mark.as_str());
        if let Some(OpenSession { prepared, origin, turn, place, keeper }) = self.open.take() {
            origin.put_back(&self.core, prepared);
            drop((turn, place, keeper));
        }
        if !is_own {
            return Err(DatabaseError::rejected("a statement ended the projection's transaction"));
        }
        Ok(())
    }

    /// Rolls back and waits for it. The transaction of an append stays as it is.
    pub(super) async fn rollback(mut self) -> Result<(), DatabaseError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let open = match leave_append(open, self.state) {
            Some(open) => open,
            None => return Ok(()),
        };
        let (core, state) = (Arc::clone(&self.core), self.state);
        // On the thread of the store, where it ends also without a caller that waits.
        let ended = self.core.worker.handle().spawn(release(core, open, state));
        // Failure closes the connection, which rolls back, too.
        drop(ended.await);
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("read_model", &self.read_model).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let open = self.open.take().and_then(|open| leave_append(open, self.state));
        if let Some(open) = open {
            let core = Arc::clone(&self.core);
            self.core.detach(release(core, open, self.state));
        }
    }
}

impl Origin {
    fn put_back(self, core: &ReadModelsCore, prepared: Prepared) {
        match self {
            Self::Server(server) => core.put_back(prepared, server),
            Self::Append(append) => append.put_back(prepared),
        }
    }
}

/// Returns the connection of a joined session to the append. Returns any other session.
fn leave_append(open: OpenSession, state: SessionState) -> Option<OpenSession> {
    let append = match &open.origin {
        Origin::Server(_) => return Some(open),
        Origin::Append(append) => Arc::clone(append),
    };
    match state {
        SessionState::Ready => append.put_back(open.prepared),
        SessionState::Waiting | SessionState::Broken | SessionState::Ended => append.mark_broken(),
    }
    None
}

impl Begin {
    fn into_error(self) -> DatabaseError {
        match self {
            Self::Again(error) | Self::Failed(error) => error,
        }
    }
}

/// Ends the transaction of a session, and returns its connection if that succeeds.
async fn release(core: Arc<ReadModelsCore>, open: OpenSession, state: SessionState) {
    let OpenSession { mut prepared, origin, turn, place, keeper } = open;
    if state != SessionState::Broken {
        if state == SessionState::Waiting {
            prepared.connection.cancel().await;
            prepared.forget();
        }
        if core.through_pooler() {
            prepared.forget();
        }
        let rollback = prepared.connection.client().batch_execute("ROLLBACK");
        if let Ok(Ok(())) = timeout(ROLLBACK_TIMEOUT, rollback).await {
            origin.put_back(&core, prepared);
        }
    }
    drop((turn, place));
    // Last: the thread may end now.
    drop((core, keeper));
}

/// Prepares a statement, unless it is known.
async fn prepare(
    prepared: &mut Prepared,
    build: u64,
    text: &str,
    types: &[Type],
) -> Result<Statement, tokio_postgres::Error> {
    if let Some(known) = prepared.statement(build, text) {
        return Ok(known);
    }
    let statement = prepared.connection.client().prepare_typed(text, types).await?;
    prepared.keep(build, text, statement.clone());
    Ok(statement)
}

/// Waits for a future, or returns `None` when its time is over.
async fn limited<T>(limit: &mut Pin<Box<Sleep>>, future: impl Future<Output = T>) -> Option<T> {
    limit.as_mut().reset(Instant::now() + ANSWER_TIMEOUT);
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
            return std::task::Poll::Ready(Some(output));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Returns `true` if the server ended the connection, or gave no answer.
fn is_of_connection(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|refusal| refusal.parsed_severity() != Some(Severity::Error))
}

/// Returns `true` if a lock was not there in time.
fn is_late(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn no_answer() -> DatabaseError {
    DatabaseError::unavailable(NO_ANSWER)
}

/// Refuses a statement that ends the transaction. A prepared text has one statement.
fn refuse_end(text: &str) -> Result<(), DatabaseError> {
    let mut words = text.split_ascii_whitespace().map(|word| word.trim_end_matches(';'));
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is = |word: &str, expected: &[&str]| expected.iter().any(|e| word.eq_ignore_ascii_case(e));
    let ends = is(first, &["commit", "end", "abort"])
        || is(first, &["prepare"]) && is(second, &["transaction"])
        || is(first, &["rollback"]) && !is(second, &["to"]);
    if ends {
        return Err(DatabaseError::rejected(format!(
            "`{first}` would end the projection's transaction, which the framework commits with \
             the checkpoint; use savepoints"
        )));
    }
    Ok(())
}
