//! The rows of a commit, written under its version.
//!
//! A row is replaced on the condition that it has the version that was read, and inserted only if
//! it is not there. Both can be repeated by several processes at the same time, as long as they
//! have the same changes. Not here: the version of the read model (`commit.rs`).

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use gesta_store::{ReadModelId, staged::StagedRows};
use mongodb::{
    ClientSession, Collection,
    bson::{Bson, Document, doc},
};

use super::{
    connection::Place,
    fields::{Fields as _, ID, number},
    marks,
    rows::{Cell, RowChange, StoredRow, VERSION},
};
use crate::{client::within, clock, errors::CallError};

/// Rows of one round, and bytes of their new values.
const ROWS_MAX: usize = 500;
const BYTES_MAX: usize = 8 << 20;
/// Rounds until other processes have to be done with the same rows.
const ROUNDS_MAX: u32 = 20;

/// Changed rows that are written together.
type Chunk<'a> = Vec<(&'a str, Option<&'a str>)>;

/// Writes all rows. With a session they are part of its transaction.
pub(super) async fn apply(
    place: &Place,
    id: &ReadModelId,
    (version, changes): (u64, &StagedRows),
    mut session: Option<&mut ClientSession>,
) -> Result<(), CallError> {
    for (area, rows) in changes.areas() {
        marks::ensure(place, id, area).await?;
        let collection = place.rows(id, area);
        let rows = rows.iter().map(|(key, json)| (key.as_str(), json.as_deref()));
        for chunk in chunks(rows) {
            let target = Target { place, collection: &collection, version };
            target.write(&chunk, session.as_deref_mut()).await?;
        }
    }
    Ok(())
}

fn chunks<'a>(rows: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> Vec<Chunk<'a>> {
    let mut chunks: Vec<Chunk<'a>> = Vec::new();
    let mut bytes = 0;
    for (key, json) in rows {
        bytes += key.len() + json.map_or(0, str::len);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < ROWS_MAX && bytes <= BYTES_MAX => chunk.push((key, json)),
            _ => {
                bytes = key.len() + json.map_or(0, str::len);
                chunks.push(vec![(key, json)]);
            }
        }
    }
    chunks
}

/// The collection that rows are written to, and their version.
struct Target<'a> {
    place: &'a Place,
    collection: &'a Collection<Document>,
    version: u64,
}

/// The documents of a round.
#[derive(Default)]
struct Round {
    inserted: Vec<Document>,
    /// Documents with the version that they replace.
    replaced: Vec<(u64, Document)>,
}

impl Target<'_> {
    /// Writes rows until each has this version or a later one.
    async fn write(
        &self,
        chunk: &Chunk<'_>,
        mut session: Option<&mut ClientSession>,
    ) -> Result<(), CallError> {
        for _ in 0..ROUNDS_MAX {
            let keys: Vec<&str> = chunk.iter().map(|(key, _)| *key).collect();
            let stored = self.stored(&keys, session.as_deref_mut()).await?;
            if stored.is_empty() {
                // An insertion would create a collection that another program has dropped.
                marks::require(self.place, self.collection.name()).await?;
            }
            let round = self.plan(chunk, stored)?;
            let is_done = self.write_round(round, session.as_deref_mut()).await?;
            if is_done {
                return Ok(());
            }
            // The server gives such a transaction up.
            if session.is_some() {
                return Err(CallError::Overtaken);
            }
        }
        let reason = "other processes write the same rows all the time; the batch stays decided";
        Err(CallError::Unreachable(reason.to_owned()))
    }

    async fn stored(
        &self,
        keys: &[&str],
        session: Option<&mut ClientSession>,
    ) -> Result<HashMap<String, StoredRow>, CallError> {
        let filter = match keys {
            [key] => doc! { ID: *key },
            keys => doc! { ID: { "$in": keys } },
        };
        let find = self.collection.find(filter);
        let documents: Vec<Document> = within(async {
            match session {
                None => find.await?.try_collect().await,
                Some(session) => {
                    let mut cursor = find.session(&mut *session).await?;
                    cursor.stream(session).try_collect().await
                }
            }
        })
        .await?;
        let rows = documents.iter().map(|document| {
            let row = StoredRow::parse(document)?;
            Ok((row.key.clone(), row))
        });
        rows.collect()
    }

    fn plan(
        &self,
        chunk: &Chunk<'_>,
        mut stored: HashMap<String, StoredRow>,
    ) -> Result<Round, CallError> {
        let mut round = Round::default();
        let now_seconds = clock::epoch_seconds();
        for (key, json) in chunk {
            let cell = json.map(|json| Cell::of(json, self.place.deployment)).transpose()?;
            let change = RowChange { key, cell, version: self.version, now_seconds };
            let row = stored.remove(*key);
            let replaces = row.as_ref().map(|row| row.version);
            let Some(document) = change.on(row) else { continue };
            match replaces {
                Some(version) => round.replaced.push((version, document)),
                None => round.inserted.push(document),
            }
        }
        Ok(round)
    }

    /// Returns `false` if another process has changed one of the rows in the meantime.
    async fn write_round(
        &self,
        round: Round,
        mut session: Option<&mut ClientSession>,
    ) -> Result<bool, CallError> {
        let mut is_done = true;
        if !round.inserted.is_empty() {
            let insert = self.collection.insert_many(round.inserted);
            let inserted = match session.as_deref_mut() {
                None => within(insert.ordered(false)).await,
                Some(session) => within(insert.session(session)).await,
            };
            match inserted {
                Ok(_) => {}
                Err(CallError::Duplicate) if session.is_none() => is_done = false,
                Err(error) => return Err(error),
            }
        }
        let at_once = self.place.deployment.replacements_max;
        for updates in updates(round.replaced, at_once) {
            let count = updates.len() as u64;
            let matched = self.update(updates, session.as_deref_mut()).await?;
            is_done &= matched == count;
        }
        Ok(is_done)
    }

    /// Replaces documents by one command. Returns the number of those that met their conditions.
    async fn update(
        &self,
        updates: Vec<Bson>,
        session: Option<&mut ClientSession>,
    ) -> Result<u64, CallError> {
        let mut command = doc! { "update": self.collection.name(), "updates": updates };
        if session.is_none() {
            command.insert("writeConcern", doc! { "w": "majority" });
        }
        let run = self.place.database.run_command(command);
        let reply = match session {
            None => within(run).await?,
            Some(session) => within(run.session(session)).await?,
        };
        for field in ["writeErrors", "writeConcernError"] {
            if let Some(error) = reply.get(field) {
                let reason = format!("a row could not be written: {error}");
                return Err(CallError::Unreachable(reason));
            }
        }
        reply.number("n")
    }
}

/// Replacements as commands take them: groups of at most this many that fit into a message.
fn updates(replaced: Vec<(u64, Document)>, at_once: usize) -> Vec<Vec<Bson>> {
    let mut groups: Vec<Vec<Bson>> = Vec::new();
    let mut bytes = 0;
    for (version, document) in replaced {
        let size = document.to_vec().map_or(BYTES_MAX, |encoded| encoded.len());
        bytes += size;
        let condition = doc! { ID: document.get(ID), VERSION: number(version) };
        let update = Bson::Document(doc! { "q": condition, "u": document });
        match groups.last_mut() {
            Some(group) if group.len() < at_once && bytes <= BYTES_MAX => group.push(update),
            _ => {
                bytes = size;
                groups.push(vec![update]);
            }
        }
    }
    groups
}
