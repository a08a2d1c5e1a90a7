//! The search for products over HTTP.

use gesta_http::{
    ApiRoute, Cursor, PageLimit, PageLinks, PageRequest, Problem, Queries, QueryOf, QueryResponse,
    Repeated, RequestFields,
};

use super::SearchProducts;
use crate::{
    catalogue::{ListProducts, ProductDetails},
    http::{
        found::FoundPage,
        values::{Id, Words, ids_of},
    },
    id::ProductId,
    search::SearchText,
};

/// Scope of the cursors of searches by words.
const BY_WORDS: &str = "products-by-words";
/// Scope of the cursors of lists without words.
const LISTED: &str = "products";

pub(crate) fn route() -> ApiRoute {
    let summary = "Lists products: by words the best match first, otherwise by code";
    ApiRoute::get("/v1/products", summary)
        .handle(search_products)
        .operation_id("listProducts")
        .rejects(&["unknown-cursor"])
        .finds_many("findProduct", "productId")
}

/// Search for products.
#[derive(RequestFields)]
struct ProductWords {
    /// Only products with these codes, by code. Words must be whole or prefixes then.
    product_id: Option<Repeated<Id<ProductId>>>,
    /// Words that the code or name must have; each may be a prefix, and a word of three letters or
    /// more may have a typo. The first 16 words count.
    text: Option<Words>,
    /// `next` of the previous page.
    cursor: Option<Cursor>,
    /// Maximum number of entries.
    limit: Option<PageLimit>,
}

async fn search_products(
    queries: Queries,
    links: PageLinks,
    QueryOf(asked): QueryOf<ProductWords>,
) -> Result<QueryResponse<FoundPage<ProductDetails>>, Problem> {
    let ProductWords { product_id, text, cursor, limit } = asked;
    let limit = limit.unwrap_or_default();
    let ids = ids_of(product_id);
    let words = text.as_ref().and_then(|words| SearchText::new(&words.0));
    // A text of spaces is no condition; one without words, such as `--`, finds nothing.
    let Some(text) = text.filter(|_| words.is_some() && ids.is_empty()) else {
        let after = cursor.map(|cursor| cursor.at(LISTED, |key| key.parse().ok())).transpose()?;
        let mut page = PageRequest::first(limit.number().into());
        page.after = after;
        let listed = queries.ask(ListProducts { ids, text: words, page }).await?.map(|page| {
            let next = page.next.map(|next| links.next(LISTED, &next));
            FoundPage::listed(page.items, next)
        });
        return Ok(listed.linked(&links, FoundPage::next));
    };
    let after = cursor.map(|cursor| cursor.at(BY_WORDS, |key| key.parse().ok())).transpose()?;
    let mut page = PageRequest::first(limit.number().into());
    page.after = after;
    let search = SearchProducts { text: text.0, page };
    let found = queries.ask(search).await?;
    let found = found.map(|found| FoundPage::searched(BY_WORDS, &links, found));
    Ok(found.linked(&links, FoundPage::next))
}
