//! The list of all groups, which survives restarts.
//!
//! Owns: the stream of the list. Each change appends the whole list at the revision that was read,
//! so that two changes at the same time do not undo each other, and the last event is everything
//! there is to read. The stream keeps one event.

use std::num::NonZeroU64;

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, Revision,
    SetStreamMetadata, StoreError, StreamMetadata, StreamName,
};
use serde::{Deserialize, Serialize};
use tonic::Status;
use uuid::Uuid;

use super::{
    group_filter::GroupFilter,
    name::{GroupId, GroupSource},
    settings::GroupSettings,
};
use crate::wire::status;

const STREAM: &str = "$persistentSubscriptionConfig";
const EVENT_TYPE: &str = "$PersistentConfig";
/// Version of the list's form. A later one is refused.
const VERSION: u32 = 1;

/// A group as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupConfig {
    pub(super) id: GroupId,
    /// Tells the group from an earlier one of the same name.
    pub(super) life: Uuid,
    pub(super) settings: GroupSettings,
    /// The place before the first event.
    pub(super) before_first: Option<u64>,
    pub(super) filter: Option<GroupFilter>,
}

/// All groups, and the revision at which they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupList {
    pub(super) groups: Vec<GroupConfig>,
    revision: Option<Revision>,
}

#[derive(Serialize, Deserialize)]
struct StoredList {
    version: u32,
    groups: Vec<StoredGroup>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredGroup {
    /// `None` is the whole store.
    stream: Option<String>,
    group: String,
    life: Uuid,
    settings: GroupSettings,
    before_first: Option<u64>,
    filter: Option<GroupFilter>,
}

impl GroupList {
    /// Reads the list as it is now.
    pub(super) async fn read(store: &dyn EventStore) -> Result<Self, Status> {
        let last = ReadStream::backwards(stream()).limit(1);
        let last = store.read_stream(last).collect_events().await;
        let Some(event) = last.map_err(|error| status(&error))?.pop() else {
            // The revision counts events that are hidden.
            let described = store.describe_stream(&stream()).await;
            let revision = described.map_err(|error| status(&error))?.head;
            return Ok(Self { groups: Vec::new(), revision });
        };
        let unreadable = |reason: String| {
            Status::data_loss(format!("the list of groups in {STREAM} cannot be read: {reason}"))
        };
        let stored: StoredList =
            serde_json::from_slice(&event.data).map_err(|error| unreadable(error.to_string()))?;
        if stored.version != VERSION {
            return Err(unreadable(format!("its version is {}", stored.version)));
        }
        let groups =
            stored.groups.into_iter().map(StoredGroup::config).collect::<Result<_, _>>()?;
        Ok(Self { groups, revision: Some(event.revision) })
    }

    /// Appends the list, if no other change came in between.
    pub(super) async fn write(&mut self, store: &dyn EventStore) -> Result<(), StoreError> {
        let groups = self.groups.iter().map(StoredGroup::of).collect();
        let data = serde_json::to_vec(&StoredList { version: VERSION, groups })
            .expect("settings have no maps with keys other than text");
        let event_type = EventType::new(EVENT_TYPE).expect("the type is a valid name");
        let event = NewEvent::json(EventId::random(), event_type, data);
        let expected = self.revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
        let append = Append::to(stream(), expected, [event]).privileged();
        let appended = store.append(append).await?;
        if self.revision.is_none() {
            keep_last(store, stream()).await?;
        }
        self.revision = appended.revisions.first().map(|(_, revision)| *revision);
        Ok(())
    }

    pub(super) fn find(&self, id: &GroupId) -> Option<&GroupConfig> {
        self.groups.iter().find(|group| group.id == *id)
    }

    /// Returns `true` if there is a group with the streams of this one: itself, or one whose source
    /// and name have their `::` at another place, such as `a::b` of `c` and `b` of `c::a`.
    pub(super) fn has_streams_of(&self, id: &GroupId) -> bool {
        self.groups.iter().any(|group| group.id.checkpoints == id.checkpoints)
    }
}

/// Makes a stream keep its last event only.
pub(super) async fn keep_last(
    store: &dyn EventStore,
    stream: StreamName,
) -> Result<(), StoreError> {
    let metadata = StreamMetadata::default().max_count(NonZeroU64::MIN);
    let change = SetStreamMetadata::new(stream, ExpectedRevision::Any, metadata);
    store.set_stream_metadata(change).await.map(drop)
}

impl StoredGroup {
    fn of(config: &GroupConfig) -> Self {
        let GroupConfig { id, life, settings, before_first, filter } = config;
        Self {
            stream: match &id.source {
                GroupSource::All => None,
                GroupSource::Stream(stream) => Some(stream.as_str().to_owned()),
            },
            group: id.name.clone(),
            life: *life,
            settings: settings.clone(),
            before_first: *before_first,
            filter: filter.clone(),
        }
    }

    fn config(self) -> Result<GroupConfig, Status> {
        let source = match self.stream {
            None => GroupSource::All,
            Some(name) => {
                let name = StreamName::stored(name).map_err(|invalid| status(&invalid.into()))?;
                GroupSource::Stream(name)
            }
        };
        Ok(GroupConfig {
            id: GroupId::new(source, &self.group)?,
            life: self.life,
            settings: self.settings,
            before_first: self.before_first,
            filter: self.filter,
        })
    }
}

fn stream() -> StreamName {
    StreamName::new(STREAM).expect("the name of the stream is valid")
}
