//! Compaction: merges neighbouring runs into one, or rewrites a run whose segments were rewritten.
//!
//! The result answers every lookup as its inputs together would. Memory does not grow with the
//! inputs, except for their directories. Reads bypass the block cache, so that a compaction does
//! not evict readers' blocks.

use std::{collections::VecDeque, ops::Range, sync::Arc, vec};

use super::super::offset_overrides::OffsetOverrides;
use super::{
    Run, RunError,
    block::{Block, BlockKind, BlockSource},
    block_reader::BlockWindows,
    block_writer::OnBytes,
    layout::{CoveredSegment, RunIdentity, RunName},
    offset_block,
    sorted_table::TableCursor,
    stream_meta_value::{StoredMetadata, StreamMetaValue, pieces},
    term_block::{StoredPostings, TermBlockReader, TermEntry},
    term_hash::TermHash,
    write::{RunWriter, remove_unfinished},
};
use crate::{disk::Disk, format::Malformed, options::IndexedIds};

/// An input run with the overrides of segments that were rewritten since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeInput<'a> {
    pub(crate) run: &'a Run,
    /// In the order of segments.
    pub(crate) overrides: &'a [Arc<OffsetOverrides>],
}

impl MergeInput<'_> {
    /// The covered segments in their latest rewritten form.
    pub(crate) fn covered(&self) -> impl Iterator<Item = CoveredSegment> {
        self.run.covered().iter().map(|covered| {
            match self.overrides_of(covered.first, covered.end) {
                Some(overridden) => overridden.covered,
                None => *covered,
            }
        })
    }

    /// Returns the overrides of the segment with these positions.
    fn overrides_of(&self, first: u64, end: u64) -> Option<&OffsetOverrides> {
        let same = |overridden: &&Arc<OffsetOverrides>| {
            (overridden.covered.first, overridden.covered.end) == (first, end)
        };
        self.overrides.iter().find(same).filter(|_| first < end).map(|overridden| &**overridden)
    }

    /// Returns whether a posting is kept.
    fn keeps(&self, hash: TermHash, position: u64) -> bool {
        !self.overrides.iter().any(|overridden| overridden.drops(hash, position))
    }
}

/// Merges neighbouring runs, the oldest first. The result is live once the manifest lists it; the
/// caller removes the inputs only then.
///
/// # Errors
/// [`RunError::Damaged`]: rebuild the run that it names. [`RunError::Io`]: see its source.
/// [`RunError::Stopped`]: `on_bytes` stopped it. The unfinished file is not live.
pub(crate) fn merge_runs(
    disk: &dyn Disk,
    origin: &RunIdentity,
    inputs: &[MergeInput<'_>],
    on_bytes: OnBytes<'_>,
) -> Result<RunName, RunError> {
    with_inputs(disk, origin, inputs, on_bytes, |run| run.finish())
}

/// Rewrites a run with its overrides applied. The result is durable under its temporary name,
/// because its final name is that of the input: the caller renames it once no one reads the input.
///
/// # Errors
/// As [`merge_runs`].
pub(crate) fn rewrite_run(
    disk: &dyn Disk,
    origin: &RunIdentity,
    input: &MergeInput<'_>,
    on_bytes: OnBytes<'_>,
) -> Result<RunName, RunError> {
    with_inputs(disk, origin, std::slice::from_ref(input), on_bytes, |run| {
        run.finish_without_rename()
    })
}

fn with_inputs(
    disk: &dyn Disk,
    origin: &RunIdentity,
    inputs: &[MergeInput<'_>],
    on_bytes: OnBytes<'_>,
    finish: fn(RunWriter<'_>) -> Result<RunName, RunError>,
) -> Result<RunName, RunError> {
    let covered: Vec<CoveredSegment> = inputs.iter().flat_map(MergeInput::covered).collect();
    let mut pairs = covered.iter().zip(covered.iter().skip(1));
    assert!(
        pairs.all(|(one, next)| one.number < next.number && one.end <= next.first),
        "merged runs cover ascending, disjoint segments"
    );
    let ends = covered.first().zip(covered.last()).expect("a merge has at least one input");
    let name = RunName { first: ends.0.number, last: ends.1.number };
    let windows = inputs
        .iter()
        .map(|input| RunSource {
            run: input.run,
            blocks: BlockWindows::new(input.run.file(), disk),
        })
        .collect();
    // Without the ids that an input lacks: a run has all ids of a kind, or does not claim the kind.
    let ids = inputs.iter().map(|input| input.run.ids());
    let ids = ids.reduce(IndexedIds::common).unwrap_or_default();
    let merge = Merge { known: inputs, inputs: windows };
    RunWriter::create(disk, origin, (covered, ids), on_bytes)
        .and_then(|mut writer| merge.write(&mut writer).and_then(|()| finish(writer)))
        .inspect_err(|_| remove_unfinished(disk, name))
}

/// An input run and the reader of its blocks.
struct RunSource<'a> {
    run: &'a Run,
    blocks: BlockWindows<'a>,
}

impl BlockSource for RunSource<'_> {
    fn block(&mut self, number: u32) -> Result<Block, RunError> {
        self.blocks.block(number)
    }

    fn malformed(&self, number: u32, what: Malformed) -> RunError {
        self.blocks.malformed(number, what)
    }
}

struct Merge<'a> {
    known: &'a [MergeInput<'a>],
    inputs: Vec<RunSource<'a>>,
}

