//! The identity of a group: what it reads, and its name.
//!
//! Owns: the names of the streams that belong to a group. Invariant: a [`GroupId`] has names for
//! all of them, so that no group begins that cannot keep its checkpoint. Two groups may have the
//! same names for them, because clients read these; the second one is not created
//! ([`configuration`](super::configuration)).

use gesta_store::{InvalidName, StreamName};
use tonic::Status;

use crate::{
    proto::shared::StreamIdentifier,
    wire::{name_to_read, refused, status, text_to_read},
};

/// The name of the whole store as a source.
pub(super) const ALL: &str = "$all";
/// Beginning of the names of all streams that belong to groups.
const OWNED: &str = "$persistentsubscription-";

/// The events that a group reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum GroupSource {
    All,
    Stream(StreamName),
}

impl GroupSource {
    /// Reads the source of a request; `None` is the whole store.
    pub(super) fn of(identifier: Option<&StreamIdentifier>) -> Result<Self, Status> {
        let Some(identifier) = identifier else { return Ok(Self::All) };
        name_to_read(Some(identifier)).map(Self::of_name)
    }

    /// Returns the source with this name.
    pub(super) fn named(name: &str) -> Result<Self, Status> {
        text_to_read(name).map(Self::of_name)
    }

    fn of_name(stream: StreamName) -> Self {
        if stream.as_str() == ALL { Self::All } else { Self::Stream(stream) }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::All => ALL,
            Self::Stream(stream) => stream.as_str(),
        }
    }

    /// Returns a place in the form in which clients read it.
    pub(super) fn place_text(&self, place: u64) -> String {
        match self {
            Self::All => format!("C:{place}/P:{place}"),
            Self::Stream(_) => place.to_string(),
        }
    }
}

/// The identity of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupId {
    pub(super) source: GroupSource,
    pub(super) name: String,
    /// The stream of its checkpoints.
    pub(super) checkpoints: StreamName,
    /// The stream of its parked events.
    pub(super) parked: StreamName,
}

impl GroupId {
    pub(super) fn new(source: GroupSource, name: &str) -> Result<Self, Status> {
        if name.is_empty() {
            return Err(refused("the name of the group is empty"));
        }
        let owned = |end: &str| StreamName::new(format!("{OWNED}{}::{name}{end}", source.as_str()));
        let refuse = |invalid: InvalidName| status(&invalid.into());
        let checkpoints = owned("-checkpoint").map_err(refuse)?;
        let parked = owned("-parked").map_err(refuse)?;
        Ok(Self { source, name: name.to_owned(), checkpoints, parked })
    }
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.source.as_str(), self.name)
    }
}

/// Returns `true` for the streams of groups of the whole store, and their metadata. A group of the
/// whole store that read them would never come to rest.
pub(super) fn belongs_to_group_of_all(stream: &StreamName) -> bool {
    let name = stream.as_str();
    let described = name.strip_prefix("$$").filter(|described| described.starts_with('$'));
    let of_all = described.unwrap_or(name).strip_prefix(OWNED);
    of_all.is_some_and(|of_all| of_all.starts_with("$all::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_of_a_group_have_the_names_that_operators_know() {
        let stream = GroupSource::Stream(StreamName::new("order-1").unwrap());
        let group = GroupId::new(stream, "mail").unwrap();
        assert_eq!(group.to_string(), "order-1::mail");
        assert_eq!(group.checkpoints.as_str(), "$persistentsubscription-order-1::mail-checkpoint");
        assert_eq!(group.parked.as_str(), "$persistentsubscription-order-1::mail-parked");
        assert!(!belongs_to_group_of_all(&group.parked));
    }

    #[test]
    fn streams_of_groups_of_all_are_known_with_their_metadata() {
        let group = GroupId::new(GroupSource::All, "mail").unwrap();
        assert!(belongs_to_group_of_all(&group.checkpoints));
        assert!(belongs_to_group_of_all(&group.parked.metadata_stream().unwrap()));
        assert!(!belongs_to_group_of_all(&StreamName::new("order-1").unwrap()));
    }

    #[test]
    fn a_name_that_leaves_no_room_for_the_checkpoint_is_refused() {
        assert!(GroupId::new(GroupSource::All, &"g".repeat(1_000)).is_err());
        assert!(GroupId::new(GroupSource::All, "").is_err());
        assert!(GroupId::new(GroupSource::All, "a\nb").is_err());
    }
}
