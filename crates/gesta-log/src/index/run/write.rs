//! Writing a run: from the memtables of one segment, or (in [`merge`](super::merge)) from several
//! runs.
//!
//! Blocks are written in the order offsets, terms interleaved with postings and filters, tables,
//! directory, footer. Memory does not grow with the run, except for its directory.

use std::{collections::BTreeMap, ops::ControlFlow};

use gesta_store::{Category, StreamName};

use super::{
    RunError,
    block::{BODY_BYTES, BlockKind},
    block_writer::{BlockWriter, OnBytes},
    bloom_filter::BloomFilterBuilder,
    layout::{CoveredSegment, Directory, Footer, RunIdentity, RunName},
    offset_block,
    posting_tree::{NodeAddress, PostingTree, PostingTreeWriter},
    sorted_table::{SortedTable, TableWriter},
    stream_meta_value::{INLINE_BYTES_MAX, StoredMetadata, StreamMetaDelta, StreamMetaValue},
    term_block::{FEW_MAX, StoredPostings, TermBlockBuilder, TermEntry},
    term_hash::TermHash,
};
use crate::{
    disk::{Disk, Operation},
    options::IndexedIds,
};

/// The contents of the run of one segment. Lists may be in any order.
#[derive(Clone, Debug)]
pub(crate) struct RunContents {
    pub(crate) covered: CoveredSegment,
    /// The ids among the terms.
    pub(crate) ids: IndexedIds,
    /// The record's offset for each position of the segment, in order.
    pub(crate) offsets: Vec<u32>,
    pub(crate) terms: Vec<TermPostings>,
    /// Streams whose first event is in the segment.
    pub(crate) names: Vec<StreamName>,
    pub(crate) categories: Vec<Category>,
    /// Changes of stream metadata. Of two for the same stream the later one comes later.
    pub(crate) stream_meta: Vec<(StreamName, StreamMetaDelta)>,
}

/// The postings of one term.
#[derive(Clone, Debug)]
pub(crate) struct TermPostings {
    pub(crate) hash: TermHash,
    /// For a stream, the revision of the first posting; for an append, its number of events;
    /// otherwise 0.
    pub(crate) first_ordinal: u64,
    pub(crate) postings: Positions,
}

/// Ascending positions. Most terms occur once and need no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Positions {
    One(u64),
    Many(Vec<u64>),
}

impl Positions {
    pub(super) fn as_slice(&self) -> &[u64] {
        match self {
            Self::One(position) => std::slice::from_ref(position),
            Self::Many(positions) => positions,
        }
    }

    /// Returns the union, in order.
    fn and(&self, others: &Self) -> Self {
        let mut all = [self.as_slice(), others.as_slice()].concat();
        all.sort_unstable();
        all.dedup();
        Self::Many(all)
    }
}

/// Writes the run of one segment. It is live once the manifest lists it.
///
/// # Errors
/// [`RunError::Io`]: see its source. The unfinished file is not live.
pub(crate) fn write_run(
    disk: &dyn Disk,
    origin: &RunIdentity,
    contents: RunContents,
) -> Result<RunName, RunError> {
    let name = RunName { first: contents.covered.number, last: contents.covered.number };
    let mut on_bytes = |_| ControlFlow::Continue(());
    let covered = (vec![contents.covered], contents.ids);
    RunWriter::create(disk, origin, covered, &mut on_bytes)
        .and_then(|writer| write_contents(writer, contents))
        .inspect_err(|_| remove_unfinished(disk, name))
}

/// Removes an unfinished run on a best-effort basis. If that fails, the file is removed when the
/// store is next opened.
pub(super) fn remove_unfinished(disk: &dyn Disk, name: RunName) {
    drop(disk.run(Operation::Remove { file: name.new_file() }));
}

