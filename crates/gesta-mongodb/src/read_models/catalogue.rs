//! The list of a projection's read models: one document, so every switch is one conditional write.
//!
//! Owns: the document and its optimistic change. Other programs find the live build in it. Not
//! here: the heads of read models.
//!
//! ```text
//! { _id: PROJECTION, revision, lastBuild, readModels: [{ build, version, stage }],
//!   dropped: [{ build, at }] }
//! ```

use gesta_store::{DatabaseError, ReadModelId, Stage};
use mongodb::bson::{Bson, Document, doc};

use super::{
    connection::Place,
    fields::{Fields as _, ID, damaged, number},
};
use crate::{client::within, errors::CallError, names};

const REVISION: &str = "revision";
const LAST_BUILD: &str = "lastBuild";
const READ_MODELS: &str = "readModels";
const DROPPED: &str = "dropped";
const BUILD: &str = "build";
const VERSION: &str = "version";
const STAGE: &str = "stage";
const AT: &str = "at";
/// Rounds of a change that other processes are faster than.
const ROUNDS_MAX: u32 = 50;

/// A read model in the list.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) build: u64,
    pub(super) version: u32,
    pub(super) stage: Stage,
}

/// A read model that was dropped, and whose rows are still there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) build: u64,
    pub(super) at_seconds: u64,
}

/// The list, as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    /// Revision of the document; 0 if it is not there.
    revision: u64,
    pub(super) last_build: u64,
    /// By increasing build.
    pub(super) entries: Vec<Entry>,
    pub(super) dropped: Vec<Dropped>,
}

impl Catalogue {
    pub(super) async fn load(place: &Place, projection: &str) -> Result<Self, CallError> {
        let lists = place.documents(names::CATALOGUE);
        match within(lists.find_one(doc! { ID: projection })).await? {
            Some(document) => Self::parse(&document),
            None => Ok(Self::default()),
        }
    }

    /// Changes the list. The change is repeated on the newest list if another process was faster.
    /// A change that returns `None` leaves the list as it is.
    pub(super) async fn change<T>(
        place: &Place,
        projection: &str,
        mut change: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, CallError> {
        for _ in 0..ROUNDS_MAX {
            let mut list = Self::load(place, projection).await?;
            let Some(result) = change(&mut list) else { return Ok(None) };
            if list.save(place, projection).await? {
                return Ok(Some(result));
            }
        }
        let reason = format!("the read models of {projection} are changed all the time; retry");
        Err(DatabaseError::unavailable(reason).into())
    }

    /// Returns `false` if another process has changed the list since it was read.
    async fn save(&self, place: &Place, projection: &str) -> Result<bool, CallError> {
        let lists = place.documents(names::CATALOGUE);
        let document = self.document(projection);
        if self.revision == 0 {
            return match within(lists.insert_one(document)).await {
                Ok(_) => Ok(true),
                Err(CallError::Duplicate) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let unchanged = doc! { ID: projection, REVISION: number(self.revision) };
        Ok(within(lists.replace_one(unchanged, document)).await?.matched_count == 1)
    }

    pub(super) fn entry(&mut self, id: &ReadModelId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.build == id.build)
    }

    fn document(&self, projection: &str) -> Document {
        let entry = |entry: &Entry| {
            Bson::Document(doc! {
                BUILD: number(entry.build),
                VERSION: i64::from(entry.version),
                STAGE: stage_text(entry.stage),
            })
        };
        let dropped = |one: &Dropped| {
            Bson::Document(doc! { BUILD: number(one.build), AT: number(one.at_seconds) })
        };
        doc! {
            ID: projection,
            REVISION: number(self.revision + 1),
            LAST_BUILD: number(self.last_build),
            READ_MODELS: self.entries.iter().map(entry).collect::<Vec<_>>(),
            DROPPED: self.dropped.iter().map(dropped).collect::<Vec<_>>(),
        }
    }

    fn parse(document: &Document) -> Result<Self, CallError> {
        let entry = |entry: &Document| {
            let version = u32::try_from(entry.number(VERSION)?);
            Ok(Entry {
                build: entry.number(BUILD)?,
                version: version.map_err(|_| damaged(document, READ_MODELS))?,
                stage: parse_stage(entry.text(STAGE)?)
                    .ok_or_else(|| damaged(document, READ_MODELS))?,
            })
        };
        let dropped =
            |one: &Document| Ok(Dropped { build: one.number(BUILD)?, at_seconds: one.number(AT)? });
        Ok(Self {
            revision: document.number(REVISION)?,
            last_build: document.number(LAST_BUILD)?,
            entries: listed(document, READ_MODELS, entry)?,
            dropped: listed(document, DROPPED, dropped)?,
        })
    }
}

fn listed<T>(
    document: &Document,
    field: &str,
    parse: impl Fn(&Document) -> Result<T, CallError>,
) -> Result<Vec<T>, CallError> {
    let items = document.get_array(field).map_err(|_| damaged(document, field))?;
    let item = |item: &Bson| parse(item.as_document().ok_or_else(|| damaged(document, field))?);
    items.iter().map(item).collect()
}

const fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Rebuilding => "rebuilding",
        Stage::Live => "live",
        Stage::Retired => "retired",
    }
}

fn parse_stage(text: &str) -> Option<Stage> {
    [Stage::Rebuilding, Stage::Live, Stage::Retired]
        .into_iter()
        .find(|stage| stage_text(*stage) == text)
}
