//! The first event of a follower that is new to a store.

use gesta_store::RecordedAt;

/// The first event of a process manager or reactor that is new to a store.
///
/// Stored at the first run and ignored afterwards.
///
/// ```
/// use gesta::{Begin, RecordedAt};
///
/// assert_eq!(Begin::default(), Begin::AtTheStart);
/// assert_ne!(Begin::At(RecordedAt::from_micros(7)), Begin::Now);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin {
    /// The first event of the store.
    #[default]
    AtTheStart,
    /// The first event after the application is opened with it for the first time.
    Now,
    /// The first event recorded at this time or later.
    At(RecordedAt),
}
