//! Incarnations of a store in PostgreSQL.
//!
//! Owns: the table of incarnations. A store gets a new one when the history of its server changed:
//! a replica was promoted, or the tables were restored from a backup or a dump. Events that readers
//! have seen may be lost then, so a checkpoint of an earlier incarnation is accepted only up to the
//! last event that was kept from it. The history is identified by the system identifier and the
//! timeline of the server. Each new connection is asked for it, and each batch of appends carries
//! the timeline that the client knows: a server that has since been promoted refuses the batch, so
//! that no event is recorded before its incarnation. Not here: checkpoints of consumers.

use std::sync::{PoisonError, RwLock};

use futures_util::future::BoxFuture;
use gesta_store::{Incarnation, Invalid, Position, StoreError};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    connection::{Connection, Introduction},
    errors::Failure,
    head::{HEAD, KnownHead},
    number,
    schema::Schema,
};

/// The incarnations of the store, and the history of the server that the last one belongs to.
#[derive(Debug)]
pub(crate) struct History {
    schema: Schema,
    head: KnownHead,
    known: RwLock<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    /// `None` on a replica, which has no timeline of its own.
    server: Option<ServerHistory>,
    incarnations: Incarnations,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerHistory {
    system: i64,
    /// As in the names of WAL files: eight hexadecimal digits.
    timeline: String,
}

/// The identity of a server, the timeline that it writes, and whether it takes writes.
const SERVER: &str = "
SELECT s.system_identifier,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
       current_setting('transaction_read_only') = 'off'
  FROM pg_control_system() s";

/// The incarnations of a store, the first one first, each with the position of its first event.
#[derive(Clone, Debug)]
pub(crate) struct Incarnations(Vec<(Incarnation, Position)>);

/// Adds an incarnation if the history is another one than that of the last incarnation.
///
/// The lock of appends keeps the head in place. A replica has no timeline of its own and adds none.
const RENEW: &str = "
INSERT INTO {schema}.incarnations (ordinal, id, first_position, system_identifier, timeline)
SELECT coalesce(max(i.ordinal), 0) + 1, $1,
       (SELECT coalesce(max(e.position), 0) + 1 FROM {schema}.events e), now.system, now.timeline
  FROM (SELECT system_identifier AS system,
               ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint
                   AS timeline
          FROM pg_control_system()) now
  LEFT JOIN {schema}.incarnations i ON true
 GROUP BY now.system, now.timeline
HAVING count(*) FILTER (WHERE i.system_identifier = now.system AND i.timeline = now.timeline) = 0
    ON CONFLICT DO NOTHING";

/// Asks whether the history of the server lacks an incarnation, and whether this user writes: a
/// user who only reads leaves the incarnation to the first one who appends.
const LACKS: &str = "
SELECT NOT EXISTS (
           SELECT 1 FROM {schema}.incarnations i, pg_control_system() s
            WHERE i.system_identifier = s.system_identifier
              AND i.timeline = ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))
                               ::bit(64)::bigint),
       has_table_privilege(format('%I.incarnations', {schema}.own_name()), 'INSERT')
           OR has_table_privilege(format('%I.events', {schema}.own_name()), 'INSERT')";

const LIST: &str = "SELECT id, first_position FROM {schema}.incarnations ORDER BY ordinal";

impl History {
    /// Reads the history, after adding an incarnation if the server has another one.
    pub(crate) async fn load(
        schema: &Schema,
        head: &KnownHead,
        connection: &Connection,
    ) -> Result<Self, Failure> {
        let (server, is_writable) = ServerHistory::of(connection).await?;
        let incarnations = if is_writable {
            Incarnations::renewed(schema, connection).await?
        } else {
            Incarnations::listed(schema, connection).await?
        };
        let known = RwLock::new(Known { server, incarnations });
        Ok(Self { schema: schema.clone(), head: head.clone(), known })
    }

    pub(crate) fn incarnations(&self) -> Incarnations {
        self.known().incarnations.clone()
    }

    /// Returns the timeline on which the client may append.
    pub(crate) fn timeline(&self) -> Option<String> {
        self.known().server.as_ref().map(|server| server.timeline.clone())
    }

    fn known(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the history of the server at the other end, if it is another one than before.
    pub(crate) async fn follow(&self, connection: &Connection) -> Result<(), Failure> {
        let (server, is_writable) = ServerHistory::of(connection).await?;
        if server.is_none() || self.known().server == server || !is_writable {
            return Ok(());
        }
        let incarnations = Incarnations::renewed(&self.schema, connection).await?;
        let rows = connection.query(&self.schema.fill(HEAD), &[]).await?;
        let head: i64 = rows.first().map_or(0, |row| row.get(0));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another connection may have been first.
        if known.server == server {
            return Ok(());
        }
        tracing::warn!(
            incarnation = %incarnations.current(),
            head,
            "the server was promoted or restored: checkpoints beyond the last event that was kept \
             are refused"
        );
        *known = Known { server, incarnations };
        self.head.restart(number::from_sql(head));
        Ok(())
    }
}

impl Introduction for History {
    fn introduce<'a>(&'a self, connection: &'a Connection) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.follow(connection))
    }
}

impl ServerHistory {
    /// Asks a server for its history, and whether it takes writes.
    async fn of(connection: &Connection) -> Result<(Option<Self>, bool), Failure> {
        let rows = connection.query(SERVER, &[]).await?;
        let Some(row) = rows.first() else { return Ok((None, false)) };
        let (system, timeline): (i64, Option<String>) = (row.get(0), row.get(1));
        let is_writable = timeline.is_some() && row.get(2);
        Ok((timeline.map(|timeline| Self { system, timeline }), is_writable))
    }
}

impl Incarnations {
    /// Reads the incarnations, after adding one if the server's history has none. Writes nothing if
    /// it has one, or for a user who may only read.
    pub(crate) async fn renewed(schema: &Schema, connection: &Connection) -> Result<Self, Failure> {
        let rows = connection.query(&schema.fill(LACKS), &[]).await?;
        let (lacks, writes) = rows.first().map_or((true, true), |row| (row.get(0), row.get(1)));
        if lacks && writes {
            let id = Uuid::new_v4();
            connection.query(&schema.fill(RENEW), &[(&id, Type::UUID)]).await?;
        }
        Self::listed(schema, connection).await
    }

    async fn listed(schema: &Schema, connection: &Connection) -> Result<Self, Failure> {
        let rows = connection.query(&schema.fill(LIST), &[]).await?;
        let read = |row: &tokio_postgres::Row| {
            let first: i64 = row.get(1);
            (Incarnation::new(row.get(0)), Position::new(number::from_sql(first)))
        };
        Ok(Self(rows.iter().map(read).collect()))
    }

    pub(crate) fn all(&self) -> &[(Incarnation, Position)] {
        &self.0
    }

    /// Returns the current incarnation.
    pub(crate) fn current(&self) -> Incarnation {
        self.0.last().map_or(Incarnation::new(Uuid::nil()), |(last, _)| *last)
    }

    /// Refuses a position beyond the last event that was kept from an incarnation.
    pub(crate) fn check(
        &self,
        incarnation: Incarnation,
        position: Position,
    ) -> Result<(), StoreError> {
        // The start is common to all incarnations.
        if position == Position::START || incarnation == self.current() {
            return Ok(());
        }
        let known = self.0.iter().position(|(known, _)| *known == incarnation);
        let next = known.and_then(|nth| self.0.get(nth + 1));
        match next {
            Some((_, first)) if position < *first => Ok(()),
            _ => Err(Invalid::OtherIncarnation { position, incarnation }.into()),
        }
    }
}