fn write_contents(mut run: RunWriter<'_>, contents: RunContents) -> Result<RunName, RunError> {
    let RunContents { covered, offsets, mut terms, mut names, mut categories, stream_meta, .. } =
        contents;
    let events = covered.end.checked_sub(covered.first);
    assert_eq!(events, Some(offsets.len() as u64), "each position has its record's offset");
    offset_block::encode(covered.first, &offsets, |first, body| {
        run.push_offset_block(first, body)
    })?;
    run.begin_terms()?;
    // Runs are sorted by term hash; the memtable's maps are not. A term occurs once per memtable,
    // so equal hashes below are collisions.
    terms.sort_unstable_by_key(|term| (term.hash, term.postings.as_slice().first().copied()));
    let mut terms = terms.into_iter().peekable();
    while let Some(mut term) = terms.next() {
        // Two terms with the same hash share an entry; readers of the events tell them apart.
        while let Some(same) = terms.next_if(|next| next.hash == term.hash) {
            term.postings = term.postings.and(&same.postings);
        }
        for position in term.postings.as_slice() {
            // No lookup would find a posting outside the run.
            assert!((covered.first..covered.end).contains(position), "postings lie in the segment");
            run.posting(*position)?;
        }
        run.end_term(term.hash, term.first_ordinal)?;
    }
    run.end_terms()?;
    // Tables are sorted and free of duplicates, as their cursors require.
    names.sort_unstable();
    names.dedup();
    categories.sort_unstable();
    categories.dedup();
    run.names(names.iter().map(StreamName::as_str))?;
    run.categories(categories.iter().map(Category::as_str))?;
    write_stream_meta(&mut run, stream_meta)?;
    run.finish()
}

fn write_stream_meta(
    run: &mut RunWriter<'_>,
    changes: Vec<(StreamName, StreamMetaDelta)>,
) -> Result<(), RunError> {
    let mut stream_meta = BTreeMap::<_, StreamMetaDelta>::new();
    for (name, change) in changes {
        // Several changes of a stream combine into one; later metadata wins.
        let delta = stream_meta.entry(name).or_default();
        *delta = std::mem::take(delta).then(change);
    }
    // Large values first: the blocks of a table have to be contiguous.
    let mut values = Vec::with_capacity(stream_meta.len());
    for (name, delta) in &stream_meta {
        let metadata = match &delta.metadata {
            None => StoredMetadata::None,
            Some(json) if json.len() <= INLINE_BYTES_MAX => StoredMetadata::Inline(json.to_vec()),
            Some(json) => {
                let first = run.large(json.chunks(BODY_BYTES))?;
                StoredMetadata::Large { bytes: json.len() as u64, first }
            }
        };
        values.push((name, StreamMetaValue { tombstoned: delta.tombstoned, metadata }));
    }
    let mut table = run.begin_table(BlockKind::StreamMeta)?;
    for (name, value) in values {
        run.add(&mut table, name.as_str().as_bytes(), Some(&value.encode()))?;
    }
    run.end_table(table)
}

/// A table being written, and its first block.
pub(super) struct TableBuilder {
    kind: BlockKind,
    first: u32,
    writer: TableWriter,
}

/// A run being written. Methods are called in the order of the blocks; see the [module](self).
pub(super) struct RunWriter<'a> {
    out: BlockWriter<'a>,
    footer: Footer,
    directory: Directory,
    terms: TermBlockBuilder,
    filter: BloomFilterBuilder,
    postings: PostingsBlock,
    /// Postings of the current term until they exceed [`FEW_MAX`].
    few: Vec<u64>,
    count: u64,
    many: PostingTreeWriter,
}

/// The block that posting tree nodes go to. Its number is reserved when the first node is added,
/// because addresses contain it, and it is written when full.
#[derive(Debug, Default)]
struct PostingsBlock {
    number: Option<u32>,
    body: Vec<u8>,
}

impl PostingsBlock {
    fn keep(&mut self, out: &mut BlockWriter<'_>, bytes: &[u8]) -> Result<NodeAddress, RunError> {
        // Nodes never cross a block.
        if self.body.len() + bytes.len() > BODY_BYTES {
            self.flush(out)?;
        }
        let number = match self.number {
            Some(number) => number,
            None => *self.number.insert(out.reserve()?),
        };
        let address = NodeAddress::new(number, self.body.len());
        self.body.extend_from_slice(bytes);
        Ok(address)
    }

