//! One run out of several that follow each other, or anew out of one whose segments were rewritten.
//!
//! Always holds: the result answers everything as its inputs together would; memory does not grow
//! with the inputs but for their directories; readers' blocks stay in the cache, since nothing here
//! goes through it.

use std::{collections::VecDeque, ops::Range, sync::Arc, vec};

use super::super::offset_overrides::OffsetOverrides;
use super::{
    Run, RunError,
    block::{BlockKind, BlockSource},
    block_reader::BlockWindows,
    block_writer::OnBytes,
    layout::{Covered, RunIdentity, RunName},
    offset_block,
    sorted_table::TableCursor,
    stream_meta_value::{StoredMetadata, StreamMetaValue, pieces},
    term_block::{StoredPostings, TermBlockReader, TermEntry},
    term_hash::TermHash,
    write::{RunWriter, give_up},
};
use crate::{disk::Disk, format::Malformed};

/// A run that goes into another one, and what is known better than it knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeInput<'a> {
    pub(crate) run: &'a Run,
    /// Of its segments that were rewritten since it was made, in order.
    pub(crate) patches: &'a [Arc<OffsetOverrides>],
}

impl MergeInput<'_> {
    /// The segments that it covers, as they are now.
    pub(crate) fn covered(&self) -> impl Iterator<Item = Covered> {
        self.run.covered().iter().map(|covered| match self.patch_of(covered.first, covered.end) {
            Some(patch) => patch.covered,
            None => *covered,
        })
    }

    /// The patch of the segment with these positions.
    fn patch_of(&self, first: u64, end: u64) -> Option<&OffsetOverrides> {
        let same = |patch: &&Arc<OffsetOverrides>| {
            (patch.covered.first, patch.covered.end) == (first, end)
        };
        self.patches.iter().find(same).filter(|_| first < end).map(|patch| &**patch)
    }

    /// Whether a term is still at a position.
    fn keeps(&self, hash: TermHash, position: u64) -> bool {
        !self.patches.iter().any(|patch| patch.drops(hash, position))
    }
}

