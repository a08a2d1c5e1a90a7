//! SQLite as a typical event table: an index for streams and one for tags, and WAL with
//! `synchronous = FULL`, so that each transaction is synced. All threads share one connection,
//! since SQLite has one writer at a time anyway.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use rusqlite::{Connection, Params, Transaction, params};

use gesta_bench::load::{
    engine::{Demand, EVENT_TYPE, Engine, Offer, Part, Reader, Show, Writer},
    workload::ids,
};

const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        revision INTEGER NOT NULL,
        id BLOB NOT NULL,
        type TEXT NOT NULL,
        tag TEXT NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (stream, revision)
    );
    CREATE INDEX IF NOT EXISTS events_by_tag ON events (tag, position);
";
const HEAD: &str = "SELECT coalesce(max(revision) + 1, 0) FROM events WHERE stream = ?1";
const TAGGED: &str = "SELECT count(*) FROM events WHERE tag = ?1 AND position > ?2";
const INSERT: &str = "
    INSERT INTO events (stream, revision, id, type, tag, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
";
const ALL: &str = "SELECT data FROM events ORDER BY position";
/// Upper bound of a category's names: `.` follows `-` in ASCII.
const CATEGORY: &str = "
    SELECT data FROM events WHERE stream >= ?1 || '-' AND stream < ?1 || '.' ORDER BY position
";
const STREAM: &str = "SELECT data FROM events WHERE stream = ?1 ORDER BY revision";
const STREAM_BACK: &str = "
    SELECT data FROM events WHERE stream = ?1 ORDER BY revision DESC LIMIT ?2
";

pub(crate) struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("events.db"))?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Engine for Sqlite {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(SqliteWriter(&self.0)))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(SqliteReader(&self.0)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let connection = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| error.into())
    }
}

struct SqliteWriter<'a>(&'a Mutex<Connection>);

impl Writer for SqliteWriter<'_> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        insert(&transaction, offer)?;
        let position = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(u64::try_from(position)?)
    }
}

fn insert(transaction: &Transaction<'_>, offer: &Offer<'_>) -> Result<()> {
    let (stream, tag) = (offer.stream, offer.tag);
    let mut head = transaction.prepare_cached(HEAD)?;
    let head: i64 = head.query_row([stream], |row| row.get(0))?;
    match offer.demand {
        Demand::Nothing => {}
        Demand::StreamHas(events) => ensure!(i64::try_from(events)? == head, "a conflict"),
        Demand::TagUnusedAfter(position) => {
            let mut tagged = transaction.prepare_cached(TAGGED)?;
            let found: i64 =
                tagged.query_row(params![tag, i64::try_from(position)?], |row| row.get(0))?;
            ensure!(found == 0, "a conflict");
        }
    }
    let mut insert = transaction.prepare_cached(INSERT)?;
    let ids = ids(offer.first_id, offer.payloads.count);
    for ((revision, id), payload) in (head..).zip(ids).zip(offer.payloads.iter()) {
        insert.execute(params![stream, revision, &id.to_be_bytes(), EVENT_TYPE, tag, payload])?;
    }
    Ok(())
}

struct SqliteReader<'a>(&'a Mutex<Connection>);

impl Reader for SqliteReader<'_> {
    fn scan(&mut self, show: Show<'_>) -> Result<u64> {
        self.show_all(ALL, [], show)
    }

    fn category(&mut self, category: &str, show: Show<'_>) -> Result<Option<u64>> {
        self.show_all(CATEGORY, [category], show).map(Some)
    }

    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64> {
        match part {
            Part::Whole => self.show_all(STREAM, [stream], show),
            Part::Last(events) => {
                self.show_all(STREAM_BACK, params![stream, i64::try_from(events)?], show)
            }
        }
    }
}

impl SqliteReader<'_> {
    fn show_all(&self, query: &str, params: impl Params, show: Show<'_>) -> Result<u64> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(params)?;
        let mut events = 0;
        while let Some(row) = rows.next()? {
            show(row.get_ref(0)?.as_blob()?);
            events += 1;
        }
        Ok(events)
    }
}
