//! Answers of full-text searches: a page with counts, facets and highlights.

use gesta::search::{FacetCounts, SearchResults};
use gesta_http::{Cursor, PageLinks, Schema, Schemas};
use serde::Serialize;
use serde_json::{Value, json};

/// One page of what a search found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FoundPage<T> {
    /// The entries.
    items: Vec<T>,
    /// Cursor of the next page; `None` on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Cursor>,
    /// Number of entries on all pages. `None` for a list without a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Counts of values among the entries of all pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    facets: Vec<FoundFacet>,
    /// Passages of the entries on this page that match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    highlights: Vec<FoundPassage>,
}

/// The counts of a field's values.
#[derive(Clone, Debug, Serialize, Schema)]
struct FoundFacet {
    /// Name of the field.
    field: String,
    /// The most frequent values first.
    values: Vec<FoundValue>,
}

/// A value with the number of entries that have it.
#[derive(Clone, Debug, Serialize, Schema)]
struct FoundValue {
    /// The value.
    value: String,
    /// Number of entries.
    count: u64,
}

/// A passage that matches.
#[derive(Clone, Debug, Serialize, Schema)]
struct FoundPassage {
    /// Id of the entry.
    id: String,
    /// Name of the field.
    field: String,
    /// Parts of the passage, in order; plain text.
    parts: Vec<FoundPart>,
}

/// A part of a passage.
#[derive(Clone, Debug, Serialize, Schema)]
struct FoundPart {
    /// Plain text.
    text: String,
    /// True for a word that matches.
    #[serde(rename = "match")]
    is_match: bool,
}

impl<T> FoundPage<T> {
    /// A page of a list that was not searched.
    pub(crate) fn listed(items: Vec<T>, next: Option<Cursor>) -> Self {
        Self { items, next, total: None, facets: Vec::new(), highlights: Vec::new() }
    }

    /// The cursor of the next page.
    pub(crate) fn next(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// The page of a search. `list` is the scope of its cursors.
    pub(crate) fn searched(list: &str, links: &PageLinks, found: Found<T>) -> Self {
        let Found { items, results } = found;
        let next = results.next.as_ref().map(|next| links.next(list, &next.to_string()));
        let facets = results.facets.into_iter().map(FoundFacet::of).collect();
        let passages = results.hits.into_iter().flat_map(|hit| {
            let id = hit.document.id().to_owned();
            hit.highlights.into_iter().map(move |highlight| {
                let parts = highlight.parts.into_iter();
                let part = |part: gesta::search::HighlightPart| FoundPart {
                    text: part.text,
                    is_match: part.is_match,
                };
                let parts = parts.map(part).collect();
                FoundPassage { id: id.clone(), field: highlight.field, parts }
            })
        });
        let highlights = passages.collect();
        Self { items, next, total: Some(results.total), facets, highlights }
    }
}

impl FoundFacet {
    fn of(counts: FacetCounts) -> Self {
        let values = counts.values.into_iter();
        let values = values.map(|(value, count)| FoundValue { value, count }).collect();
        Self { field: counts.field, values }
    }
}

impl<T: Schema> Schema for FoundPage<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({
            "type": "object",
            "properties": {
                "items": { "type": "array", "items": T::schema(schemas) },
                "next": Cursor::schema(schemas),
                "total": { "type": "integer", "minimum": 0 },
                "facets": Vec::<FoundFacet>::schema(schemas),
                "highlights": Vec::<FoundPassage>::schema(schemas),
            },
            "required": ["items"],
            "additionalProperties": false,
        })
    }
}

/// The result of a search, with the rows that the documents have.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// Rows of the page.
    pub items: Vec<T>,
    /// The documents, counts and highlights.
    pub results: SearchResults,
}

impl<T: serde::de::DeserializeOwned> Found<T> {
    /// Reads the rows of the documents.
    ///
    /// # Errors
    /// If a document has another form than a row.
    pub(crate) fn read(results: SearchResults) -> Result<Self, serde_json::Error> {
        let bodies = results.hits.iter().map(|hit| hit.document.body_value().clone());
        let items = bodies.map(serde_json::from_value).collect::<Result<_, _>>()?;
        Ok(Self { items, results })
    }
}