/// Writes one run in place of several neighbours, the oldest first. It counts once the manifest
/// names it; remove the inputs only then.
///
/// # Errors
/// [`RunError::Damaged`]: rebuild the run that it names. [`RunError::Io`]: see its source.
/// [`RunError::Stopped`]: `go_on` said so. What was written so far counts for nothing.
pub(crate) fn merge_runs(
    disk: &dyn Disk,
    origin: &RunIdentity,
    inputs: &[MergeInput<'_>],
    go_on: OnBytes<'_>,
) -> Result<RunName, RunError> {
    with_inputs(disk, origin, inputs, go_on, |run| run.finish())
}

/// Writes a run anew with what is known better than it knows. It is durable, but has the name of one
/// that is being made: give it its own, which is that of the input, when nobody reads that any more.
///
/// # Errors
/// As [`merge_runs`].
pub(crate) fn rewrite_run(
    disk: &dyn Disk,
    origin: &RunIdentity,
    input: &MergeInput<'_>,
    go_on: OnBytes<'_>,
) -> Result<RunName, RunError> {
    with_inputs(disk, origin, std::slice::from_ref(input), go_on, |run| run.finish_unnamed())
}

fn with_inputs(
    disk: &dyn Disk,
    origin: &RunIdentity,
    inputs: &[MergeInput<'_>],
    go_on: OnBytes<'_>,
    finish: fn(RunWriter<'_>) -> Result<RunName, RunError>,
) -> Result<RunName, RunError> {
    let covered: Vec<Covered> = inputs.iter().flat_map(MergeInput::covered).collect();
    let mut pairs = covered.iter().zip(covered.iter().skip(1));
    assert!(
        pairs.all(|(one, next)| one.number < next.number && one.end <= next.first),
        "runs are merged in the order of what they cover"
    );
    let ends = covered.first().zip(covered.last()).expect("there is a run to merge");
    let name = RunName { first: ends.0.number, last: ends.1.number };
    let windows = inputs.iter().map(|input| BlockWindows::new(input.run, disk)).collect();
    let merge = Merge { known: inputs, inputs: windows };
    RunWriter::create(disk, origin, covered, go_on)
        .and_then(|mut writer| merge.write(&mut writer).and_then(|()| finish(writer)))
        .inspect_err(|_| give_up(disk, name))
}

struct Merge<'a> {
    known: &'a [MergeInput<'a>],
    inputs: Vec<BlockWindows<'a>>,
}

impl Merge<'_> {
    fn write(mut self, run: &mut RunWriter<'_>) -> Result<(), RunError> {
        self.places(run)?;
        self.terms(run)?;
        self.names(run, BlockKind::Names)?;
        self.names(run, BlockKind::Categories)?;
        self.lifecycles(run)
    }

    /// BlockSource of places say nothing of the file that they are in, so they are copied, but for those
    /// of segments that were rewritten.
    fn places(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        for (input, known) in self.inputs.iter_mut().zip(self.known) {
            let mut blocks = (0..).zip(&input.run().directory.places).peekable();
            for covered in input.run().covered() {
                let patch = known.patch_of(covered.first, covered.end);
                if let Some(OffsetOverrides { offsets, .. }) = patch {
                    offset_block::encode(covered.first, offsets, |first, body| {
                        out.places(first, body)
                    })?;
                }
                while let Some((number, first)) = blocks.next_if(|(_, first)| **first < covered.end)
                {
                    if patch.is_some() {
                        continue;
                    }
                    let block = input.any(number)?;
                    let body =
                        block.body(BlockKind::Offsets).map_err(|what| input.bad(number, what))?;
                    out.places(*first, body)?;
                }
            }
        }
        Ok(())
    }

    fn terms(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        out.begin_terms()?;
        let mut streams = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            let mut stream = TermInput::new(input.run());
            stream.advance(input)?;
            streams.push(stream);
        }
        while let Some(hash) = streams.iter().filter_map(TermInput::hash).min() {
            let mut first_ordinal = None;
            let inputs = self.inputs.iter_mut().zip(self.known);
            for (stream, (input, known)) in streams.iter_mut().zip(inputs) {
                let Some(entry) = stream.take_if(hash) else { continue };
                first_ordinal.get_or_insert(entry.first_ordinal);
                let keeps = |position| known.keeps(hash, position);
                copy_postings(input, stream.block, &entry.postings, keeps, out)?;
                stream.advance(input)?;
            }
            out.end_term(hash, first_ordinal.expect("the hash is somebody's"))?;
        }
        out.end_terms()
    }

    fn names(&mut self, out: &mut RunWriter<'_>, kind: BlockKind) -> Result<(), RunError> {
        let mut tables = TableInputs::begin(&mut self.inputs, kind)?;
        let mut table = out.begin_table(kind)?;
        while let Some(name) = tables.least() {
            tables.each(&mut self.inputs, &name, |_, _, _| Ok(()))?;
            out.add(&mut table, &name, None)?;
        }
        out.end_table(table)
    }

    /// Goes through twice: the blocks of a table follow each other, so large values come first.
    fn lifecycles(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        let mut larges = VecDeque::new();
        let mut tables = TableInputs::begin(&mut self.inputs, BlockKind::StreamMeta)?;
        while let Some(name) = tables.least() {
            let (at, value) = tables.lifecycle(&mut self.inputs, &name)?;
            let Some(input) = self.inputs.get_mut(at) else { continue };
            if let StoredMetadata::Large { bytes, first } = value.metadata {
                larges.push_back(copy_large(input, bytes, first, out)?);
            }
        }
        let mut tables = TableInputs::begin(&mut self.inputs, BlockKind::StreamMeta)?;
        let mut table = out.begin_table(BlockKind::StreamMeta)?;
        while let Some(name) = tables.least() {
            let (_, mut value) = tables.lifecycle(&mut self.inputs, &name)?;
            if let StoredMetadata::Large { first, .. } = &mut value.metadata {
                *first = larges.pop_front().expect("it was copied when it was first met");
            }
            out.add(&mut table, &name, Some(&value.encode()))?;
        }
        out.end_table(table)
    }
}

/// Adds an entry's postings to the present term.
fn copy_postings(
    input: &mut BlockWindows<'_>,
    block: u32,
    postings: &StoredPostings,
    keeps: impl Fn(u64) -> bool,
    out: &mut RunWriter<'_>,
) -> Result<(), RunError> {
    let range = input.run().first()..input.run().end();
    let mut copy = |input: &BlockWindows<'_>, positions: &[u64]| {
        let within = positions
            .first()
            .zip(positions.last())
            .is_some_and(|(first, last)| range.contains(first) && range.contains(last));
        if !within {
            return Err(input.bad(block, Malformed::Field("posting")));
        }
        let mut kept = positions.iter().filter(|position| keeps(**position));
        kept.try_for_each(|position| out.posting(*position))
    };
    match postings {
        StoredPostings::One(position) => copy(input, &[*position]),
        StoredPostings::Few(positions) => copy(input, positions),
        StoredPostings::Many(list) => {
            let (mut leaf, mut last) = (Vec::new(), None);
            for number in 0..list.leaves() {
                list.leaf(input, number, &mut leaf)?;
                if leaf.first() <= last.as_ref() {
                    return Err(input.bad(block, Malformed::Field("posting")));
                }
                last = leaf.last().copied();
                copy(input, &leaf)?;
            }
            Ok(())
        }
    }
}

