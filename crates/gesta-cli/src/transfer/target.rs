//! A store that is created from the appends of another one, with their positions and times.
//!
//! Invariants: the target is no store before it is finished. An interrupted one continues with what
//! it has. Not here: the store's own writing of appends.

use std::path::PathBuf;

use anyhow::Result;
#[cfg(feature = "postgres")]
use futures_executor::block_on;
use gesta_log::ImportWriter;
#[cfg(feature = "postgres")]
use gesta_postgres::{OpenError, OpenMode, PostgresImport, PostgresStore};
use gesta_store::{Incarnation, Position, RecordedAt, StoredAppend};

#[cfg(feature = "kurrentdb")]
use crate::store_url::no_exact_copy;
#[cfg(feature = "dynamodb")]
use crate::store_url::no_exact_copy_of_dynamo;
use crate::{
    log_url::LogUrl,
    store_url::{StoreUrl, no_memory},
};

/// Events and bytes of a batch, which is one transaction.
#[cfg(feature = "postgres")]
const BATCH_EVENTS_MAX: usize = 4_096;
#[cfg(feature = "postgres")]
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The place where a store can be created.
pub(crate) enum FreePlace {
    Directory(PathBuf, LogUrl),
    #[cfg(feature = "postgres")]
    Postgres(Box<gesta_postgres::PostgresUrl>),
}

/// A store that is being created.
pub(crate) enum TargetStore {
    Log(Box<ImportWriter>, LogUrl),
    #[cfg(feature = "postgres")]
    Postgres {
        import: Box<PostgresImport>,
        batch: Vec<StoredAppend>,
        events: usize,
        bytes: usize,
    },
}

impl FreePlace {
    /// Returns the place behind a URL if it has no events, or only those of an unfinished import.
    pub(crate) fn of(url: &StoreUrl) -> Result<Option<Self>> {
        match url {
            StoreUrl::Log(log) => Ok(log
                .directory_to_import()?
                .map(|directory| Self::Directory(directory.to_owned(), log.clone()))),
            StoreUrl::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => {
                let place = || Self::Postgres(url.clone());
                let opened = PostgresStore::connect_to(url.as_ref().clone(), OpenMode::Existing);
                match block_on(opened) {
                    Err(OpenError::NoStore { .. } | OpenError::UnfinishedCopy { .. }) => {
                        Ok(Some(place()))
                    }
                    Err(error) => Err(error.into()),
                    Ok(store) => {
                        let head = block_on(gesta_store::EventStore::head(&store))?;
                        Ok((head.position == Position::START).then(place))
                    }
                }
            }
            #[cfg(feature = "kurrentdb")]
            StoreUrl::Kurrent(url) => Err(no_exact_copy(url)),
            #[cfg(feature = "dynamodb")]
            StoreUrl::Dynamo(url) => Err(no_exact_copy_of_dynamo(url)),
        }
    }

    /// Begins a store, or continues an unfinished one, with the incarnations and the head of its
    /// source.
    pub(crate) fn begin(
        self,
        incarnations: &[(Incarnation, Position)],
        head: Position,
    ) -> Result<TargetStore> {
        match self {
            Self::Directory(directory, log) => {
                let writer = ImportWriter::begin(&directory, incarnations)?;
                Ok(TargetStore::Log(Box::new(writer), log))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let import = block_on(PostgresImport::begin(*url, incarnations, head))?;
                let import = Box::new(import);
                Ok(TargetStore::Postgres { import, batch: Vec::new(), events: 0, bytes: 0 })
            }
        }
    }
}

impl TargetStore {
    /// Returns the position from which appends have to be pushed.
    pub(crate) fn next(&self) -> Position {
        match self {
            // It compares those that it has.
            Self::Log(..) => Position::START.next(),
            #[cfg(feature = "postgres")]
            Self::Postgres { import, .. } => import.next(),
        }
    }

    /// Adds the next append. Returns `true` if the target had it already.
    pub(crate) fn push(&mut self, append: StoredAppend) -> Result<bool> {
        match self {
            Self::Log(writer, _) => Ok(writer.push(append)?),
            #[cfg(feature = "postgres")]
            Self::Postgres { import, batch, events, bytes } => {
                if batch.is_empty() && append.first < import.next() {
                    return Ok(true);
                }
                *events += append.events.len();
                *bytes += append.events.iter().map(|event| event.data.len()).sum::<usize>();
                batch.push(append);
                if *events >= BATCH_EVENTS_MAX || *bytes >= BATCH_BYTES_MAX {
                    (*events, *bytes) = (0, 0);
                    block_on(import.push(std::mem::take(batch)))?;
                }
                Ok(false)
            }
        }
    }

    /// Makes what was pushed durable, so that a later attempt continues after it.
    pub(crate) fn keep(self) -> Result<()> {
        match self {
            Self::Log(writer, _) => Ok(writer.keep()?),
            #[cfg(feature = "postgres")]
            Self::Postgres { mut import, batch, .. } => Ok(block_on(import.push(batch))?),
        }
    }

    /// Makes the target a store. Returns the last position that it has.
    pub(crate) fn finish(self, last_recorded_at: Option<RecordedAt>) -> Result<Position> {
        match self {
            Self::Log(writer, log) => {
                let report = writer.finish(last_recorded_at)?;
                if log.has_index() {
                    // Builds the index with the ids that the URL lists.
                    drop(log.open_to_append()?);
                }
                Ok(report.end)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres { mut import, batch, .. } => {
                block_on(import.push(batch))?;
                let report = block_on(import.finish())?;
                Ok(report.end)
            }
        }
    }
}
