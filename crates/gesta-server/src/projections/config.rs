//! Projections as they are configured, and the changes that make them so.
//!
//! Owns: [`ProjectionConfig`], and [`ProjectionRegistry`], the fold of the changes that the
//! registry's stream records. Invariants:
//! - A projection has an id of its own for as long as it exists; another one of the same name has
//!   another id.
//! - A reset raises the epoch. States and emitted events belong to an id and an epoch.
//!
//! Not here: what runs.

use std::collections::BTreeMap;

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, Revision,
    StoreError,
};
use serde::{Deserialize, Serialize};

use super::names;

/// Type of the events of the registry.
const CHANGE: &str = "$ProjectionChanged";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    Continuous,
    OneTime,
    /// Kept in memory by one server.
    Transient,
}

impl Mode {
    /// Returns the word by which clients know the mode.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Continuous => "Continuous",
            Self::OneTime => "OneTime",
            Self::Transient => "Transient",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProjectionConfig {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) query: String,
    pub(super) mode: Mode,
    pub(super) may_emit: bool,
    /// Keeps the names of emitted streams, so that they can be deleted.
    pub(super) tracks_streams: bool,
    pub(super) switch: Switch,
    pub(super) epoch: u64,
    /// Number of changes of the query.
    pub(super) version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Switch {
    Enabled,
    Disabled,
    /// Disabled without a last checkpoint.
    Aborted,
}

/// A change of one projection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Change {
    Created(Box<ProjectionConfig>),
    Updated { name: String, query: String, may_emit: Option<bool> },
    Switched { name: String, to: Switch },
    Reset { name: String },
    Deleted { name: String },
}

/// All projections of the store, as of a revision of the registry's stream.
#[derive(Debug, Default)]
pub(super) struct ProjectionRegistry {
    projections: BTreeMap<String, ProjectionConfig>,
    revision: Option<Revision>,
}

impl ProjectionRegistry {
    pub(super) fn get(&self, name: &str) -> Option<&ProjectionConfig> {
        self.projections.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ProjectionConfig> {
        self.projections.values()
    }

    /// Applies the changes that were recorded since the last call.
    pub(super) async fn refresh(&mut self, store: &dyn EventStore) -> Result<(), StoreError> {
        let mut read = ReadStream::forwards(names::registry());
        if let Some(revision) = self.revision {
            read = read.from(revision.next());
        }
        let mut pages = store.read_stream(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                self.revision = Some(event.revision);
                match serde_json::from_slice(&event.data) {
                    Ok(change) => self.apply(change),
                    // Written by a later version, or by hand.
                    Err(error) => {
                        let revision = event.revision.number();
                        tracing::warn!(%error, revision, "ignored a change of projections");
                    }
                }
            }
        }
        Ok(())
    }

    /// Records a change that was decided on this state. A conflict says that the state is old.
    pub(super) async fn record(
        &mut self,
        store: &dyn EventStore,
        change: Change,
    ) -> Result<(), StoreError> {
        let expected = self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let data = serde_json::to_vec(&change).expect("a change is plain data");
        let event = NewEvent::json(EventId::random(), EventType::new(CHANGE)?, data);
        let append = Append::to(names::registry(), expected, [event]).privileged();
        store.append(append).await?;
        self.revision = Some(self.revision.map_or(Revision::FIRST, Revision::next));
        self.apply(change);
        Ok(())
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Created(config) => {
                self.projections.insert(config.name.clone(), *config);
            }
            Change::Deleted { name } => {
                self.projections.remove(&name);
            }
            Change::Updated { name, query, may_emit } => self.change(&name, |config| {
                config.query = query;
                config.may_emit = may_emit.unwrap_or(config.may_emit);
                config.version += 1;
            }),
            Change::Switched { name, to } => self.change(&name, |config| config.switch = to),
            Change::Reset { name } => self.change(&name, |config| config.epoch += 1),
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ProjectionConfig)) {
        if let Some(config) = self.projections.get_mut(name) {
            change(config);
        }
    }
}
