//! Generated segments, the expected answers of their runs, and a check of every lookup.

use std::collections::{BTreeMap, BTreeSet};

use gesta_store::{Category, Direction, EventId, EventType, StreamName, Tag};
use uuid::Uuid;

use super::{
    super::{
        CoveredSegment, LookupHint, Positions, PostingsCursor, Run, RunContents, RunError,
        RunLocation, StreamMetaDelta, Term, TermHash, TermKey, TermMatch, TermPostings,
    },
    STORE, TestRng,
};
use crate::{disk::Disk, options::IndexedIds};

/// The shape of generated segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentShape {
    pub(super) seed: u64,
    pub(super) segments: u64,
    pub(super) events_max: u64,
    pub(super) streams: u64,
}

type Terms = BTreeMap<TermHash, (u64, Vec<u64>)>;

/// Generates the contents of consecutive segments.
pub(super) fn segments(shape: SegmentShape) -> Vec<RunContents> {
    let mut rng = TestRng(shape.seed);
    let (mut number, mut position) = (1, 1);
    let mut revisions = BTreeMap::new();
    let mut segments = Vec::new();
    for _ in 0..shape.segments {
        let contents = segment(&mut rng, shape, number, position, &mut revisions);
        number += 1 + rng.below(3);
        position = contents.covered.end + if rng.one_in(3) { rng.below(100) } else { 0 };
        segments.push(contents);
    }
    segments
}

fn segment(
    rng: &mut TestRng,
    shape: SegmentShape,
    number: u64,
    first: u64,
    revisions: &mut BTreeMap<StreamName, u64>,
) -> RunContents {
    let key = TermKey::new(STORE);
    let events = if rng.one_in(8) { 0 } else { 1 + rng.below(shape.events_max) };
    let covered = covered(rng, number, first, events);
    let mut terms = Terms::new();
    let (mut names, mut categories) = (Vec::new(), BTreeSet::new());
    let (mut offsets, mut offset) = (Vec::new(), 4_200);
    let mut append_left = 0;
    for position in first..first + events {
        offsets.push(offset);
        let reach = if rng.one_in(50) { 100_000 } else { 300 };
        offset += 150 + rng.below(reach) as u32;
        let stream = stream(rng, shape.streams);
        let revision = revisions.entry(stream.clone()).or_insert(0);
        if *revision == 0 {
            names.push(stream.clone());
        }
        let mut add = |term: Term<'_>, ordinal| {
            terms.entry(key.hash(&term)).or_insert((ordinal, Vec::new())).1.push(position);
        };
        add(Term::Stream(&stream), *revision);
        *revision += 1;
        if let Some(category) = stream.category() {
            add(Term::Category(&category), 0);
            categories.insert(category);
        }
        let event_type = EventType::new(format!("type-{}", rng.below(3).min(1))).unwrap();
        add(Term::EventType(&event_type), 0);
        let mut tags = BTreeSet::from([rng.below(500), rng.below(500)]);
        tags.retain(|_| !rng.one_in(3));
        for tag in tags {
            add(Term::Tag(&Tag::of("tag", &tag.to_string()).unwrap()), 0);
        }
        if append_left == 0 {
            append_left = 1 + rng.below(4);
            let id = EventId::from(Uuid::from_u64_pair(rng.next(), rng.next()));
            add(Term::Append(id), append_left);
        }
        append_left -= 1;
    }
    let stream_meta = stream_meta(rng, shape.streams);
    let terms = terms.into_iter();
    let terms = terms.map(|(hash, (first_ordinal, postings))| TermPostings {
        hash,
        first_ordinal,
        postings: match *postings {
            [position] => Positions::One(position),
            _ => Positions::Many(postings),
        },
    });
    let mut terms: Vec<_> = terms.collect();
    let turn = rng.below(1 + terms.len() as u64) as usize;
    terms.rotate_left(turn);
    RunContents {
        covered,
        ids: IndexedIds::NONE,
        offsets,
        terms,
        names,
        categories: categories.into_iter().collect(),
        stream_meta,
    }
}

fn covered(rng: &mut TestRng, number: u64, first: u64, events: u64) -> CoveredSegment {
    CoveredSegment {
        number,
        salt: [number as u8; 16],
        incarnation: [7; 16],
        first,
        end: first + events,
        adopted_length: 4_096 + rng.below(1 << 26),
        chain: [rng.next() as u8; 32],
        last_recorded_at: (events > 0).then_some(rng.next()),
    }
}

