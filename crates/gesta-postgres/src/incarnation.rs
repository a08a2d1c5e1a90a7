//! Incarnations of a store in PostgreSQL.
//!
//! Owns: the table of incarnations. A store gets a new one when the history of its server changed:
//! a replica was promoted, or the tables were restored from a backup or a dump. Events that readers
//! have seen may be lost then, so a checkpoint of an earlier incarnation is accepted only up to the
//! last event that was kept from it. The history is identified by the system identifier and the
//! timeline of the server. Not here: checkpoints of consumers.

use gesta_store::{Incarnation, Invalid, Position, StoreError};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{connection::Connection, errors::Failure, number, schema::Schema};

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

const LIST: &str = "SELECT id, first_position FROM {schema}.incarnations ORDER BY ordinal";

impl Incarnations {
    /// Reads the incarnations, after adding one if the server's history changed.
    pub(crate) async fn load(schema: &Schema, connection: &Connection) -> Result<Self, Failure> {
        let primary =
            "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'";
        let rows = connection.query(primary, &[]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            let id = Uuid::new_v4();
            connection.query(&schema.fill(RENEW), &[(&id, Type::UUID)]).await?;
        }
        let rows = connection.query(&schema.fill(LIST), &[]).await?;
        let read = |row: &tokio_postgres::Row| {
            let first: i64 = row.get(1);
            (Incarnation::new(row.get(0)), Position::new(number::from_sql(first)))
        };
        Ok(Self(rows.iter().map(read).collect()))
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