impl Merge<'_> {
    fn write(mut self, run: &mut RunWriter<'_>) -> Result<(), RunError> {
        // In the order of the blocks in the file, which is written front to back.
        self.offsets(run)?;
        self.terms(run)?;
        self.names(run, BlockKind::Names)?;
        self.names(run, BlockKind::Categories)?;
        self.stream_meta(run)
    }

    /// Copies offset blocks, which do not depend on their file. Blocks of rewritten segments are
    /// encoded from the overrides.
    fn offsets(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        for (input, known) in self.inputs.iter_mut().zip(self.known) {
            let mut blocks = (0..).zip(&input.run.directory.offset_blocks).peekable();
            for covered in input.run.covered() {
                let overridden = known.overrides_of(covered.first, covered.end);
                if let Some(OffsetOverrides { offsets, .. }) = overridden {
                    offset_block::encode(covered.first, offsets, |first, body| {
                        out.push_offset_block(first, body)
                    })?;
                }
                // A block never spans segments, so it belongs to the one in which it begins.
                while let Some((number, first)) = blocks.next_if(|(_, first)| **first < covered.end)
                {
                    // The original blocks of a rewritten segment are dropped.
                    if overridden.is_some() {
                        continue;
                    }
                    let block = input.block(number)?;
                    let body = block
                        .body(BlockKind::Offsets)
                        .map_err(|what| input.malformed(number, what))?;
                    out.push_offset_block(*first, body)?;
                }
            }
        }
        Ok(())
    }

    fn terms(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        out.begin_terms()?;
        let mut streams = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            let mut stream = TermStream::new(input.run);
            stream.advance(input)?;
            streams.push(stream);
        }
        // K-way merge by hash. Inputs are in the order of positions, so concatenated postings
        // ascend.
        while let Some(hash) = streams.iter().filter_map(TermStream::hash).min() {
            let mut first_ordinal = None;
            let inputs = self.inputs.iter_mut().zip(self.known);
            for (stream, (input, known)) in streams.iter_mut().zip(inputs) {
                let Some(entry) = stream.take_if(hash) else { continue };
                // The oldest input has the first posting and therefore the first ordinal.
                first_ordinal.get_or_insert(entry.first_ordinal);
                // Postings of scavenged events go with the compaction.
                let keeps = |position| known.keeps(hash, position);
                copy_postings(input, stream.block, &entry.postings, keeps, out)?;
                stream.advance(input)?;
            }
            out.end_term(hash, first_ordinal.expect("at least one input has the least hash"))?;
        }
        out.end_terms()
    }

    fn names(&mut self, out: &mut RunWriter<'_>, kind: BlockKind) -> Result<(), RunError> {
        let mut tables = TableInputs::begin(&mut self.inputs, kind)?;
        let mut table = out.begin_table(kind)?;
        while let Some(name) = tables.least() {
            // Advances all inputs that have the name, which is written once.
            tables.each(&mut self.inputs, &name, |_, _, _| Ok(()))?;
            out.add(&mut table, &name, None)?;
        }
        out.end_table(table)
    }

    /// Two passes: the blocks of a table have to be contiguous, so large values are copied first.
    fn stream_meta(&mut self, out: &mut RunWriter<'_>) -> Result<(), RunError> {
        let mut larges = VecDeque::new();
        let mut tables = TableInputs::begin(&mut self.inputs, BlockKind::StreamMeta)?;
        while let Some(name) = tables.least() {
            let (at, value) = tables.delta(&mut self.inputs, &name)?;
            let Some(input) = self.inputs.get_mut(at) else { continue };
            if let StoredMetadata::Large { bytes, first } = value.metadata {
                larges.push_back(copy_large(input, bytes, first, out)?);
            }
        }
        let mut tables = TableInputs::begin(&mut self.inputs, BlockKind::StreamMeta)?;
        let mut table = out.begin_table(BlockKind::StreamMeta)?;
        while let Some(name) = tables.least() {
            let (_, mut value) = tables.delta(&mut self.inputs, &name)?;
            if let StoredMetadata::Large { first, .. } = &mut value.metadata {
                *first = larges.pop_front().expect("the first pass copied each large value");
            }
            out.add(&mut table, &name, Some(&value.encode()))?;
        }
        out.end_table(table)
    }
}