    fn flush(&mut self, out: &mut BlockWriter<'_>) -> Result<(), RunError> {
        if let Some(number) = self.number.take() {
            out.fill(number, BlockKind::Postings, &self.body)?;
            self.body.clear();
        }
        Ok(())
    }
}

impl<'a> RunWriter<'a> {
    /// Begins a run that covers these segments and has these ids.
    pub(super) fn create(
        disk: &'a dyn Disk,
        origin: &RunIdentity,
        (covered, ids): (Vec<CoveredSegment>, IndexedIds),
        on_bytes: OnBytes<'a>,
    ) -> Result<Self, RunError> {
        let ends = covered.first().zip(covered.last()).expect("a run covers a segment");
        let name = RunName { first: ends.0.number, last: ends.1.number };
        let footer = Footer {
            ids,
            keeps_scavenged: true,
            store: origin.store,
            salt: origin.salt(&covered),
            name,
            blocks: 0,
            directory: 0,
            directory_bytes: 0,
            terms: 0,
        };
        let out = BlockWriter::create(disk, name, footer.seed(), on_bytes)?;
        // Positions in entries are relative to the run's first one, which makes them short.
        let terms = TermBlockBuilder::new(ends.0.first);
        Ok(Self {
            out,
            footer,
            directory: Directory { covered, ..Directory::default() },
            terms,
            filter: BloomFilterBuilder::new(),
            postings: PostingsBlock::default(),
            few: Vec::new(),
            count: 0,
            many: PostingTreeWriter::default(),
        })
    }

    /// Adds an offset block that begins with position `first`.
    pub(super) fn push_offset_block(&mut self, first: u64, body: &[u8]) -> Result<(), RunError> {
        self.directory.offset_blocks.push(first);
        self.out.add(BlockKind::Offsets, body).map(drop)
    }

    /// Ends the offset blocks. Terms follow in the order of their hashes.
    pub(super) fn begin_terms(&mut self) -> Result<(), RunError> {
        self.directory.terms.start = self.out.next()?;
        Ok(())
    }

    /// Adds a posting of the current term. Postings ascend.
    pub(super) fn posting(&mut self, position: u64) -> Result<(), RunError> {
        // The buffer may still hold postings of the term before.
        if self.count == 0 {
            self.few.clear();
        }
        debug_assert!(self.few.last().is_none_or(|last| *last < position), "postings ascend");
        self.count += 1;
        if self.count <= FEW_MAX {
            self.few.push(position);
            return Ok(());
        }
        let Self { out, postings, few, many, .. } = self;
        let mut keep = |bytes: &[u8]| postings.keep(out, bytes);
        // The posting that exceeds the limit moves all earlier ones into a tree.
        for position in few.drain(..) {
            many.push(position, &mut keep)?;
        }
        many.push(position, &mut keep)
    }

    /// Ends the current term. A term without postings is omitted.
    pub(super) fn end_term(&mut self, hash: TermHash, first_ordinal: u64) -> Result<(), RunError> {
        let count = std::mem::take(&mut self.count);
        let postings = match (count, self.few.as_slice()) {
            (0, _) => return Ok(()),
            (1, &[position]) => StoredPostings::One(position),
            (..=FEW_MAX, _) => StoredPostings::Few(std::mem::take(&mut self.few)),
            _ => {
                let Self { out, postings, many, .. } = self;
                let root = many.finish(&mut |bytes: &[u8]| postings.keep(out, bytes))?;
                StoredPostings::Many(PostingTree { count, root })
            }
        };
        let entry = TermEntry { hash, first_ordinal, postings };
        if !self.terms.add(&entry) {
            self.end_terms_block()?;
            // The entry opens the next block.
            assert!(self.terms.add(&entry), "an empty block has room for any entry");
        }
        // Only now: a block that was just ended is listed with the terms before this one.
        self.filter.add(hash);
        self.footer.terms += 1;
        // Take the buffer back for the next term.
        if let StoredPostings::Few(few) = entry.postings {
            self.few = few;
        }
        Ok(())
    }

