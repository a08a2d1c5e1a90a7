//! Searches as queries of Tantivy.
//!
//! Invariant: every condition is one that OpenSearch has as well, with the same documents
//! (`opensearch/query`).

use std::ops::Bound;

use tantivy::{
    Score, Term,
    query::{
        BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, ExistsQuery, FuzzyTermQuery, Occur,
        Query, RangeQuery, TermQuery,
    },
    schema::IndexRecordOption,
};

use super::schema::{self, Fields};
use crate::{
    Filter,
    cursor::Order,
    query_weights::{EXACT, PREFIX, TYPO},
    search::CheckedSearch,
    words,
};

pub(super) fn of(search: &CheckedSearch, fields: &Fields) -> Box<dyn Query> {
    let request = &search.search;
    if request.is_wordless {
        return Box::new(EmptyQuery);
    }
    let mut clauses: Vec<Box<dyn Query>> =
        request.words.iter().map(|word| of_word(word, search, fields)).collect();
    let filters = request.filters.iter().map(|filter| of_filter(filter, search, fields));
    clauses.extend(filters.map(|filter| Box::new(ConstScoreQuery::new(filter, 0.0)) as _));
    if clauses.is_empty() {
        // Tombstones and unlisted documents have no words and no values to be found by.
        let listed = Term::from_field_u64(fields.listed, 1);
        clauses.push(Box::new(TermQuery::new(listed, IndexRecordOption::Basic)));
    }
    all_of(clauses)
}

fn all_of(clauses: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    combined(Occur::Must, clauses)
}

fn any_of(clauses: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    combined(Occur::Should, clauses)
}

fn combined(occur: Occur, mut clauses: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    match (clauses.pop(), clauses.is_empty()) {
        (None, _) => Box::new(EmptyQuery),
        (Some(only), true) => only,
        (Some(last), false) => {
            let all = clauses.into_iter().chain([last]);
            Box::new(BooleanQuery::new(all.map(|clause| (occur, clause)).collect()))
        }
    }
}

/// A word in any text field.
fn of_word(word: &str, search: &CheckedSearch, fields: &Fields) -> Box<dyn Query> {
    let mut ways: Vec<Box<dyn Query>> = Vec::new();
    for (name, options) in search.definition.text_fields() {
        let term = Term::from_field_text(fields.get(name), word);
        let mut add = |query: Box<dyn Query>, weight: Score| {
            ways.push(Box::new(BoostQuery::new(query, weight * options.weight)));
        };
        // The prefix finds the word itself, too.
        if search.order == Order::Relevance {
            let exact = TermQuery::new(term.clone(), IndexRecordOption::WithFreqs);
            add(Box::new(exact), EXACT);
        }
        add(Box::new(FuzzyTermQuery::new_prefix(term.clone(), 0, true)), PREFIX);
        let typos = if search.search.typos && options.typos { words::typos_of(word) } else { 0 };
        if typos > 0 {
            add(Box::new(FuzzyTermQuery::new(term, typos, true)), TYPO);
        }
    }
    any_of(ways)
}

fn of_filter(filter: &Filter, search: &CheckedSearch, fields: &Fields) -> Box<dyn Query> {
    let field = fields.get(filter.field());
    let range = |lower: Bound<Term>, upper: Bound<Term>| -> Box<dyn Query> {
        if matches!((&lower, &upper), (Bound::Unbounded, Bound::Unbounded)) {
            let kind = search.definition.kind_of(filter.field()).expect("the search is checked");
            return Box::new(ExistsQuery::new(schema::column(filter.field(), kind), false));
        }
        Box::new(RangeQuery::new(lower, upper))
    };
    match filter {
        Filter::OneOf { values, .. } => {
            let terms = values.iter().map(|value| Term::from_field_text(field, value));
            let terms = terms.map(|term| Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
            any_of(terms.map(|term| term as Box<dyn Query>).collect())
        }
        Filter::Numbers { range: (from, to), .. } => {
            let term = |number: f64| Term::from_field_f64(field, number);
            range(from.map(term), to.map(term))
        }
        Filter::Dates { range: (from, to), .. } => {
            let term = |micros: i64| Term::from_field_i64(field, micros);
            range(from.map(term), to.map(term))
        }
    }
}
