//! Searches in the query language of the server, and its answers.
//!
//! Invariant: every condition finds the same documents as in `embedded/query`.

use std::ops::Bound;

use gesta_store::DatabaseError;
use serde_json::{Map, Value, json};

use super::{
    http::{Http, part},
    mapping,
};
use crate::{
    Cursor, Document, FacetCounts, FieldKind, Filter, Hit, SearchResults,
    cursor::{self, Order},
    query_weights::{EXACT, PREFIX, TYPO},
    search::CheckedSearch,
    words,
};

/// Builds the body of a search.
pub(super) fn body(search: &CheckedSearch) -> Value {
    let request = &search.search;
    let mut words: Vec<_> = request.words.iter().map(|word| of_word(word, search)).collect();
    if request.is_wordless {
        words.push(json!({ "match_none": {} }));
    }
    let mut filters: Vec<_> =
        request.filters.iter().map(|filter| of_filter(filter, search)).collect();
    if words.is_empty() && filters.is_empty() {
        filters.push(json!({ "term": { (mapping::LISTED): true } }));
    }
    let size = if request.limit == 0 { 0 } else { request.limit + 1 };
    let mut body = json!({
        "query": { "bool": { "must": words, "filter": filters } },
        "size": size,
        "sort": sort(search),
        "track_total_hits": true,
        "_source": [mapping::SOURCE],
        "aggs": aggregations(search),
    });
    if let (Some(cursor), Some(body)) = (&request.after, body.as_object_mut()) {
        body.insert("search_after".to_owned(), search_after(cursor));
    }
    body
}

fn of_word(word: &str, search: &CheckedSearch) -> Value {
    let mut ways = Vec::new();
    for (name, options) in search.definition.text_fields() {
        let field = format!("t_{name}");
        let weight = options.weight;
        if search.order == Order::Relevance {
            ways.push(json!({ "term": { &field: { "value": word, "boost": EXACT * weight } } }));
        }
        ways.push(json!({ "prefix": { &field: { "value": word, "boost": PREFIX * weight } } }));
        let typos = if search.search.typos && options.typos { words::typos_of(word) } else { 0 };
        if typos > 0 {
            ways.push(json!({ "fuzzy": { &field: {
                "value": word, "fuzziness": typos, "prefix_length": 0, "transpositions": true,
                // Every such word, and not only the most frequent ones.
                "rewrite": "constant_score",
                "boost": TYPO * weight,
            } } }));
        }
    }
    if ways.is_empty() {
        return json!({ "match_none": {} });
    }
    json!({ "bool": { "should": ways, "minimum_should_match": 1 } })
}

fn of_filter(filter: &Filter, search: &CheckedSearch) -> Value {
    let field = field_of(filter.field(), search);
    let range = |from: Option<(&str, Value)>, to: Option<(&str, Value)>| {
        if from.is_none() && to.is_none() {
            return json!({ "exists": { "field": field } });
        }
        let ends = from.into_iter().chain(to).map(|(end, value)| (end.to_owned(), value));
        json!({ "range": { &field: ends.collect::<Map<_, _>>() } })
    };
    match filter {
        Filter::OneOf { values, .. } => json!({ "terms": { &field: values } }),
        Filter::Numbers { range: (from, to), .. } => range(lower(from), upper(to)),
        Filter::Dates { range: (from, to), .. } => range(lower(from), upper(to)),
    }
}

fn lower<T: Copy + Into<Value>>(bound: &Bound<T>) -> Option<(&'static str, Value)> {
    match bound {
        Bound::Included(value) => Some(("gte", (*value).into())),
        Bound::Excluded(value) => Some(("gt", (*value).into())),
        Bound::Unbounded => None,
    }
}

fn upper<T: Copy + Into<Value>>(bound: &Bound<T>) -> Option<(&'static str, Value)> {
    match bound {
        Bound::Included(value) => Some(("lte", (*value).into())),
        Bound::Excluded(value) => Some(("lt", (*value).into())),
        Bound::Unbounded => None,
    }
}

fn field_of(name: &str, search: &CheckedSearch) -> String {
    let kind = search.definition.kind_of(name).expect("the search is checked");
    mapping::field(name, kind)
}

fn sort(search: &CheckedSearch) -> Value {
    let by_id = json!({ (mapping::ID): "asc" });
    let direction = match search.order {
        Order::Relevance => return json!([{ "_score": "desc" }, by_id]),
        Order::Id => return json!([by_id]),
        Order::NumberUp | Order::DateUp => "asc",
        Order::NumberDown | Order::DateDown => "desc",
    };
    let field = search.sort_field.as_deref().expect("an order by a field has one");
    let by_field = json!({ "order": direction, "missing": "_last" });
    json!([{ (field_of(field, search)): by_field }, by_id])
}

