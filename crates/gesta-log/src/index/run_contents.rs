//! From what is in memory of a segment to the contents of its run.
//!
//! Always holds: the same stretches give the same contents, whatever the order of maps in memory.

use std::sync::RwLockReadGuard;

use gesta_store::Position;

use super::{
    memtable::Memtable,
    run::{Covered, RunContents, TermKey},
    stream_meta::StreamMetaTable,
};

/// The contents of the run that covers a segment; `stretches` are all of the segment's, in order.
pub(super) fn of<'a>(
    covered: Covered,
    stretches: impl Iterator<Item = RwLockReadGuard<'a, Memtable>>,
    lives: &mut StreamMetaTable,
    key: &TermKey,
) -> RunContents {
    let mut contents = RunContents {
        covered,
        offsets: Vec::new(),
        terms: Vec::new(),
        names: Vec::new(),
        categories: Vec::new(),
        lifecycles: Vec::new(),
    };
    let end = Position::new(covered.end);
    for stretch in stretches {
        stretch.add_to(&mut contents, key);
        for stream in stretch.streams() {
            if let Some(described) = stream.described_stream() {
                let lifecycle = lives.settle(&described, end).as_lifecycle();
                contents.lifecycles.push((described, lifecycle));
            }
        }
    }
    contents
}
