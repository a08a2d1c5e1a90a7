//! Conversion of a sealed segment's memtables to the contents of its run.
//!
//! The result does not depend on the order of the hash maps in memory: the run writer sorts.

use std::sync::RwLockReadGuard;

use gesta_store::Position;

use super::{
    memtable::Memtable,
    run::{CoveredSegment, RunContents, TermKey},
    stream_meta::StreamMetaTable,
};
use crate::options::IndexedIds;

/// Collects the contents of the run of a sealed segment from all of its memtables, in order.
pub(super) fn collect<'a>(
    (covered, ids): (CoveredSegment, IndexedIds),
    stretches: impl Iterator<Item = RwLockReadGuard<'a, Memtable>>,
    stream_metas: &mut StreamMetaTable,
    key: &TermKey,
) -> RunContents {
    let mut contents = RunContents {
        covered,
        ids,
        offsets: Vec::new(),
        terms: Vec::new(),
        names: Vec::new(),
        categories: Vec::new(),
        stream_meta: Vec::new(),
    };
    let end = Position::new(covered.end);
    for stretch in stretches {
        stretch.add_to(&mut contents, key);
        for stream in stretch.streams() {
            // A run holds metadata changes only of streams whose metadata stream has events in it.
            if let Some(described) = stream.described_stream() {
                let delta = stream_metas.settle(&described, end).as_delta();
                contents.stream_meta.push((described, delta));
            }
        }
    }
    contents
}
