//! A store that is read append by append, for an export or a copy.
//!
//! Invariant: the store may be in use. What is read ends at the position that was its head when the
//! source was opened. Not here: the store's own reading of appends.

use std::ops::RangeInclusive;

use anyhow::Result;
#[cfg(feature = "postgres")]
use futures_executor::block_on;
use gesta_log::StoreExport;
#[cfg(feature = "postgres")]
use gesta_postgres::PostgresExport;
use gesta_store::{Incarnation, Position, RecordedAt, StoredAppend};

use super::LOG;
#[cfg(feature = "postgres")]
use super::POSTGRES;
#[cfg(feature = "postgres")]
use crate::store_url::existing;
#[cfg(feature = "kurrentdb")]
use crate::store_url::no_exact_copy;
#[cfg(feature = "dynamodb")]
use crate::store_url::no_exact_copy_of_dynamo;
use crate::store_url::{StoreUrl, no_memory};

/// Appends in the order of their positions.
type Appends<'source> = Box<dyn Iterator<Item = Result<StoredAppend>> + 'source>;

/// A snapshot of a store.
pub(crate) enum Source {
    Log(StoreExport),
    #[cfg(feature = "postgres")]
    Postgres(PostgresExport),
}

impl Source {
    /// Takes a snapshot of an existing store.
    pub(crate) fn open(url: &StoreUrl) -> Result<Self> {
        match url {
            StoreUrl::Log(log) => Ok(Self::Log(StoreExport::of(log.directory()?)?)),
            StoreUrl::Memory => Err(no_memory()),
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => Ok(Self::Postgres(block_on(existing(url)?.export())?)),
            #[cfg(feature = "kurrentdb")]
            StoreUrl::Kurrent(url) => Err(no_exact_copy(url)),
            #[cfg(feature = "dynamodb")]
            StoreUrl::Dynamo(url) => Err(no_exact_copy_of_dynamo(url)),
        }
    }

    /// Returns the kind of the store, as the header of an export names it.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Log(_) => LOG,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => POSTGRES,
        }
    }

    /// Returns the position of the last event.
    pub(crate) fn head(&self) -> Position {
        match self {
            Self::Log(log) => log.head(),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.head(),
        }
    }

    /// Returns each incarnation with the position of its first event.
    pub(crate) fn incarnations(&self) -> &[(Incarnation, Position)] {
        match self {
            Self::Log(log) => log.incarnations(),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.incarnations(),
        }
    }

    /// Returns the recorded time of the last event, even if it was scavenged.
    pub(crate) fn last_recorded_at(&self) -> Result<Option<RecordedAt>> {
        match self {
            Self::Log(log) => Ok(log.last_recorded_at()?),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => Ok(postgres.last_recorded_at()),
        }
    }

    /// Returns positions that are left out, because a process wrote them and did not confirm that
    /// they are durable.
    pub(crate) fn unconfirmed(&self) -> Option<&RangeInclusive<Position>> {
        match self {
            Self::Log(log) => log.unconfirmed(),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// Reads the appends from a position on, which is the first one of an append.
    pub(crate) fn appends_from(&self, first: Position) -> Appends<'_> {
        match self {
            Self::Log(log) => {
                let appends = log.appends().map(|append| Ok(append?));
                Box::new(appends.skip_while(move |append| {
                    append.as_ref().is_ok_and(|append: &StoredAppend| append.first < first)
                }))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => {
                let mut pages = postgres.appends(first);
                let pages = std::iter::from_fn(move || block_on(pages.next()));
                Box::new(pages.flat_map(|page| {
                    let (appends, failed) = match page {
                        Ok(appends) => (appends, None),
                        Err(error) => (Vec::new(), Some(Err(error.into()))),
                    };
                    appends.into_iter().map(Ok).chain(failed)
                }))
            }
        }
    }

    /// Reads all appends.
    pub(crate) fn appends(&self) -> Appends<'_> {
        self.appends_from(Position::START.next())
    }
}
