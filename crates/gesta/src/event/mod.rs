//! Events: their types and versions, their stored form, and the sets that understand them.
//!
//! Invariant: stored bytes never change; older versions are upcast on read. Not here: events with
//! their place in the store ([`recorded`](crate::recorded)).

mod codec;
mod encoded;
mod error;
mod personal;
mod registry;
mod schema;
mod set;
mod tag_key;
#[cfg(feature = "schemas")]
mod validation;

pub use codec::{CodecError, EventCodec, EventData};
pub(crate) use encoded::CheckEvent;
pub use encoded::EncodedEvent;
pub use error::{DecodeError, DuplicateEventName, EncodeError, UndecodableEvent};
pub use personal::PersonalField;
pub(crate) use registry::ProcessShapes;
pub use registry::{ReadError, Registry};
pub use schema::{Event, EventShape, EventVersion};
pub(crate) use schema::{decode_by, encode_by, own_version};
pub use set::{EventSet, EventTypes, Events, HasEvent};
pub(crate) use set::{decode_each, decode_recorded, is_of_a_category};
pub use tag_key::TagKey;
#[cfg(feature = "schemas")]
pub(crate) use validation::EventValidators;
