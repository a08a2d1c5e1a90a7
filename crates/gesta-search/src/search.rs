//! Searches and what they return, in the same form for every engine.
//!
//! Invariant: for the same documents, every engine finds the same ones, counts them exactly, and
//! sorts them alike; the order of relevance and the scores are each engine's own. Not here: how an
//! engine finds documents.

use std::{
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use gesta_store::DatabaseError;

use crate::{
    Cursor, Document, FieldKind, FieldValue, Highlight, IndexDefinition, cursor::Order, highlight,
    words,
};

/// Maximum number of documents of a page.
pub const PAGE_MAX: usize = 1_000;

/// Maximum number of values of a facet.
pub const FACET_VALUES_MAX: usize = 1_000;

/// A search: conditions that all hold, an order, and a page.
///
/// ```
/// use gesta_search::{Facet, Filter, Search, Sort};
///
/// let search = Search::new()
///     .text("white lantren")
///     .filter(Filter::one_of("status", ["paid", "shipped"]))
///     .filter(Filter::dates("placedAt", 1_291_000_000_000_000..))
///     .facet(Facet::of("status"))
///     .highlight("products")
///     .sort(Sort::Relevance)
///     .limit(20);
/// assert!(search.has_text());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Words of the text; none for a search without text.
    pub(crate) words: Vec<String>,
    /// A text without a word was given, so nothing is found.
    pub(crate) is_wordless: bool,
    pub(crate) typos: bool,
    pub(crate) filters: Vec<Filter>,
    pub(crate) facets: Vec<Facet>,
    pub(crate) highlights: Vec<String>,
    pub(crate) sort: Option<Sort>,
    pub(crate) after: Option<Cursor>,
    pub(crate) limit: usize,
}

/// A condition on a field.
///
/// ```
/// use gesta_search::Filter;
///
/// let cheap = Filter::numbers("price", ..=5.0);
/// let red = Filter::is("colour", "red");
/// assert_ne!(cheap, red);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// A keyword field has at least one of these values. Without values, nothing is found.
    OneOf {
        /// Name of the field.
        field: String,
        /// Values.
        values: Vec<String>,
    },
    /// A number field is in a range.
    Numbers {
        /// Name of the field.
        field: String,
        /// Lower and upper end.
        range: (Bound<f64>, Bound<f64>),
    },
    /// A date field is in a range, in microseconds since the Unix epoch.
    Dates {
        /// Name of the field.
        field: String,
        /// Earlier and later end.
        range: (Bound<i64>, Bound<i64>),
    },
}

impl Filter {
    /// Requires a keyword.
    #[must_use]
    pub fn is(field: &str, value: impl Into<String>) -> Self {
        Self::one_of(field, [value.into()])
    }

    /// Requires one of these keywords.
    #[must_use]
    pub fn one_of(field: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::OneOf { field: field.to_owned(), values }
    }

    /// Requires a number in this range.
    #[must_use]
    pub fn numbers(field: &str, range: impl RangeBounds<f64>) -> Self {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Self::Numbers { field: field.to_owned(), range }
    }

    /// Requires a time in this range, in microseconds since the Unix epoch.
    #[must_use]
    pub fn dates(field: &str, range: impl RangeBounds<i64>) -> Self {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        Self::Dates { field: field.to_owned(), range }
    }

    pub(crate) fn field(&self) -> &str {
        match self {
            Self::OneOf { field, .. } | Self::Numbers { field, .. } | Self::Dates { field, .. } => {
                field
            }
        }
    }

    fn check(&self, definition: &IndexDefinition) -> Result<(), DatabaseError> {
        let field = self.field();
        let kind = definition.known(field)?;
        let is_right = match (self, kind) {
            (Self::OneOf { .. }, FieldKind::Keyword) | (Self::Dates { .. }, FieldKind::Date) => {
                true
            }
            (Self::Numbers { range: (from, to), .. }, FieldKind::Number) => {
                let is_finite = |bound: &Bound<f64>| match bound {
                    Bound::Included(number) | Bound::Excluded(number) => number.is_finite(),
                    Bound::Unbounded => true,
                };
                is_finite(from) && is_finite(to)
            }
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        let kind = kind.label();
        let reason = format!("the filter {self:?} does not fit the {kind} field `{field}`");
        Err(DatabaseError::rejected(reason))
    }
}

/// A request for the values of a keyword field among the found documents.
///
/// ```
/// use gesta_search::Facet;
///
/// assert_ne!(Facet::of("status"), Facet::of("status").limit(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facet {
    pub(crate) field: String,
    pub(crate) limit: usize,
}

impl Facet {
    /// Counts the documents of each value of a field; by default of the 10 most frequent values.
    #[must_use]
    pub fn of(field: &str) -> Self {
        Self { field: field.to_owned(), limit: 10 }
    }

    /// Limits the number of values, to at most [`FACET_VALUES_MAX`].
    #[must_use]
    pub fn limit(self, values: usize) -> Self {
        Self { limit: values.min(FACET_VALUES_MAX), ..self }
    }
}