/// Returns the values of the sort keys at a cursor.
fn search_after(cursor: &Cursor) -> Value {
    let Cursor { order, rank, id } = cursor;
    let number = |number: f64| match number {
        // JSON has no infinite numbers; the server reads these texts.
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        number => json!(number),
    };
    let value = match order {
        Order::Id => return json!([id]),
        Order::Relevance => json!(cursor::score_of_rank(*rank)),
        Order::NumberUp => number(cursor::number_of_rank(*rank)),
        Order::NumberDown => number(cursor::number_of_rank(!rank)),
        Order::DateUp => json!(cursor::date_of_rank(*rank)),
        Order::DateDown => json!(cursor::date_of_rank(!rank)),
    };
    json!([value, id])
}

/// Returns the rank of the first sort key.
fn rank_of(order: Order, key: &Value) -> Option<u64> {
    let number = || match key {
        Value::String(text) if text == "Infinity" => Some(f64::INFINITY),
        Value::String(text) if text == "-Infinity" => Some(f64::NEG_INFINITY),
        other => other.as_f64(),
    };
    match order {
        Order::Id => Some(0),
        Order::Relevance => key.as_f64().map(|score| !cursor::rank_of_number(score)),
        Order::NumberUp => number().map(cursor::rank_of_number),
        Order::NumberDown => number().map(|number| !cursor::rank_of_number(number)),
        Order::DateUp => key.as_i64().map(cursor::rank_of_date),
        Order::DateDown => key.as_i64().map(|micros| !cursor::rank_of_date(micros)),
    }
}

fn aggregations(search: &CheckedSearch) -> Value {
    let counted = search.search.facets.iter().enumerate().filter(|(_, facet)| facet.limit > 0);
    let all = counted.map(|(number, facet)| {
        let terms = json!({ "terms": {
            "field": mapping::field(&facet.field, &FieldKind::Keyword),
            "size": facet.limit,
            "order": [{ "_count": "desc" }, { "_key": "asc" }],
        } });
        (format!("f{number}"), terms)
    });
    Value::Object(all.collect())
}

/// Reads the answer to a search.
pub(super) fn results(
    answer: &Value,
    search: &CheckedSearch,
    http: &Http,
) -> Result<SearchResults, DatabaseError> {
    let unreadable = || http.unexpected("gave an answer to a search that cannot be read");
    let shards = |which: &str| part(answer, &format!("/_shards/{which}")).as_u64();
    let is_whole = shards("successful").is_some() && shards("successful") == shards("total");
    if !is_whole || part(answer, "/timed_out").as_bool() == Some(true) {
        return Err(http.unexpected("searched a part of the index; search again in a moment"));
    }
    let total = part(answer, "/hits/total/value").as_u64().ok_or_else(unreadable)?;
    let found = part(answer, "/hits/hits").as_array().ok_or_else(unreadable)?;
    let limit = search.search.limit;
    let mut hits = Vec::new();
    for hit in found.iter().take(limit) {
        let source = part(hit, mapping::SOURCE_POINTER).as_str().ok_or_else(unreadable)?;
        let document = Document::parse(source)?;
        let highlights = search.highlights(&document);
        hits.push(Hit { document, score: score_of(hit, search.order), highlights });
    }
    let last = found.get(..limit).filter(|_| found.len() > limit).and_then(<[_]>::last);
    let next = last.map(|hit| {
        let rank = rank_of(search.order, part(hit, "/sort/0")).ok_or_else(unreadable)?;
        let id = hits.last().map(|hit| hit.document.id().to_owned()).ok_or_else(unreadable)?;
        Ok::<_, DatabaseError>(Cursor { order: search.order, rank, id })
    });
    let facets = search.search.facets.iter().enumerate().map(|(number, facet)| {
        let buckets = part(answer, &format!("/aggregations/f{number}/buckets")).as_array();
        let value = |bucket: &Value| {
            Some((part(bucket, "/key").as_str()?.to_owned(), part(bucket, "/doc_count").as_u64()?))
        };
        let values = buckets.into_iter().flatten().filter_map(value).collect();
        FacetCounts { field: facet.field.clone(), values }
    });
    Ok(SearchResults { total, hits, facets: facets.collect(), next: next.transpose()? })
}

#[expect(clippy::cast_possible_truncation, reason = "the server's scores are of 32 bits")]
fn score_of(hit: &Value, order: Order) -> f32 {
    match order {
        Order::Relevance => part(hit, "/_score").as_f64().unwrap_or_default() as f32,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_all_shards_is_none() {
        let url: crate::SearchUrl = "opensearch://localhost:9200".parse().unwrap();
        let http = Http::new(url.as_server().unwrap().clone()).unwrap();
        let search = crate::Search::new().checked(&Default::default()).unwrap();
        let answer = |successful: u64, timed_out: bool| {
            let shards = json!({ "total": 1, "successful": successful, "failed": 1 - successful });
            let hits = json!({ "total": { "value": 0 }, "hits": [] });
            json!({ "_shards": shards, "timed_out": timed_out, "hits": hits })
        };
        assert_eq!(results(&answer(1, false), &search, &http).unwrap().total, 0);
        for part in [answer(0, false), answer(1, true)] {
            let error = results(&part, &search, &http).unwrap_err();
            assert!(error.is_transient() && error.to_string().contains("a part"), "{error}");
        }
    }
}
