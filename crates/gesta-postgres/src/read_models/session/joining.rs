//! Sessions within the transaction of an append.
//!
//! Owns: the lock of a read model that takes part in an append, and the checkpoint that is read
//! with it. Invariant: an append continues whether or not the read model takes part. Not here: the
//! statements of the session, and its end.

use std::{sync::Arc, time::Duration};

use gesta_store::{Checkpoint, DatabaseError, Position, ReadModelId};
use tokio_postgres::{SimpleQueryMessage, types::Type};

use super::{OpenSession, Origin, Parameter, Session, is_late};
use crate::{
    append_transaction::OpenAppend,
    number::to_sql,
    read_models::{
        catalogue::checkpoint_in_text, core::ReadModelsCore, errors::is_undefined, replica::Replica,
    },
};

/// Time that an append waits for another transaction on a read model that takes part in it.
const JOIN_TIMEOUT: Duration = Duration::from_millis(250);
/// Time after which the server cancels a statement in the transaction of an append.
const JOINED_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Has a row if build $1 has reached position $2 and takes events without an operator.
const TAKES_EVENTS: &str = "
SELECT 1 FROM {schema}.read_models m JOIN {schema}.checkpoints c ON c.build = m.build
 WHERE m.build = $1 AND m.stage IN ('rebuilding', 'live') AND c.position >= $2
   AND NOT EXISTS (SELECT 1 FROM {schema}.dead_letters d WHERE d.build = m.build)";

impl Session {
    /// Takes part in the transaction of an append. Returns the checkpoint of the read model, too.
    ///
    /// Returns `None` if the read model has not reached `at_least`, has dead letters, takes no
    /// events, or is locked by another transaction. Nothing has changed then, but settings that are
    /// local to the transaction.
    pub(in crate::read_models) async fn join(
        core: Arc<ReadModelsCore>,
        read_model: ReadModelId,
        at_least: Position,
        append: Arc<OpenAppend>,
    ) -> Result<Option<(Self, Option<Checkpoint>)>, DatabaseError> {
        let keeper = core.keeper()?;
        let Some(prepared) = append.take() else {
            return Err(DatabaseError::rejected("another read model has joined the append"));
        };
        core.replica.iter().for_each(Replica::need_primary);
        let origin = Origin::Append(append);
        let open = OpenSession { prepared, origin, turn: None, place: None, keeper };
        let mut session = Self::new(core, read_model, open);
        // Looked at before the lock is asked for: a read model that is being filled is locked by
        // those who fill it, one page after the other.
        if session.takes_events(at_least).await?
            && let Some(checkpoint) = session.lock_within_append().await?
        {
            return Ok(Some((session, checkpoint)));
        }
        session.rollback().await?;
        Ok(None)
    }

    async fn takes_events(&mut self, at_least: Position) -> Result<bool, DatabaseError> {
        let (build, at_least) = (to_sql(self.read_model.build), to_sql(at_least.number()));
        let text = self.core.names.fill(TAKES_EVENTS);
        let values: [(Parameter<'_>, Type); 2] = [(&build, Type::INT8), (&at_least, Type::INT8)];
        Ok(!self.query_own(&text, &values).await?.is_empty())
    }

    /// Locks the read model against other transactions, and returns its checkpoint. Returns `None`
    /// if it is locked by another one, or takes no events any more.
    async fn lock_within_append(&mut self) -> Result<Option<Option<Checkpoint>>, DatabaseError> {
        let Self { schema, mark, .. } = self;
        let (wait, statement) = (JOIN_TIMEOUT.as_millis(), JOINED_STATEMENT_TIMEOUT.as_millis());
        let build = self.read_model.build;
        // The savepoint keeps the append if the lock is not there in time.
        let lock = self.core.names.fill(&format!(
            "SAVEPOINT gesta_join; SET LOCAL search_path = {schema}; \
             SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {wait}; \
             SET LOCAL enable_seqscan = on; SET LOCAL gesta.transaction = '{mark}'; \
             LOCK TABLE {schema}.gesta_build IN SHARE UPDATE EXCLUSIVE MODE; \
             SELECT h.position, h.incarnation \
               FROM {{schema}}.read_models m LEFT JOIN {{schema}}.handled h ON h.build = m.build \
              WHERE m.build = {build} AND m.stage IN ('rebuilding', 'live') \
                AND NOT EXISTS (SELECT 1 FROM {{schema}}.dead_letters d WHERE d.build = m.build); \
             RELEASE SAVEPOINT gesta_join"
        ));
        let locked = self
            .answer(move |prepared| {
                Box::pin(async move {
                    let client = prepared.connection.client();
                    match client.simple_query(&lock).await {
                        Ok(messages) => Ok(Some(messages)),
                        Err(error) if is_undefined(&error) || is_late(&error) => {
                            client.batch_execute("ROLLBACK TO SAVEPOINT gesta_join").await?;
                            Ok(None)
                        }
                        Err(error) => Err(error),
                    }
                })
            })
            .await?;
        let row = locked.iter().flatten().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.map(checkpoint_in_text).transpose()
    }
}
