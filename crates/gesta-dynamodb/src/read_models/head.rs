//! The head of a read model: its version, its checkpoint and the commit in progress.
//!
//! Owns: the item, and the three steps of a commit that change it: reserve, finish, give up. Every
//! step has a condition, so of two writers one is refused. Not here: rows (`rows.rs`).

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use gesta_store::{Checkpoint, ReadModelId};

use super::turns::this_process;
use crate::{
    errors::CallError,
    item::{
        ALONE, Attributes as _, Item, checkpoint_text, damaged, key, number, parse_checkpoint, text,
    },
    table::{Table, Update},
};

/// Version of the last commit.
const VERSION: &str = "v";
/// Greatest number that was given to a commit.
const RESERVED: &str = "r";
/// Number of the commit in progress.
const PENDING: &str = "q";
/// Process of the commit in progress.
const OWNER: &str = "o";
/// Numbers of commits that were cut off.
const ABORTED: &str = "ab";
/// Areas that have rows.
const AREAS: &str = "ar";
const CHECKPOINT: &str = "cp";
const DROPPED: &str = "dr";
/// Commits that may be cut off in the life of a read model. A condition names each of them, and the
/// server allows 100 values.
pub(super) const ABORTED_MAX: usize = 90;

/// The head, as it was read.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) version: u64,
    pub(super) reserved: u64,
    pub(super) pending: Option<Pending>,
    pub(super) aborted: Arc<[u64]>,
    pub(super) areas: Vec<String>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) is_dropped: bool,
}

/// A commit in progress, or one that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) number: u64,
    owner: String,
}

impl Pending {
    pub(super) fn is_of_this_process(&self) -> bool {
        self.owner == this_process()
    }
}

/// A moment of a read model: the commits that are seen.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) version: u64,
    pub(super) aborted: Arc<[u64]>,
}

impl Moment {
    /// Returns whether a change with this number is seen.
    pub(super) fn sees(&self, number: u64) -> bool {
        number <= self.version && !self.aborted.contains(&number)
    }
}

/// The partition of a head.
pub(super) fn partition(id: &ReadModelId) -> String {
    format!("head#{}#{}", id.build, id.projection)
}

/// Creates the head of a new read model, unless it is there.
pub(super) async fn create(table: &Table, id: &ReadModelId) -> Result<(), CallError> {
    let mut item = key(&partition(id), ALONE);
    item.insert(VERSION.to_owned(), number(0));
    item.insert(RESERVED.to_owned(), number(0));
    let absent = Update { condition: "attribute_not_exists(pk)", ..Update::default() };
    match table.put(item, absent).await {
        Err(CallError::Condition(_)) => Ok(()),
        outcome => outcome,
    }
}

/// Reads the head. `None` if there is no such read model, or it was dropped long ago.
pub(super) async fn load(table: &Table, id: &ReadModelId) -> Result<Option<Head>, CallError> {
    let item = table.get(&partition(id), ALONE).await?;
    item.map(|item| Head::parse(&item)).transpose()
}

/// Marks a read model as dropped, so that every later call refuses it.
pub(super) async fn mark_dropped(table: &Table, id: &ReadModelId) -> Result<(), CallError> {
    let update =
        Update { change: "SET dr = :yes", condition: "attribute_exists(pk)", ..Update::default() };
    let update = update.value(":yes", AttributeValue::Bool(true));
    match table.update(&partition(id), ALONE, update).await {
        Err(CallError::Condition(_)) => Ok(()),
        outcome => outcome,
    }
}

impl Head {
    fn parse(item: &Item) -> Result<Self, CallError> {
        let checkpoint = item
            .opt_text(CHECKPOINT)?
            .map(|text| parse_checkpoint(text).ok_or_else(|| damaged(item, CHECKPOINT)));
        let pending = match (item.opt_number(PENDING)?, item.opt_text(OWNER)?) {
            (Some(number), Some(owner)) => Some(Pending { number, owner: owner.to_owned() }),
            _ => None,
        };
        let aborted = match item.get(ABORTED) {
            Some(AttributeValue::Ns(numbers)) => {
                let numbers = numbers.iter().map(|number| number.parse());
                numbers.collect::<Result<Vec<u64>, _>>().map_err(|_| damaged(item, ABORTED))?
            }
            _ => Vec::new(),
        };
        let areas = match item.get(AREAS) {
            Some(AttributeValue::Ss(areas)) => areas.clone(),
            _ => Vec::new(),
        };
        Ok(Self {
            version: item.number(VERSION)?,
            reserved: item.number(RESERVED)?,
            pending,
            aborted: aborted.into(),
            areas,
            checkpoint: checkpoint.transpose()?,
            is_dropped: item.contains_key(DROPPED),
        })
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { version: self.version, aborted: Arc::clone(&self.aborted) }
    }

    /// Begins a commit: gives it a number, and marks the one that was in progress as aborted.
    /// Returns the number and all aborted ones. Fails with [`CallError::Condition`] if the head has
    /// changed since it was read.
    pub(super) async fn reserve(
        &self,
        table: &Table,
        id: &ReadModelId,
        areas: Vec<String>,
    ) -> Result<(u64, Arc<[u64]>), CallError> {
        let mine = self.reserved + 1;
        let mut change = "SET r = :mine, q = :mine, o = :o".to_owned();
        let mut added = Vec::new();
        let mut update = Update { condition: "r = :r AND v = :v", ..Update::default() }
            .value(":mine", number(mine))
            .value(":r", number(self.reserved))
            .value(":v", number(self.version))
            .value(":o", text(this_process()));
        if !areas.is_empty() {
            added.push("ar :ar");
            update = update.value(":ar", AttributeValue::Ss(areas));
        }
        let mut aborted = self.aborted.to_vec();
        if let Some(cut_off) = &self.pending {
            aborted.push(cut_off.number);
            added.push("ab :ab");
            let numbers = vec![cut_off.number.to_string()];
            update = update.value(":ab", AttributeValue::Ns(numbers));
        }
        if !added.is_empty() {
            change.push_str(" ADD ");
            change.push_str(&added.join(", "));
        }
        match table.update(&partition(id), ALONE, Update { change: &change, ..update }).await {
            // The client has sent it twice, and the first one arrived.
            Err(CallError::Condition(Some(found))) if is_pending(&found, mine)? => {}
            outcome => outcome?,
        }
        Ok((mine, aborted.into()))
    }

    /// Ends a commit: its rows and its checkpoint are seen from here on. Fails with
    /// [`CallError::Condition`] if another writer has given it up.
    pub(super) async fn finish(
        table: &Table,
        id: &ReadModelId,
        mine: u64,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), CallError> {
        let mut change = "SET v = :mine".to_owned();
        let mut update = Update { condition: "q = :mine", ..Update::default() };
        update = update.value(":mine", number(mine));
        if let Some(checkpoint) = checkpoint {
            change.push_str(", cp = :cp");
            update = update.value(":cp", text(checkpoint_text(checkpoint)));
        }
        change.push_str(" REMOVE q, o");
        match table.update(&partition(id), ALONE, Update { change: &change, ..update }).await {
            Err(CallError::Condition(Some(found))) if found.number(VERSION)? == mine => Ok(()),
            outcome => outcome,
        }
    }
}

fn is_pending(item: &Item, mine: u64) -> Result<bool, CallError> {
    let is_mine = item.opt_text(OWNER)? == Some(this_process());
    Ok(is_mine && item.opt_number(PENDING)? == Some(mine))
}
