//! The kinds of ids and orders that an index has, besides names, types and tags.
//!
//! A run and the manifest store them as feature bits, so a bit never gets another meaning.

use std::{fmt, str::FromStr};

/// The ids by which a store finds events, besides streams, categories, types and tags, and the
/// order of streams: a set.
///
/// ```
/// use gesta_log::IndexedIds;
///
/// let ids = IndexedIds::CORRELATION.and(IndexedIds::CAUSATION);
/// assert_eq!(ids.to_string(), "correlation,causation");
/// assert_eq!("causation,correlation".parse(), Ok(ids));
/// assert!(!ids.contains(IndexedIds::EVENT));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IndexedIds(u64);

/// The error for a text that names no kinds of ids.
///
/// ```
/// let wrong = "correlations".parse::<gesta_log::IndexedIds>().expect_err("it is misspelt");
/// assert!(wrong.to_string().contains("correlation, causation"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no kind of id; expected a list of event-id, correlation, causation, streams, \
     separated by commas, or all, or none"
)]
pub struct InvalidIndexedIds(String);

/// The names of the kinds, in the order in which they are shown.
const NAMES: [(IndexedIds, &str); 4] = [
    (IndexedIds::EVENT, "event-id"),
    (IndexedIds::CORRELATION, "correlation"),
    (IndexedIds::CAUSATION, "causation"),
    (IndexedIds::STREAMS, "streams"),
];

impl IndexedIds {
    /// No ids.
    pub const NONE: Self = Self(0);
    /// The id of each event.
    pub const EVENT: Self = Self(1);
    /// Correlation ids: the events of a conversation, and their ordinals.
    pub const CORRELATION: Self = Self(2);
    /// Causation ids: the events that a command or an event caused.
    pub const CAUSATION: Self = Self(4);
    /// The streams in the order of their first events.
    // Runs have another flag at bit 3.
    pub const STREAMS: Self = Self(16);
    /// All kinds.
    pub const ALL: Self =
        Self::EVENT.and(Self::CORRELATION).and(Self::CAUSATION).and(Self::STREAMS);

    /// Returns the union of two sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the intersection of two sets.
    pub(crate) const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether the set has all kinds of another one.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether the set has no kind.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The feature bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the kinds among feature bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl fmt::Display for IndexedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for (_, name) in NAMES.iter().filter(|(kind, _)| self.contains(*kind)) {
            write!(f, "{separator}{name}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for IndexedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexedIds({self})")
    }
}

impl FromStr for IndexedIds {
    type Err = InvalidIndexedIds;

    fn from_str(text: &str) -> Result<Self, InvalidIndexedIds> {
        match text {
            "all" => return Ok(Self::ALL),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        text.split(',').try_fold(Self::NONE, |ids, name| {
            let kind = NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
            kind.map(|kind| ids.and(kind)).ok_or_else(|| InvalidIndexedIds(name.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_read_as_it_is_written() {
        for bits in 0..32 {
            let ids = IndexedIds::from_bits(bits);
            assert_eq!(ids.to_string().parse(), Ok(ids));
            assert_eq!(ids.bits(), bits & !8);
        }
        assert_eq!(IndexedIds::from_bits(u64::MAX), IndexedIds::ALL);
        assert_eq!("all".parse(), Ok(IndexedIds::ALL));
    }

    #[test]
    fn a_text_that_names_no_kind_is_refused_with_the_names() {
        for text in ["", "event", "correlation,", "Correlation", "correlation, causation"] {
            let refused = text.parse::<IndexedIds>().unwrap_err().to_string();
            assert!(refused.contains("event-id"), "{text}: {refused}");
        }
    }
}