/// Some streams are hot, most have few events, and some have no category.
fn stream(rng: &mut TestRng, streams: u64) -> StreamName {
    let id = if rng.one_in(4) { rng.below(3) } else { rng.below(streams) };
    let name = match id % 5 {
        0 => format!("lone{id}"),
        1 => format!("order-{id:05}-with-a-rather-long-tail-{}", "x".repeat(id as usize % 700)),
        2 => format!("order-{id}"),
        3 => format!("{}-é{id}", "c".repeat(1 + id as usize % 40)),
        _ => format!("account-{id}"),
    };
    StreamName::new(name).unwrap()
}

fn stream_meta(rng: &mut TestRng, streams: u64) -> Vec<(StreamName, StreamMetaDelta)> {
    let mut changes = Vec::new();
    for _ in 0..rng.below(60) {
        let bytes = match rng.below(20) {
            0 => rng.below(20_000),
            1 => 1_024,
            _ => rng.below(80),
        };
        let json = vec![rng.next() as u8; bytes as usize];
        let metadata = (!rng.one_in(4)).then(|| json.into());
        let tombstoned = metadata.is_none() || rng.one_in(10);
        changes.push((stream(rng, streams), StreamMetaDelta { metadata, tombstoned }));
    }
    changes
}

/// The answers expected of a run.
#[derive(Debug, Default)]
pub(super) struct Model {
    covered: Vec<CoveredSegment>,
    terms: Terms,
    places: BTreeMap<u64, RunLocation>,
    names: BTreeSet<StreamName>,
    categories: BTreeSet<Category>,
    stream_meta: BTreeMap<StreamName, StreamMetaDelta>,
}

impl Model {
    pub(super) fn of(segments: &[RunContents]) -> Self {
        let mut model = Self::default();
        for segment in segments {
            let CoveredSegment { number, salt, first, .. } = segment.covered;
            model.covered.push(segment.covered);
            for term in &segment.terms {
                let known =
                    model.terms.entry(term.hash).or_insert((term.first_ordinal, Vec::new()));
                known.1.extend(term.postings.as_slice());
            }
            for (at, offset) in segment.offsets.iter().enumerate() {
                let next = segment.offsets.get(at + 1).copied();
                let place = RunLocation { segment: number, salt, offset: *offset, next };
                model.places.insert(first + at as u64, place);
            }
            model.names.extend(segment.names.iter().cloned());
            model.categories.extend(segment.categories.iter().cloned());
            for (name, change) in &segment.stream_meta {
                let known = model.stream_meta.entry(name.clone()).or_default();
                known.tombstoned |= change.tombstoned;
                if change.metadata.is_some() {
                    known.metadata.clone_from(&change.metadata);
                }
            }
        }
        model
    }

    /// Checks every lookup. Returns the error of the first that fails.
    pub(super) fn check(&self, run: &Run, disk: &dyn Disk) -> Result<(), RunError> {
        assert_eq!(run.covered(), self.covered);
        assert_eq!((run.store(), run.bytes()), (STORE, disk.length(&run.name().file()).unwrap()));
        let mut rng = TestRng(run.bytes());
        for (hash, (first_ordinal, postings)) in &self.terms {
            let found = run.find(disk, *hash)?.expect("the term is there");
            assert_eq!(found.first_ordinal(), *first_ordinal);
            assert_eq!(found.count(), postings.len() as u64);
            check_list(&mut rng, run, disk, &found, postings)?;
        }
        for _ in 0..200 {
            let hash = TermHash::new(u128::from(rng.next()) << 64 | u128::from(rng.next()));
            assert_eq!(run.find(disk, hash)?, None);
        }
        self.check_places(&mut rng, run, disk)?;
        self.check_names(&mut rng, run, disk)?;
        self.check_lifecycles(run, disk)
    }

    fn check_places(&self, rng: &mut TestRng, run: &Run, disk: &dyn Disk) -> Result<(), RunError> {
        let (first, end) = (run.first(), run.end());
        let mut near = LookupHint::default();
        for position in first.saturating_sub(2)..end + 2 {
            let expected = self.places.get(&position).copied();
            assert_eq!(run.locate(disk, position, &mut near)?, expected, "{position}");
            assert_eq!(
                run.locate(disk, position, &mut LookupHint::default())?,
                expected,
                "{position}"
            );
            if rng.one_in(20) {
                // Seek to an arbitrary position, and continue from there.
                let position = first.saturating_sub(5) + rng.below(end - first + 10);
                for position in position..position + rng.below(4) {
                    let expected = self.places.get(&position).copied();
                    assert_eq!(run.locate(disk, position, &mut near)?, expected, "{position}");
                }
            }
        }
        Ok(())
    }

