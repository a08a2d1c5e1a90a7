//! The transaction of a batch of appends, as consumers see it before the commit.
//!
//! Owns: [`OpenAppend`], which lends the committer's connection to one consumer after the other.
//! Invariants: one session of read models uses the connection at a time; a connection whose state
//! is not known is never used for another batch. Not here: the beginning and the end of the
//! transaction ([`append`](crate::append)), and sessions
//! ([`read_models`](crate::read_models)).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use gesta_store::{
    AppendTransaction, DatabaseError, Direction, InlineError, InlineFuture, Position, RecordedEvent,
};
use tokio_postgres::types::Type;

use crate::{
    connection::{Connection, Prepared, Value},
    errors::Failure,
    number::to_sql,
    read::{
        event_rows::{FetchedPage, PAGE_EVENTS_MAX, page_statement},
        source::EVERYTHING,
    },
    schema::Schema,
};

/// Events after a position, as the transaction has them.
type EventsAfter = (Position, Arc<Vec<RecordedEvent>>);

/// A transaction in which a batch was recorded.
#[derive(Debug)]
pub(crate) struct OpenAppend {
    connection: Arc<Connection>,
    schema: Schema,
    /// Last position of the batch.
    head: Position,
    /// The statements of read models on the connection. `None` while a session uses them.
    prepared: Mutex<Option<Prepared>>,
    is_broken: AtomicBool,
    is_lost: AtomicBool,
    /// Most consumers ask for the events after the same position.
    events: tokio::sync::Mutex<Option<EventsAfter>>,
}

impl OpenAppend {
    pub(crate) fn new(schema: Schema, head: Position, prepared: Prepared) -> Self {
        let connection = Arc::clone(&prepared.connection);
        Self {
            connection,
            schema,
            head,
            prepared: Mutex::new(Some(prepared)),
            is_broken: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            events: tokio::sync::Mutex::default(),
        }
    }

    /// Takes the connection for a session. `None` if another one uses it.
    pub(crate) fn take(&self) -> Option<Prepared> {
        self.lock().take()
    }

    /// Returns the connection after a session.
    pub(crate) fn put_back(&self, prepared: Prepared) {
        *self.lock() = Some(prepared);
    }

    /// Notes that a statement has no answer, or has ended the transaction.
    pub(crate) fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::Release);
    }

    /// Notes that the connection broke.
    pub(crate) fn mark_lost(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.mark_broken();
    }

    /// Returns `true` if the state of the connection is known.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_broken.load(Ordering::Acquire) && self.lock().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_after(&self, position: Position) -> Result<Vec<RecordedEvent>, Failure> {
        let statement = self.schema.fill(&page_statement(EVERYTHING, Direction::Forwards));
        let (visible_only, limit) = (true, to_sql(PAGE_EVENTS_MAX));
        let (mut first, last) = (to_sql(position.next().number()), to_sql(self.head.number()));
        let mut events = Vec::new();
        loop {
            let values: [Value<'_>; 4] = [
                (&visible_only, Type::BOOL),
                (&limit, Type::INT8),
                (&first, Type::INT8),
                (&last, Type::INT8),
            ];
            let rows = self.connection.query(&statement, &values).await?;
            let page = FetchedPage::read(&rows, PAGE_EVENTS_MAX).map_err(Failure::Refused)?;
            events.extend(page.events);
            match page.reached.filter(|_| page.cut) {
                Some(reached) => first = to_sql(reached.saturating_add(1)),
                None => return Ok(events),
            }
        }
    }
}

impl AppendTransaction for OpenAppend {
    fn events_after(&self, position: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>> {
        Box::pin(async move {
            let mut known = self.events.lock().await;
            if let Some((after, events)) = &*known
                && *after == position
            {
                return Ok(Arc::clone(events));
            }
            let read = self.read_after(position).await.map_err(|failure| {
                if matches!(failure, Failure::Lost(_)) {
                    self.mark_lost();
                }
                InlineError::Again { reason: failure.of_read().to_string() }
            });
            let events = Arc::new(read?);
            *known = Some((position, Arc::clone(&events)));
            Ok(events)
        })
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }
}

/// Finds the transaction that an event store of this crate has lent.
pub(crate) fn open_append(
    transaction: &Arc<dyn AppendTransaction>,
) -> Result<Arc<OpenAppend>, DatabaseError> {
    let transaction: Arc<dyn std::any::Any + Send + Sync> = Arc::clone(transaction) as _;
    transaction
        .downcast()
        .map_err(|_| DatabaseError::rejected("the append is one of another kind of store"))
}