/// Adds an entry's postings to the current term.
fn copy_postings(
    input: &mut RunSource<'_>,
    block: u32,
    postings: &StoredPostings,
    keeps: impl Fn(u64) -> bool,
    out: &mut RunWriter<'_>,
) -> Result<(), RunError> {
    let range = input.run.first()..input.run.end();
    let mut copy = |input: &RunSource<'_>, positions: &[u64]| {
        // A posting outside the run's range would break the order of the result.
        let within = positions
            .first()
            .zip(positions.last())
            .is_some_and(|(first, last)| range.contains(first) && range.contains(last));
        if !within {
            return Err(input.malformed(block, Malformed::Field("posting")));
        }
        // Postings are validated before those of scavenged events are dropped.
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
                // Order within a leaf holds by its encoding; between leaves it has to be checked.
                if leaf.first() <= last.as_ref() {
                    return Err(input.malformed(block, Malformed::Field("posting")));
                }
                last = leaf.last().copied();
                copy(input, &leaf)?;
            }
            Ok(())
        }
    }
}

fn copy_large(
    input: &mut RunSource<'_>,
    bytes: u64,
    first: u32,
    out: &mut RunWriter<'_>,
) -> Result<u32, RunError> {
    let mut copied = None;
    for (number, length) in pieces(bytes, first) {
        let block = input.block(number)?;
        let body = block.body(BlockKind::Large).map_err(|what| input.malformed(number, what))?;
        // The last block of a large value is partly used.
        let piece = body.get(..length).unwrap_or(body);
        let at = out.large(std::iter::once(piece))?;
        copied.get_or_insert(at);
    }
    copied.ok_or_else(|| input.malformed(first, Malformed::Field("length of metadata")))
}

/// The term entries of one input, in the order of hashes.
struct TermStream {
    /// The current block, the next one, and the end of the range.
    block: u32,
    next: u32,
    end: u32,
    origin: u64,
    entries: vec::IntoIter<TermEntry>,
    current: Option<TermEntry>,
    last: Option<TermHash>,
}

impl TermStream {
    fn new(run: &Run) -> Self {
        let Range { start, end } = run.directory.terms;
        let entries = Vec::new().into_iter();
        Self {
            block: start,
            next: start,
            end,
            origin: run.first(),
            entries,
            current: None,
            last: None,
        }
    }