    fn end_terms_block(&mut self) -> Result<(), RunError> {
        let Some(first) = self.terms.first() else { return Ok(()) };
        // The filter covers whole term blocks, so that one probe yields one block.
        let number = self.out.add(BlockKind::Terms, &self.terms.take())?;
        self.filter.list(first, number);
        if self.filter.is_full() { self.end_filter() } else { Ok(()) }
    }

    fn end_filter(&mut self) -> Result<(), RunError> {
        if let Some((first, body)) = self.filter.take() {
            let number = self.out.add(BlockKind::Filter, &body)?;
            self.directory.filters.push((first, number));
        }
        Ok(())
    }

    pub(super) fn end_terms(&mut self) -> Result<(), RunError> {
        self.end_terms_block()?;
        self.end_filter()?;
        // Its number was reserved before these blocks, so it is filled in place.
        self.postings.flush(&mut self.out)?;
        self.directory.terms.end = self.out.next()?;
        Ok(())
    }

    /// Adds stream names, in byte order.
    fn names<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Result<(), RunError> {
        let mut table = self.begin_table(BlockKind::Names)?;
        for name in names {
            self.add(&mut table, name.as_bytes(), None)?;
        }
        self.end_table(table)
    }

    /// Adds categories, in byte order.
    fn categories<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> Result<(), RunError> {
        let mut table = self.begin_table(BlockKind::Categories)?;
        for name in names {
            self.add(&mut table, name.as_bytes(), None)?;
        }
        self.end_table(table)
    }

    /// Adds a value in blocks of its own. Returns the first block.
    pub(super) fn large<'b>(
        &mut self,
        bodies: impl Iterator<Item = &'b [u8]>,
    ) -> Result<u32, RunError> {
        let first = self.out.next()?;
        for body in bodies {
            self.out.add(BlockKind::Large, body)?;
        }
        Ok(first)
    }

    pub(super) fn begin_table(&mut self, kind: BlockKind) -> Result<TableBuilder, RunError> {
        Ok(TableBuilder { kind, first: self.out.next()?, writer: TableWriter::new() })
    }

    pub(super) fn add(
        &mut self,
        table: &mut TableBuilder,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RunError> {
        let kind = table.kind;
        table.writer.add(key, value, &mut |body: &[u8]| self.out.add(kind, body).map(drop))
    }

    pub(super) fn end_table(&mut self, table: TableBuilder) -> Result<(), RunError> {
        let TableBuilder { kind, first, writer } = table;
        let table: SortedTable =
            writer.finish(first, &mut |body: &[u8]| self.out.add(kind, body).map(drop))?;
        *self.directory.table_mut(kind) = table;
        Ok(())
    }

    /// Ends the run, makes it durable and renames it to its final name.
    pub(super) fn finish(mut self) -> Result<RunName, RunError> {
        self.put_directory()?;
        self.out.finish(&self.footer.encode(), Footer::own_seed())?;
        Ok(self.footer.name)
    }

    /// Ends the run and makes it durable under its temporary name.
    pub(super) fn finish_without_rename(mut self) -> Result<RunName, RunError> {
        self.put_directory()?;
        self.out.end(&self.footer.encode(), Footer::own_seed())?;
        Ok(self.footer.name)
    }

    fn put_directory(&mut self) -> Result<(), RunError> {
        let directory = self.directory.encode();
        self.footer.directory = self.out.next()?;
        self.footer.directory_bytes = directory.len() as u64;
        for body in directory.chunks(BODY_BYTES) {
            self.out.add(BlockKind::Directory, body)?;
        }
        self.footer.blocks = self.out.next()?.saturating_add(1);
        Ok(())
    }
}