    fn check_names(&self, rng: &mut TestRng, run: &Run, disk: &dyn Disk) -> Result<(), RunError> {
        let all: Vec<_> = self.names.iter().map(StreamName::as_str).collect();
        let mut afters = vec![None, Some(""), Some("order-"), Some("\u{10ffff}")];
        let mut prefixes = vec!["", "order-", "order-0", "lone", "c", "\u{10ffff}", "nothing"];
        for _ in 0..all.len().min(20) {
            let name = all[rng.below(all.len() as u64) as usize];
            afters.push(Some(name));
            prefixes.push(name);
        }
        for prefix in prefixes {
            let after = afters[rng.below(afters.len() as u64) as usize];
            for after in [None, after] {
                let mut names = run.names(prefix, after);
                let expected = self.names.iter().filter(|name| {
                    name.as_str().starts_with(prefix)
                        && after.is_none_or(|after| name.as_str() > after)
                });
                for expected in expected {
                    assert_eq!(names.next(run, disk)?.as_ref(), Some(expected));
                }
                assert_eq!(names.next(run, disk)?, None, "{prefix} after {after:?}");
            }
        }
        for after in [None, Some("b"), Some("order"), Some("zz")] {
            let mut categories = run.categories(after);
            let expected = self.categories.iter();
            for expected in expected.filter(|name| after.is_none_or(|after| name.as_str() > after))
            {
                assert_eq!(categories.next(run, disk)?.as_ref(), Some(expected));
            }
            assert_eq!(categories.next(run, disk)?, None);
        }
        Ok(())
    }

    fn check_lifecycles(&self, run: &Run, disk: &dyn Disk) -> Result<(), RunError> {
        let mut stream_meta = run.stream_meta();
        for (name, delta) in &self.stream_meta {
            let found = stream_meta.next(run, disk)?;
            assert_eq!(found.as_ref(), Some(&(name.clone(), delta.clone())));
        }
        assert_eq!(stream_meta.next(run, disk)?, None);
        Ok(())
    }
}

fn check_list(
    rng: &mut TestRng,
    run: &Run,
    disk: &dyn Disk,
    found: &TermMatch,
    postings: &[u64],
) -> Result<(), RunError> {
    let count = postings.len() as u64;
    assert_eq!(run.posting(disk, found, count)?, None);
    let mut cursor = PostingsCursor::new(found.clone());
    let (least, most) = (postings[0].saturating_sub(3), postings[postings.len() - 1] + 3);
    for _ in 0..2 + count.min(60) {
        let ordinal = rng.below(count);
        let posting = Some(postings[ordinal as usize]);
        assert_eq!(run.posting(disk, found, ordinal)?, posting);
        let position = if rng.one_in(2) {
            least + rng.below(most - least + 1)
        } else {
            (postings[ordinal as usize] + 1).saturating_sub(rng.below(3))
        };
        for direction in [Direction::Forwards, Direction::Backwards] {
            let expected = nearest(postings, position, direction);
            let fresh =
                PostingsCursor::new(found.clone()).seek(run.file(), disk, position, direction)?;
            assert_eq!(fresh, expected);
            assert_eq!(cursor.seek(run.file(), disk, position, direction)?, expected);
            assert_eq!(cursor.seek_ordinal(run.file(), disk, ordinal)?, posting);
        }
    }
    walk(run, disk, found, postings)
}

fn walk(run: &Run, disk: &dyn Disk, found: &TermMatch, postings: &[u64]) -> Result<(), RunError> {
    let mut seeking = PostingsCursor::new(found.clone());
    let mut from = 0;
    for posting in postings {
        assert_eq!(seeking.seek(run.file(), disk, from, Direction::Forwards)?, Some(*posting));
        from = posting + 1;
    }
    assert_eq!(seeking.seek(run.file(), disk, from, Direction::Forwards)?, None);
    let mut from = u64::MAX;
    for posting in postings.iter().rev() {
        assert_eq!(seeking.seek(run.file(), disk, from, Direction::Backwards)?, Some(*posting));
        from = posting - 1;
    }
    assert_eq!(seeking.seek(run.file(), disk, from, Direction::Backwards)?, None);
    Ok(())
}

fn nearest(postings: &[u64], position: u64, direction: Direction) -> Option<u64> {
    match direction {
        Direction::Forwards => postings.iter().find(|posting| **posting >= position).copied(),
        Direction::Backwards => {
            postings.iter().rev().find(|posting| **posting <= position).copied()
        }
    }
}