    fn hash(&self) -> Option<TermHash> {
        self.current.as_ref().map(|entry| entry.hash)
    }

    fn take_if(&mut self, hash: TermHash) -> Option<TermEntry> {
        self.current.take_if(|entry| entry.hash == hash)
    }

    /// Advances to the next entry, if there is one.
    fn advance(&mut self, input: &mut RunSource<'_>) -> Result<(), RunError> {
        loop {
            let before = self.last;
            self.current = self.entries.next();
            if let Some(hash) = self.hash() {
                self.last = Some(hash);
                // The merge relies on ascending hashes.
                if before >= self.last {
                    return Err(input.malformed(self.block, Malformed::Field("order of terms")));
                }
                return Ok(());
            }
            if self.next >= self.end {
                return Ok(());
            }
            let block = input.block(self.next)?;
            // Term blocks are interleaved with posting and filter blocks.
            if block.is(BlockKind::Terms) {
                let mut entries = Vec::new();
                let read = block
                    .body(BlockKind::Terms)
                    .and_then(TermBlockReader::new)
                    .and_then(|reader| reader.all(self.origin, &mut entries));
                read.map_err(|what| input.malformed(self.next, what))?;
                self.block = self.next;
                self.entries = entries.into_iter();
            }
            self.next += 1;
        }
    }
}

/// The same table of each input, merged by key.
struct TableInputs {
    /// `None` at the end of a table.
    cursors: Vec<Option<TableCursor>>,
    kind: BlockKind,
}

impl TableInputs {
    fn begin(inputs: &mut [RunSource<'_>], kind: BlockKind) -> Result<Self, RunError> {
        let mut cursors = Vec::with_capacity(inputs.len());
        for input in inputs {
            let mut cursor = TableCursor::new(kind, input.run.directory.table(kind));
            cursors.push(if cursor.next(input)? { Some(cursor) } else { None });
        }
        Ok(Self { cursors, kind })
    }

    /// The least key not yet visited.
    fn least(&self) -> Option<Vec<u8>> {
        self.cursors.iter().flatten().map(TableCursor::key).min().map(<[u8]>::to_vec)
    }

    /// Visits each input's value of a key, the oldest first, and advances past the key. `take` gets
    /// the index of the input.
    fn each(
        &mut self,
        inputs: &mut [RunSource<'_>],
        key: &[u8],
        mut take: impl FnMut(usize, &TableCursor, &RunSource<'_>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        for (at, (slot, input)) in self.cursors.iter_mut().zip(inputs).enumerate() {
            let Some(cursor) = slot.as_mut().filter(|cursor| cursor.key() == key) else { continue };
            take(at, cursor, input)?;
            if !cursor.next(input)? {
                *slot = None;
            // The merge relies on ascending keys.
            } else if cursor.key() <= key {
                return Err(cursor.malformed(input, Malformed::Field("order of keys")));
            }
        }
        Ok(())
    }

    /// Returns the combined change of a stream's metadata, and the index of the input whose
    /// metadata is the latest.
    fn delta(
        &mut self,
        inputs: &mut [RunSource<'_>],
        name: &[u8],
    ) -> Result<(usize, StreamMetaValue), RunError> {
        debug_assert_eq!(self.kind, BlockKind::StreamMeta);
        let mut whose = 0;
        let mut all = StreamMetaValue { tombstoned: false, metadata: StoredMetadata::None };
        self.each(inputs, name, |at, cursor, input| {
            let value = StreamMetaValue::decode(cursor.value())
                .map_err(|what| cursor.malformed(input, what))?;
            all.tombstoned |= value.tombstoned;
            // Inputs come oldest first, so the last metadata wins; a tombstone is permanent.
            if value.metadata != StoredMetadata::None {
                whose = at;
                all.metadata = value.metadata;
            }
            Ok(())
        })?;
        Ok((whose, all))
    }
}
