//! One page of the matching documents, with the number of all and the counts of facets, in one
//! pass.
//!
//! Invariants: counts are exact. Documents are ordered by rank, then by id. Within a segment the
//! ordinal of an id stands for it, since ordinals have the order of ids.

use std::{
    collections::{BinaryHeap, HashMap},
    io, mem,
};

use tantivy::{
    DocAddress, DocId, Score, SegmentOrdinal, SegmentReader,
    collector::{Collector, SegmentCollector},
    columnar::{Column, StrColumn, TermOrdHit},
    fastfield::FastFieldReaders,
};

use super::schema;
use crate::{
    FacetCounts, FieldKind,
    cursor::{self, Order},
    search::CheckedSearch,
};

/// Collects one page, and one document more if there is one.
pub(super) struct PageCollector<'s> {
    pub(super) search: &'s CheckedSearch,
}

/// The result of all segments.
pub(super) struct FoundPage {
    pub(super) total: u64,
    pub(super) page: Vec<Placed>,
    pub(super) facets: Vec<FacetCounts>,
}

/// A document with its place in the order.
pub(super) struct Placed {
    pub(super) rank: u64,
    pub(super) id: String,
    pub(super) address: DocAddress,
    pub(super) score: Score,
}

/// The result of one segment.
pub(super) struct SegmentFruit {
    total: u64,
    page: Vec<Placed>,
    /// Counts by value, for each facet.
    facets: Vec<HashMap<String, u64>>,
}

impl PageCollector<'_> {
    fn keeps(&self) -> usize {
        match self.search.search.limit {
            0 => 0,
            limit => limit + 1,
        }
    }

    fn column_of(&self, field: &str) -> String {
        let kind = self.search.definition.kind_of(field).expect("the search is checked");
        schema::column(field, kind)
    }

    fn ranks(&self, columns: &FastFieldReaders) -> tantivy::Result<Ranks> {
        let Some(field) = &self.search.sort_field else {
            return Ok(match self.search.order {
                Order::Relevance => Ranks::Scores,
                _ => Ranks::Same,
            });
        };
        let name = self.column_of(field);
        Ok(match self.search.definition.kind_of(field) {
            Some(FieldKind::Number) => Ranks::Numbers(columns.f64(&name)?),
            _ => Ranks::Dates(columns.i64(&name)?),
        })
    }
}