/// The order of the found documents. Documents of the same rank are in the order of their ids, byte
/// by byte; those without the field are last.
///
/// ```
/// use gesta_search::{Direction, Sort};
///
/// let newest_first = Sort::by("placedAt", Direction::Descending);
/// assert_ne!(newest_first, Sort::Relevance);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sort {
    /// The best match first. Not the same in different engines.
    Relevance,
    /// By id, ascending.
    Id,
    /// By a number or date field.
    Field {
        /// Name of the field.
        field: String,
        /// Direction.
        direction: Direction,
    },
}

/// The direction of an order.
///
/// ```
/// use gesta_search::Direction;
///
/// assert_ne!(Direction::Ascending, Direction::Descending);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// The lowest value first.
    Ascending,
    /// The greatest value first.
    Descending,
}

impl Sort {
    /// Sorts by a number or date field.
    #[must_use]
    pub fn by(field: &str, direction: Direction) -> Self {
        Self::Field { field: field.to_owned(), direction }
    }

    fn order(&self, definition: &IndexDefinition) -> Result<Order, DatabaseError> {
        let (field, direction) = match self {
            Self::Relevance => return Ok(Order::Relevance),
            Self::Id => return Ok(Order::Id),
            Self::Field { field, direction } => (field, direction),
        };
        match (definition.known(field)?, direction) {
            (FieldKind::Number, Direction::Ascending) => Ok(Order::NumberUp),
            (FieldKind::Number, Direction::Descending) => Ok(Order::NumberDown),
            (FieldKind::Date, Direction::Ascending) => Ok(Order::DateUp),
            (FieldKind::Date, Direction::Descending) => Ok(Order::DateDown),
            (kind @ (FieldKind::Text(_) | FieldKind::Keyword), _) => {
                let kind = kind.label();
                Err(DatabaseError::rejected(format!(
                    "cannot sort by the {kind} field `{field}`; sort by a number, a date, \
                     relevance or id"
                )))
            }
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self::new()
    }
}

impl Search {
    /// A search for all documents, 20 on a page.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            words: Vec::new(),
            is_wordless: false,
            typos: true,
            filters: Vec::new(),
            facets: Vec::new(),
            highlights: Vec::new(),
            sort: None,
            after: None,
            limit: 20,
        }
    }

    /// Requires every word of this text in some text field: as it is, as the beginning of a longer
    /// word, or with a typo ([`without_typos`](Self::without_typos)).
    ///
    /// Case and diacritics do not matter. At most 16 words count. A text that has neither letters
    /// nor digits, such as `--`, finds nothing; an empty one, or one of spaces, is no condition.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        let words = words::searched(text);
        let is_wordless = words.is_empty() && !text.trim().is_empty();
        Self { words, is_wordless, ..self }
    }

    /// Finds words as they are or by a prefix only.
    ///
    /// By default a word of 3 to 5 letters may have one typo, a longer one two: a letter too many,
    /// too few or another one, or two neighbours swapped. Words with digits have none.
    #[must_use]
    pub fn without_typos(self) -> Self {
        Self { typos: false, ..self }
    }

    /// Adds a condition.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Counts the values of a field among all found documents.
    #[must_use]
    pub fn facet(mut self, facet: Facet) -> Self {
        self.facets.push(facet);
        self
    }

    /// Returns the passage of a text field that matches, with each found document.
    #[must_use]
    pub fn highlight(mut self, field: &str) -> Self {
        self.highlights.push(field.to_owned());
        self
    }

    /// Sets the order. By default by relevance with a text, and by id without one.
    #[must_use]
    pub fn sort(self, sort: Sort) -> Self {
        Self { sort: Some(sort), ..self }
    }

    /// Begins after the end of the page before, which has to be of the same order.
    ///
    /// Documents that are there throughout, and keep their value, are on exactly one page. A page
    /// by relevance may skip or repeat documents while the index changes, because scores depend on
    /// all documents.
    #[must_use]
    pub fn after(self, cursor: impl Into<Option<Cursor>>) -> Self {
        Self { after: cursor.into(), ..self }
    }

    /// Limits the number of documents, to at most [`PAGE_MAX`].
    #[must_use]
    pub fn limit(self, documents: usize) -> Self {
        Self { limit: documents.min(PAGE_MAX), ..self }
    }

    /// Returns whether the search is for words.
    #[must_use]
    pub fn has_text(&self) -> bool {
        !self.words.is_empty()
    }

    /// Checks the search against the fields of an index.
    pub(crate) fn checked(
        &self,
        definition: &Arc<IndexDefinition>,
    ) -> Result<CheckedSearch, DatabaseError> {
        self.filters.iter().try_for_each(|filter| filter.check(definition))?;
        for Facet { field, .. } in &self.facets {
            expect(definition, field, "a facet", |kind| matches!(kind, FieldKind::Keyword))?;
        }
        for field in &self.highlights {
            expect(definition, field, "a highlight", |kind| matches!(kind, FieldKind::Text(_)))?;
        }
        let default = if self.has_text() { Sort::Relevance } else { Sort::Id };
        let sort = self.sort.clone().unwrap_or(default);
        let order = match sort.order(definition)? {
            // All are alike without words.
            Order::Relevance if !self.has_text() => Order::Id,
            order => order,
        };
        if self.after.as_ref().is_some_and(|cursor| cursor.order != order) {
            return Err(DatabaseError::rejected(
                "the cursor is of a search with another order; begin with the first page",
            ));
        }
        let sort_field = match sort {
            Sort::Field { field, .. } => Some(field),
            Sort::Relevance | Sort::Id => None,
        };
        let definition = Arc::clone(definition);
        Ok(CheckedSearch { search: self.clone(), definition, order, sort_field })
    }
}

