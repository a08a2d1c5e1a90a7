//! Full-text search over read models: Tantivy in the process, or OpenSearch and Elasticsearch.
//!
//! Owns: [`SearchStore`], a store of read models whose rows are [`Document`]s, so that the
//! framework fills, rebuilds and watches an index as any other read model; the [`Search`] and its
//! [`SearchResults`], the same for every engine.
//!
//! Invariants:
//! - A document carries the position of the event that changed it last, and ignores earlier ones: a
//!   replay never turns it back.
//! - The checkpoint is stored with the documents, or after them, never before.
//! - Texts are divided into words here and not by an engine, so all engines find the same
//!   documents.
//!
//! Not here: projections, which belong to the `gesta` crate; word stems and stop words, which
//! depend on a language.

mod cursor;
mod document;
mod embedded;
mod engine;
mod field;
mod highlight;
mod open_error;
mod opensearch;
mod query_weights;
mod reader;
mod search;
mod state;
mod store;
mod tx;
mod url;
mod words;
mod worker;

pub use cursor::{Cursor, InvalidCursor};
pub use document::{
    DOCUMENT_BYTES_MAX, DOCUMENT_ID_BYTES_MAX, Document, FieldValue, KEYWORD_BYTES_MAX,
};
pub use field::{FIELD_NAME_BYTES_MAX, FIELDS_MAX, FieldKind, IndexDefinition, TextField};
pub use highlight::{HIGHLIGHT_CHARS_MAX, Highlight, HighlightPart};
pub use open_error::OpenError;
pub use reader::SearchReader;
pub use search::{
    Direction, FACET_VALUES_MAX, Facet, FacetCounts, Filter, Hit, PAGE_MAX, Search, SearchResults,
    Sort,
};
pub use store::SearchStore;
pub use tx::SearchTx;
pub use url::{InvalidSearchUrl, SearchUrl};
pub use words::{SEARCH_WORDS_MAX, WORD_CHARS_MAX};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
