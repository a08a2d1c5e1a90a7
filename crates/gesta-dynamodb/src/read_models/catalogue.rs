//! The list of a projection's read models: one item, so every switch is one conditional write.
//!
//! Owns: the item and its optimistic change. Not here: the heads of read models.

use gesta_store::{ReadModelId, Stage};
use serde_json::{Value, json};

use crate::{
    errors::CallError,
    item::{ALONE, Attributes as _, Item, damaged, key, number, text},
    table::{Table, Update},
};

const REVISION: &str = "rev";
const LIST: &str = "list";
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
    /// Revision of the item; 0 if it is not there.
    revision: u64,
    pub(super) last_build: u64,
    /// By increasing build.
    pub(super) entries: Vec<Entry>,
    pub(super) dropped: Vec<Dropped>,
}

impl Catalogue {
    pub(super) async fn load(table: &Table, projection: &str) -> Result<Self, CallError> {
        match table.get(&partition(projection), ALONE).await? {
            Some(item) => Self::parse(&item),
            None => Ok(Self::default()),
        }
    }

    /// Changes the list. The change is repeated on the newest list if another process was faster.
    /// A change that returns `None` leaves the list as it is.
    pub(super) async fn change<T>(
        table: &Table,
        projection: &str,
        mut change: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, CallError> {
        for _ in 0..ROUNDS_MAX {
            let mut list = Self::load(table, projection).await?;
            let Some(result) = change(&mut list) else { return Ok(None) };
            match list.save(table, projection).await {
                Err(CallError::Condition(_)) => {}
                outcome => return outcome.map(|()| Some(result)),
            }
        }
        let reason = format!("the read models of {projection} are changed all the time; retry");
        Err(CallError::Unreachable(reason, None))
    }

    async fn save(&self, table: &Table, projection: &str) -> Result<(), CallError> {
        let mut item = key(&partition(projection), ALONE);
        item.insert(REVISION.to_owned(), number(self.revision + 1));
        item.insert(LIST.to_owned(), text(self.text()));
        let on = match self.revision {
            0 => Update { condition: "attribute_not_exists(pk)", ..Update::default() },
            known => Update { condition: "rev = :known", ..Update::default() }
                .value(":known", number(known)),
        };
        let written = item.clone();
        match table.put(item, on).await {
            // The client has sent it twice, and the first one arrived.
            Err(CallError::Condition(Some(found))) if found == written => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn entry(&mut self, id: &ReadModelId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.build == id.build)
    }

    fn text(&self) -> String {
        let entry = |entry: &Entry| json!({ "build": entry.build, "version": entry.version, "stage": stage_text(entry.stage) });
        let dropped = |one: &Dropped| json!({ "build": one.build, "at": one.at_seconds });
        json!({
            "last": self.last_build,
            "readModels": self.entries.iter().map(entry).collect::<Vec<_>>(),
            "dropped": self.dropped.iter().map(dropped).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn parse(item: &Item) -> Result<Self, CallError> {
        let revision = item.number(REVISION)?;
        let list = parse_list(item.text(LIST)?);
        list.map(|list| Self { revision, ..list }).ok_or_else(|| damaged(item, LIST))
    }
}

fn parse_list(text: &str) -> Option<Catalogue> {
    let value: Value = serde_json::from_str(text).ok()?;
    let entry = |value: &Value| {
        Some(Entry {
            build: value.get("build")?.as_u64()?,
            version: u32::try_from(value.get("version")?.as_u64()?).ok()?,
            stage: parse_stage(value.get("stage")?.as_str()?)?,
        })
    };
    let dropped = |value: &Value| {
        let at_seconds = value.get("at")?.as_u64()?;
        Some(Dropped { build: value.get("build")?.as_u64()?, at_seconds })
    };
    Some(Catalogue {
        revision: 0,
        last_build: value.get("last")?.as_u64()?,
        entries: value.get("readModels")?.as_array()?.iter().map(entry).collect::<Option<_>>()?,
        dropped: value.get("dropped")?.as_array()?.iter().map(dropped).collect::<Option<_>>()?,
    })
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

fn partition(projection: &str) -> String {
    format!("projection#{projection}")
}
