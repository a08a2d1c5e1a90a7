//! What the derives' code calls, besides the traits. Not for use by hand; may change at any time.

use crate::{DecodeError, Event, EventShape, event::own_version};

pub use crate::digest::PayloadDigester;

/// Reads the own version of an event by serde, older ones as `Old`.
pub fn upcast_from<Old: Event, New: Event + From<Old>>(
    version: u16,
    data: &[u8],
) -> Result<New, DecodeError> {
    if version >= New::VERSION {
        return own_version(version, data);
    }
    Old::upcast(version, data).map(New::from)
}

/// The versions of `Old`, then the own one.
#[must_use]
pub fn shapes_from<Old: Event, New: Event>() -> Vec<EventShape> {
    let mut shapes = Old::shapes();
    shapes.push(EventShape { version: New::VERSION, shape: New::SHAPE });
    shapes
}

/// Refuses, at compile time, an upcaster that is none.
pub const fn assert_upcasts<Old: Event, New: Event>() {
    assert!(is_same(Old::NAME, New::NAME), "`from` names an event with another name");
    assert!(Old::VERSION < New::VERSION, "`from` names an event whose version is not older");
}

/// Refuses, at compile time, a set in which a name has two meanings.
pub const fn assert_distinct(names: &[&str]) {
    let mut rest = names;
    while let Some((first, after)) = rest.split_first() {
        let mut others = after;
        while let Some((other, more)) = others.split_first() {
            assert!(!is_same(first, other), "two events of this set have the same name");
            others = more;
        }
        rest = after;
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (one.split_first(), other.split_first()) {
            (None, None) => return true,
            (Some((a, ones)), Some((b, others))) if *a == *b => (one, other) = (ones, others),
            _ => return false,
        }
    }
}
