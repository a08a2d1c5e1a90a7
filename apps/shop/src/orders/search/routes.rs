//! The search for orders over HTTP.

use gesta_http::{
    ApiRoute, Cursor, PageLimit, PageLinks, PageRequest, Problem, Queries, QueryOf, QueryResponse,
    RequestFields, Time,
};

use super::SearchOrders;
use crate::{
    http::{
        found::FoundPage,
        values::{Id, Words},
    },
    id::CustomerId,
    orders::{
        OrderStatus,
        summaries::{FindOrders, OrderSummary},
    },
    search::SearchText,
};

/// Scope of the cursors of searches by words.
const BY_WORDS: &str = "orders-by-words";
/// Scope of the cursors of lists without words.
const LISTED: &str = "orders";

pub(crate) fn route() -> ApiRoute {
    let summary =
        "Searches orders: by words the best match first, otherwise the last recorded first";
    ApiRoute::get("/v1/orders", summary)
        .handle(search_orders)
        .operation_id("listOrders")
        .rejects(&["unknown-cursor"])
}

/// Search for orders; all given conditions must hold.
#[derive(RequestFields)]
struct OrderWords {
    /// Customer of the order.
    customer: Option<Id<CustomerId>>,
    /// Current status.
    status: Option<OrderStatus>,
    /// Earliest time of placement, inclusive.
    from: Option<Time>,
    /// Latest time of placement, exclusive.
    to: Option<Time>,
    /// Words that the ids, the address, or the products' codes and names must have; each may be a
    /// prefix, and a word of three letters or more may have a typo. The first 16 words count.
    text: Option<Words>,
    /// `next` of the previous page.
    cursor: Option<Cursor>,
    /// Maximum number of entries.
    limit: Option<PageLimit>,
}

async fn search_orders(
    queries: Queries,
    links: PageLinks,
    QueryOf(asked): QueryOf<OrderWords>,
) -> Result<QueryResponse<FoundPage<OrderSummary>>, Problem> {
    let OrderWords { customer, status, from, to, text, cursor, limit } = asked;
    let (customer, from, to) = (customer.map(Into::into), from.map(Into::into), to.map(Into::into));
    let limit = u64::from(limit.unwrap_or_default().number());
    // A text of spaces is no condition; one without words, such as `--`, finds nothing.
    let text = text.filter(|words| SearchText::new(&words.0).is_some());
    let Some(text) = text else {
        let after = cursor.map(|cursor| cursor.at(LISTED, |key| key.parse().ok())).transpose()?;
        let mut page = PageRequest::first(limit);
        page.after = after;
        let listed = FindOrders { customer, status, from, to, text: None, page };
        let listed = queries.ask(listed).await?.map(|page| {
            let next = page.next.map(|next| links.next(LISTED, &next));
            FoundPage::listed(page.items, next)
        });
        return Ok(listed.linked(&links, FoundPage::next));
    };
    let after = cursor.map(|cursor| cursor.at(BY_WORDS, |key| key.parse().ok())).transpose()?;
    let mut page = PageRequest::first(limit);
    page.after = after;
    let search = SearchOrders { text: text.0, customer, status, from, to, page };
    let found = queries.ask(search).await?;
    let found = found.map(|found| FoundPage::searched(BY_WORDS, &links, found));
    Ok(found.linked(&links, FoundPage::next))
}
