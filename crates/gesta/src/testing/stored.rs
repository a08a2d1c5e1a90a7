//! Tests of upcasters on stored data.

use std::fmt::Debug;

use crate::{DecodeError, EventSet};

/// Starts a test with the stored data of an event, as an older program wrote it.
///
/// ```
/// use gesta::{prelude::*, testing::stored};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "parcel-sent")]
/// # struct ParcelSentV1 { to: String }
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "parcel-sent", version = 2, from = ParcelSentV1)]
/// # struct ParcelSent { to: String, grams: Option<u32> }
/// # impl From<ParcelSentV1> for ParcelSent {
/// #     fn from(old: ParcelSentV1) -> Self { Self { to: old.to, grams: None } }
/// # }
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum ParcelEvent { Sent(ParcelSent) }
///
/// let sent = ParcelSent { to: "ann".to_owned(), grams: None };
/// stored("parcel-sent", 1, r#"{"to":"ann"}"#).reads_as(ParcelEvent::Sent(sent));
/// stored("parcel-sent", 3, r#"{"to":"ann"}"#).is_refused_by::<ParcelEvent>();
/// ```
pub fn stored(event_type: &str, version: u16, json: &str) -> Stored {
    Stored { event_type: event_type.to_owned(), version, json: json.to_owned() }
}

/// The stored data of an event. See [`stored`].
#[must_use = "nothing is tested until the bytes are read"]
#[derive(Clone, Debug)]
pub struct Stored {
    event_type: String,
    version: u16,
    json: String,
}

impl Stored {
    /// Asserts that the data decodes as this event.
    #[track_caller]
    pub fn reads_as<E: EventSet + Debug + PartialEq>(self, expected: E) {
        match self.read::<E>() {
            Ok(event) => assert_eq!(event, expected),
            Err(error) => panic!("{error}: {}", self.json),
        }
    }

    /// Asserts that the set rejects the data.
    #[track_caller]
    pub fn is_refused_by<E: EventSet + Debug>(self) {
        if let Ok(event) = self.read::<E>() {
            panic!("{} is read as {event:?}", self.json);
        }
    }

    fn read<E: EventSet>(&self) -> Result<E, DecodeError> {
        E::decode(&self.event_type, self.version, self.json.as_str().into())
    }
}