fn copy_large(
    input: &mut BlockWindows<'_>,
    bytes: u64,
    first: u32,
    out: &mut RunWriter<'_>,
) -> Result<u32, RunError> {
    let mut copied = None;
    for (number, length) in pieces(bytes, first) {
        let block = input.any(number)?;
        let body = block.body(BlockKind::Large).map_err(|what| input.bad(number, what))?;
        let piece = body.get(..length).unwrap_or(body);
        let at = out.large(std::iter::once(piece))?;
        copied.get_or_insert(at);
    }
    copied.ok_or_else(|| input.bad(first, Malformed::Field("length of metadata")))
}

/// The entries of one input, in order.
struct TermInput {
    /// The present block, and the end of them.
    block: u32,
    next: u32,
    end: u32,
    origin: u64,
    entries: vec::IntoIter<TermEntry>,
    present: Option<TermEntry>,
    last: Option<TermHash>,
}

impl TermInput {
    fn new(run: &Run) -> Self {
        let Range { start, end } = run.directory.terms;
        let entries = Vec::new().into_iter();
        Self {
            block: start,
            next: start,
            end,
            origin: run.first(),
            entries,
            present: None,
            last: None,
        }
    }

    fn hash(&self) -> Option<TermHash> {
        self.present.as_ref().map(|entry| entry.hash)
    }

    fn take_if(&mut self, hash: TermHash) -> Option<TermEntry> {
        self.present.take_if(|entry| entry.hash == hash)
    }

    /// Goes to the next entry, if there is one.
    fn advance(&mut self, input: &mut BlockWindows<'_>) -> Result<(), RunError> {
        loop {
            let before = self.last;
            self.present = self.entries.next();
            if let Some(hash) = self.hash() {
                self.last = Some(hash);
                if before >= self.last {
                    return Err(input.bad(self.block, Malformed::Field("order of terms")));
                }
                return Ok(());
            }
            if self.next >= self.end {
                return Ok(());
            }
            let block = input.any(self.next)?;
            if block.is(BlockKind::Terms) {
                let mut entries = Vec::new();
                let read = block
                    .body(BlockKind::Terms)
                    .and_then(TermBlockReader::new)
                    .and_then(|reader| reader.all(self.origin, &mut entries));
                read.map_err(|what| input.bad(self.next, what))?;
                self.block = self.next;
                self.entries = entries.into_iter();
            }
            self.next += 1;
        }
    }
}

/// One table of each input, all in order.
struct TableInputs {
    /// None: at its end.
    cursors: Vec<Option<TableCursor>>,
    kind: BlockKind,
}

impl TableInputs {
    fn begin(inputs: &mut [BlockWindows<'_>], kind: BlockKind) -> Result<Self, RunError> {
        let mut cursors = Vec::with_capacity(inputs.len());
        for input in inputs {
            let mut cursor = TableCursor::new(kind, input.run().directory.table(kind));
            cursors.push(if cursor.next(input)? { Some(cursor) } else { None });
        }
        Ok(Self { cursors, kind })
    }

    /// The least key that is still to come.
    fn least(&self) -> Option<Vec<u8>> {
        self.cursors.iter().flatten().map(TableCursor::key).min().map(<[u8]>::to_vec)
    }

    /// Gives each value of a key, the oldest first, with its input's place, and goes past it.
    fn each(
        &mut self,
        inputs: &mut [BlockWindows<'_>],
        key: &[u8],
        mut take: impl FnMut(usize, &TableCursor, &BlockWindows<'_>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        for (at, (slot, input)) in self.cursors.iter_mut().zip(inputs).enumerate() {
            let Some(cursor) = slot.as_mut().filter(|cursor| cursor.key() == key) else { continue };
            take(at, cursor, input)?;
            if !cursor.next(input)? {
                *slot = None;
            } else if cursor.key() <= key {
                return Err(cursor.bad(input, Malformed::Field("order of keys")));
            }
        }
        Ok(())
    }

    /// What all inputs together say of a stream's life, and whose metadata these are.
    fn lifecycle(
        &mut self,
        inputs: &mut [BlockWindows<'_>],
        name: &[u8],
    ) -> Result<(usize, StreamMetaValue), RunError> {
        debug_assert_eq!(self.kind, BlockKind::StreamMeta);
        let mut whose = 0;
        let mut all = StreamMetaValue { tombstoned: false, metadata: StoredMetadata::None };
        self.each(inputs, name, |at, cursor, input| {
            let value =
                StreamMetaValue::decode(cursor.value()).map_err(|what| cursor.bad(input, what))?;
            all.tombstoned |= value.tombstoned;
            if value.metadata != StoredMetadata::None {
                whose = at;
                all.metadata = value.metadata;
            }
            Ok(())
        })?;
        Ok((whose, all))
    }
}
