//! `gesta streams`: lists streams and categories.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_store::{Category, EventStore, ListCategories, ListStreams, StreamName, StreamState};
use serde_json::json;

use crate::{
    events::Printable,
    exit::Outcome,
    output::{Output, Style, notice},
    store_url::StoreUrl,
};

/// Page size of listings.
const PAGE_NAMES_MAX: usize = 1_000;

const HINT: &str = "\
Examples:
  gesta streams --prefix order- --limit 10
  gesta streams --prefix order- --limit 10 --after order-18     the next ten
  gesta streams --prefix '$$'                                   streams that hold metadata
  gesta streams --categories";

/// List streams with the revision of their last event
///
/// Sorted by name, in byte order. Deleted streams are left out, and so are system streams (names
/// that start with $), unless the prefix starts with $.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Streams {
    /// Only names that start with this prefix
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only names after this one; pass the last name of a page to get the next page
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// Maximum number of names
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// List categories, the part of stream names before the first -
    #[arg(long, conflicts_with = "prefix")]
    categories: bool,
}

impl Streams {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let store = store.open_to_read()?;
        let listed = if self.categories {
            self.categories(store.as_ref(), output)?
        } else {
            self.streams(store.as_ref(), output)?
        };
        if listed == 0 && output.style() == Style::Text {
            notice("no results");
        }
        Ok(Outcome::Done)
    }

    fn streams(self, store: &dyn EventStore, output: &mut Output) -> Result<usize> {
        let prefix = self.prefix;
        let after = self.after.map(StreamName::stored).transpose()?;
        // Printed before the first row, so that an empty listing has no header.
        let mut header = Some("    HEAD  STATE       STREAM");
        let page = |after, limit| {
            let list = ListStreams::all().prefix(prefix.clone()).after(after).limit(limit);
            Ok(block_on(store.list_streams(list))?)
        };
        each(self.limit, after, page, |name| {
            if let (Style::Text, Some(header)) = (output.style(), header.take()) {
                output.line(header)?;
            }
            show(name, store, output)
        })
    }

    fn categories(self, store: &dyn EventStore, output: &mut Output) -> Result<usize> {
        // Categories never contain `-`, so such an argument is a mistake.
        let named = |text: String| {
            if text.contains('-') { Category::new(text) } else { Category::stored(text) }
        };
        let after = self.after.map(named).transpose()?;
        let page = |after, limit| {
            Ok(block_on(store.list_categories(ListCategories::all().after(after).limit(limit)))?)
        };
        each(self.limit, after, page, |category| match output.style() {
            Style::Text => output.line(Printable(category.as_str())),
            Style::Json => output.json(&json!({ "category": category.as_str() })),
        })
    }
}

/// Prints names page by page, to bound memory use. Returns the number of names.
fn each<Name: Clone>(
    limit: usize,
    mut after: Option<Name>,
    page: impl Fn(Option<Name>, usize) -> Result<Vec<Name>>,
    mut show: impl FnMut(&Name) -> Result<()>,
) -> Result<usize> {
    let mut shown = 0;
    loop {
        // A page that is not full is the last one.
        let asked = PAGE_NAMES_MAX.min(limit - shown);
        let names = page(after, asked)?;
        names.iter().try_for_each(&mut show)?;
        shown += names.len();
        if names.len() < asked || shown == limit {
            return Ok(shown);
        }
        after = names.last().cloned();
    }
}

fn show(name: &StreamName, store: &dyn EventStore, output: &mut Output) -> Result<()> {
    // The stream may have been deleted since the page was listed; the state then says so.
    let known = block_on(store.describe_stream(name))?;
    let state = state(known.state);
    let head = known.head.map(|head| head.number());
    match output.style() {
        Style::Text => {
            let head = head.map_or_else(|| "-".to_owned(), |head| head.to_string());
            output.line(format_args!("{head:>8}  {state:<10}  {}", Printable(name.as_str())))
        }
        Style::Json => {
            output.json(&json!({ "stream": name.as_str(), "head": head, "state": state }))
        }
    }
}

const fn state(state: StreamState) -> &'static str {
    match state {
        StreamState::Missing => "missing",
        StreamState::Live => "live",
        StreamState::Deleted => "deleted",
        StreamState::Tombstoned => "tombstoned",
    }
}
