//! Terms and their hashes.
//!
//! A term of a store always has the same hash. Terms of different kinds have different hashes, even
//! if their texts are equal. Collisions are not resolved here: readers compare the event itself.

use std::fmt;

use gesta_store::{Category, CausationId, CorrelationId, EventId, EventType, StreamName, Tag};

/// A term of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term<'a> {
    Stream(&'a StreamName),
    Category(&'a Category),
    EventType(&'a EventType),
    Tag(&'a Tag),
    /// The append whose first event has this id. Of several in one segment, the first one.
    Append(EventId),
    /// A further append of a segment whose first event has this id, in this stream.
    AppendIn(EventId, &'a StreamName),
    EventId(EventId),
    Correlation(&'a CorrelationId),
    Causation(&'a CausationId),
    /// First events of streams but the system's.
    Streams,
    /// The same for the streams in a category.
    StreamsOf(&'a Category),
}

/// The 96-bit hash of a term. Among 10¹⁰ terms, two share a hash with a probability of about 10⁻⁹.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TermHash(u128);

impl TermHash {
    pub(super) const BITS: u32 = 96;
    pub(super) const BYTES: usize = 12;

    /// Truncates `bits` to a hash.
    pub(super) const fn new(bits: u128) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    pub(super) const fn bits(self) -> u128 {
        self.0
    }

    pub(super) const fn to_bytes(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.0.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self(u128::from_le_bytes([a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 0]))
    }
}

impl fmt::Debug for TermHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:024x}", self.0)
    }
}

/// The hash keys of a store, one for each kind of term.
#[derive(Clone)]
pub(crate) struct TermKey {
    streams: [u8; 32],
    categories: [u8; 32],
    types: [u8; 32],
    tags: [u8; 32],
    appends: [u8; 32],
    appends_in: [u8; 32],
    event_ids: [u8; 32],
    correlations: [u8; 32],
    causations: [u8; 32],
    first_events: [u8; 32],
}

impl fmt::Debug for TermKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TermKey")
    }
}

impl TermKey {
    /// Derives the keys of the store with this id.
    pub(crate) fn new(store: [u8; 16]) -> Self {
        // A key for each kind, so that a stream, a tag and a type of the same text are different
        // terms.
        Self {
            streams: blake3::derive_key("gesta index 1: streams", &store),
            categories: blake3::derive_key("gesta index 1: categories", &store),
            types: blake3::derive_key("gesta index 1: event types", &store),
            tags: blake3::derive_key("gesta index 1: tags", &store),
            appends: blake3::derive_key("gesta index 1: appends", &store),
            appends_in: blake3::derive_key("gesta index 1: appends in a stream", &store),
            event_ids: blake3::derive_key("gesta index 1: event ids", &store),
            correlations: blake3::derive_key("gesta index 1: correlation ids", &store),
            causations: blake3::derive_key("gesta index 1: causation ids", &store),
            first_events: blake3::derive_key("gesta index 1: first events of streams", &store),
        }
    }

    pub(crate) fn hash(&self, term: &Term<'_>) -> TermHash {
        let hash = match term {
            Term::Stream(name) => blake3::keyed_hash(&self.streams, name.as_str().as_bytes()),
            Term::Category(category) => {
                blake3::keyed_hash(&self.categories, category.as_str().as_bytes())
            }
            Term::EventType(event_type) => {
                blake3::keyed_hash(&self.types, event_type.as_str().as_bytes())
            }
            Term::Tag(tag) => blake3::keyed_hash(&self.tags, tag.as_str().as_bytes()),
            Term::Append(first_event) => {
                blake3::keyed_hash(&self.appends, first_event.as_uuid().as_bytes())
            }
            Term::AppendIn(first_event, stream) => {
                let id = first_event.as_uuid();
                // The id has a fixed length, so the two parts cannot be read in another way.
                let mut hasher = blake3::Hasher::new_keyed(&self.appends_in);
                hasher.update(id.as_bytes()).update(stream.as_str().as_bytes()).finalize()
            }
            Term::EventId(id) => blake3::keyed_hash(&self.event_ids, id.as_uuid().as_bytes()),
            Term::Correlation(id) => blake3::keyed_hash(&self.correlations, id.as_str().as_bytes()),
            Term::Causation(id) => blake3::keyed_hash(&self.causations, id.as_str().as_bytes()),
            // A category is never empty.
            Term::Streams => blake3::keyed_hash(&self.first_events, b""),
            Term::StreamsOf(category) => {
                blake3::keyed_hash(&self.first_events, category.as_str().as_bytes())
            }
        };
        // 96 of 256 bits: collisions are rare enough, and every entry stores a hash.
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *hash.as_bytes();
        TermHash::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_of_different_kinds_and_stores_have_different_hashes() {
        let (stream, tag) = (StreamName::new("order").unwrap(), Tag::new("order").unwrap());
        let (category, event_type) =
            (Category::new("order").unwrap(), EventType::new("order").unwrap());
        let id = EventId::derived_from("order", 0);
        let correlation = CorrelationId::new("order").unwrap();
        let causation = CausationId::new("order").unwrap();
        let terms = [
            Term::Stream(&stream),
            Term::Category(&category),
            Term::EventType(&event_type),
            Term::Tag(&tag),
            Term::Append(id),
            Term::AppendIn(id, &stream),
            Term::EventId(id),
            Term::Correlation(&correlation),
            Term::Causation(&causation),
            Term::Streams,
            Term::StreamsOf(&category),
        ];
        let keys = [TermKey::new([1; 16]), TermKey::new([2; 16])];
        let mut hashes: Vec<_> =
            keys.iter().flat_map(|key| terms.map(|term| key.hash(&term))).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 22);
    }

    #[test]
    fn a_hash_never_changes() {
        let tag = Tag::new("customer:1").unwrap();
        let hash = TermKey::new([7; 16]).hash(&Term::Tag(&tag));
        assert_eq!(format!("{hash:?}"), "19f5b07a280a3b425fb659a0");
        assert_eq!(TermHash::from_bytes(hash.to_bytes()), hash);
    }
}