fn expect(
    definition: &IndexDefinition,
    field: &str,
    what: &str,
    is_right: fn(&FieldKind) -> bool,
) -> Result<(), DatabaseError> {
    let kind = definition.known(field)?;
    if is_right(kind) {
        return Ok(());
    }
    let kind = kind.label();
    Err(DatabaseError::rejected(format!("{what} cannot be of the {kind} field `{field}`")))
}

/// A search that fits the fields of its index: what an engine carries out.
#[derive(Clone, Debug)]
pub(crate) struct CheckedSearch {
    pub(crate) search: Search,
    pub(crate) definition: Arc<IndexDefinition>,
    pub(crate) order: Order,
    /// Field of an order by number or date.
    pub(crate) sort_field: Option<String>,
}

impl CheckedSearch {
    /// Returns the highlights that are asked for: the first passage of each field that matches.
    pub(crate) fn highlights(&self, document: &Document) -> Vec<Highlight> {
        let Search { words, typos, highlights, .. } = &self.search;
        let of_field = |field: &String| {
            let Some(FieldKind::Text(options)) = self.definition.kind_of(field) else {
                return None;
            };
            let Some(FieldValue::Text(texts)) = document.field(field) else { return None };
            let has_typos = *typos && options.typos;
            texts.iter().find_map(|text| highlight::of_text(field, text, words, has_typos))
        };
        highlights.iter().filter_map(of_field).collect()
    }
}

/// The found documents of a page, and counts of all.
///
/// ```
/// use gesta_search::SearchResults;
///
/// let nothing = SearchResults::default();
/// assert!(nothing.total == 0 && nothing.next.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SearchResults {
    /// Number of all documents that match, on all pages.
    pub total: u64,
    /// Documents of the page, in order.
    pub hits: Vec<Hit>,
    /// The facets that were asked for, in their order.
    pub facets: Vec<FacetCounts>,
    /// Begins the next page; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A found document.
///
/// ```
/// use gesta_search::SearchResults;
///
/// # fn ids(results: &SearchResults) -> Vec<&str> {
/// results.hits.iter().map(|hit| hit.document.id()).collect()
/// # }
/// # assert!(ids(&SearchResults::default()).is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The document.
    pub document: Document,
    /// Score of a search that is sorted by relevance, otherwise 0. Compare it within one answer
    /// only.
    pub score: f32,
    /// Passages of the fields that were asked for and match.
    pub highlights: Vec<Highlight>,
}

/// The values of a facet.
///
/// ```
/// use gesta_search::FacetCounts;
///
/// let status = FacetCounts::new("status", vec![("paid".to_owned(), 2)]);
/// assert_eq!(status.values.first().map(|(_, count)| *count), Some(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FacetCounts {
    /// Name of the field.
    pub field: String,
    /// Values with the number of documents that have them, the most frequent first, then by value.
    pub values: Vec<(String, u64)>,
}

impl FacetCounts {
    /// Creates the counts of a field.
    pub fn new(field: impl Into<String>, values: Vec<(String, u64)>) -> Self {
        Self { field: field.into(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextField;

    #[test]
    fn a_search_that_does_not_fit_its_index_is_refused() {
        let definition = IndexDefinition::new()
            .text("name", TextField::new())
            .keyword("status")
            .number("total")
            .date("at");
        let definition = Arc::new(definition);
        let cursor = Cursor { order: Order::DateUp, rank: 1, id: "1".to_owned() };
        let by = |field| Search::new().sort(Sort::by(field, Direction::Ascending));
        for (search, reason) in [
            (Search::new().filter(Filter::is("colour", "red")), "has no field `colour`"),
            (Search::new().filter(Filter::is("name", "red")), "does not fit the text field"),
            (Search::new().filter(Filter::dates("total", 1..)), "does not fit the number field"),
            (Search::new().filter(Filter::numbers("total", f64::NAN..)), "does not fit the"),
            (Search::new().facet(Facet::of("total")), "a facet cannot be of the number field"),
            (Search::new().highlight("status"), "a highlight cannot be of the keyword field"),
            (by("status"), "cannot sort by the keyword field `status`"),
            (by("total").after(cursor), "the cursor is of a search with another order"),
        ] {
            let error = search.checked(&definition).expect_err("it is refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