impl Collector for PageCollector<'_> {
    type Fruit = FoundPage;
    type Child = SegmentPage;

    fn for_segment(
        &self,
        segment: SegmentOrdinal,
        reader: &SegmentReader,
    ) -> tantivy::Result<SegmentPage> {
        let columns = reader.fast_fields();
        let ids = columns.str(schema::ID)?;
        let after = match (&self.search.search.after, &ids) {
            (Some(cursor), Some(ids)) => Some((cursor.rank, first_after(ids, &cursor.id)?)),
            (Some(_), None) | (None, _) => None,
        };
        let facet = |field: &str| {
            let column = columns.str(&self.column_of(field))?;
            let values = column.as_ref().map_or(0, |column| column.num_terms());
            Ok(SegmentFacet { column, counts: vec![0; values] })
        };
        let facets = self.search.search.facets.iter();
        Ok(SegmentPage {
            segment,
            order: self.search.order,
            ranks: self.ranks(columns)?,
            ids,
            after,
            keeps: self.keeps(),
            best: BinaryHeap::new(),
            total: 0,
            facets: facets.map(|it| facet(&it.field)).collect::<tantivy::Result<_>>()?,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.search.order == Order::Relevance
    }

    fn merge_fruits(&self, fruits: Vec<io::Result<SegmentFruit>>) -> tantivy::Result<FoundPage> {
        let requested = &self.search.search.facets;
        let (mut total, mut page) = (0, Vec::new());
        let mut counts: Vec<HashMap<String, u64>> =
            requested.iter().map(|_| HashMap::new()).collect();
        for fruit in fruits {
            let fruit = fruit?;
            total += fruit.total;
            page.extend(fruit.page);
            for (all, own) in counts.iter_mut().zip(fruit.facets) {
                own.into_iter().for_each(|(value, count)| *all.entry(value).or_default() += count);
            }
        }
        page.sort_unstable_by(|one: &Placed, other: &Placed| {
            (one.rank, &one.id).cmp(&(other.rank, &other.id))
        });
        page.truncate(self.keeps());
        let facets = requested.iter().zip(counts).map(|(facet, counts)| {
            let mut values: Vec<_> = counts.into_iter().collect();
            values.sort_unstable_by(|(a, count_a), (b, count_b)| {
                count_b.cmp(count_a).then_with(|| a.cmp(b))
            });
            values.truncate(facet.limit);
            FacetCounts { field: facet.field.clone(), values }
        });
        Ok(FoundPage { total, page, facets: facets.collect() })
    }
}

/// Returns the lowest ordinal of the ids after this one.
fn first_after(ids: &StrColumn, id: &str) -> io::Result<u64> {
    Ok(match ids.dictionary().term_ord_or_next(id)? {
        TermOrdHit::Exact(ordinal) => ordinal + 1,
        TermOrdHit::Next(ordinal) => ordinal,
    })
}

/// The source of a document's rank.
enum Ranks {
    Scores,
    Numbers(Column<f64>),
    Dates(Column<i64>),
    /// All are alike, so that ids decide.
    Same,
}

/// Collects the documents of a segment.
pub(super) struct SegmentPage {
    segment: SegmentOrdinal,
    order: Order,
    ranks: Ranks,
    /// `None` in a segment without documents.
    ids: Option<StrColumn>,
    /// Rank and lowest ordinal with which documents of this rank follow the cursor.
    after: Option<(u64, u64)>,
    keeps: usize,
    /// The first documents so far, the last of them on top.
    best: BinaryHeap<Candidate>,
    total: u64,
    facets: Vec<SegmentFacet>,
}

struct SegmentFacet {
    column: Option<StrColumn>,
    /// Number of documents, by the ordinal of the value.
    counts: Vec<u64>,
}

/// Ordered by rank and ordinal; a segment has no two of the same.
#[derive(Clone, Copy)]
struct Candidate {
    rank: u64,
    ordinal: u64,
    doc: DocId,
    score: Score,
}

impl Candidate {
    const fn place(&self) -> (u64, u64) {
        (self.rank, self.ordinal)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl SegmentPage {
    fn rank(&self, doc: DocId, score: Score) -> u64 {
        let missing = || cursor::rank_without_value(self.order);
        let rank = match &self.ranks {
            Ranks::Scores => return cursor::rank_of_score(score),
            Ranks::Same => return 0,
            Ranks::Numbers(column) => column.first(doc).map(cursor::rank_of_number),
            Ranks::Dates(column) => column.first(doc).map(cursor::rank_of_date),
        };
        let is_down = matches!(self.order, Order::NumberDown | Order::DateDown);
        rank.map_or_else(missing, |rank| if is_down { !rank } else { rank })
    }

    /// Keeps a document if it is among the first ones after the cursor.
    fn place(&mut self, doc: DocId, score: Score) {
        let rank = self.rank(doc, score);
        let is_full = self.best.len() >= self.keeps;
        let is_behind = self.best.peek().is_some_and(|last| is_full && rank > last.rank);
        let is_before = self.after.is_some_and(|(after, _)| rank < after);
        if is_behind || is_before || self.keeps == 0 {
            return;
        }
        let ordinal = self.ids.as_ref().and_then(|ids| ids.ords().first(doc));
        let ordinal = ordinal.unwrap_or(u64::MAX);
        if self.after.is_some_and(|(after, first)| rank == after && ordinal < first) {
            return;
        }
        self.best.push(Candidate { rank, ordinal, doc, score });
        if is_full {
            self.best.pop();
        }
    }

    fn found(self) -> io::Result<SegmentFruit> {
        let mut page = Vec::with_capacity(self.best.len());
        for Candidate { rank, ordinal, doc, score } in self.best {
            let mut id = String::new();
            if let Some(ids) = &self.ids {
                ids.ord_to_str(ordinal, &mut id)?;
            }
            let address = DocAddress::new(self.segment, doc);
            page.push(Placed { rank, id, address, score });
        }
        let facets = self.facets.into_iter().map(SegmentFacet::values);
        Ok(SegmentFruit { total: self.total, page, facets: facets.collect::<io::Result<_>>()? })
    }
}

impl SegmentFacet {
    fn count(&mut self, doc: DocId) {
        let Some(column) = &self.column else { return };
        for ordinal in column.ords().values_for_doc(doc) {
            let count = usize::try_from(ordinal).ok().and_then(|at| self.counts.get_mut(at));
            if let Some(count) = count {
                *count += 1;
            }
        }
    }

    fn values(mut self) -> io::Result<HashMap<String, u64>> {
        let mut values = HashMap::new();
        let counts = mem::take(&mut self.counts);
        let Some(column) = self.column else { return Ok(values) };
        for (ordinal, count) in (0_u64..).zip(counts).filter(|(_, count)| *count > 0) {
            let mut value = String::new();
            column.ord_to_str(ordinal, &mut value)?;
            values.insert(value, count);
        }
        Ok(values)
    }
}

impl SegmentCollector for SegmentPage {
    type Fruit = io::Result<SegmentFruit>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        self.facets.iter_mut().for_each(|facet| facet.count(doc));
        self.place(doc, score);
    }

    fn harvest(self) -> io::Result<SegmentFruit> {
        self.found()
    }
}
