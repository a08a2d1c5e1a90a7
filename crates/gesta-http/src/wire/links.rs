//! Links between the pages of a list, as the `Link` header (RFC 8288).
//!
//! Invariant: a link is the request's URL with another cursor; every other parameter is kept.
//!
//! Not here: cursors ([`cursor`](crate::wire::cursor)).

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderValue, Uri, request::Parts},
};
use form_urlencoded::Serializer;

use crate::{Cursor, Describe, Operation};

/// The query parameter with the start of a page.
pub(crate) const CURSOR: &str = "cursor";

/// An extractor of the request for a page: makes the cursor of the next page, and the links to its
/// neighbours.
///
/// Declared lists have links by themselves. A handler of its own adds them with
/// [`QueryResponse::linked`](crate::QueryResponse::linked).
///
/// ```
/// use axum::http::Uri;
/// use gesta_http::PageLinks;
///
/// let links = PageLinks::of(&Uri::from_static("/doors?limit=2"));
/// let next = links.next("doors", "7");
/// assert_eq!(next.place("doors").ok().as_deref(), Some("7"));
/// let header = links.header(Some(&next)).expect("there is a next page");
/// assert!(header.to_str()?.starts_with("</doors?limit=2&cursor="));
/// assert!(links.header(None).is_none(), "the only page has no neighbours");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PageLinks {
    path: String,
    /// Parameters other than the cursor.
    others: Vec<(String, String)>,
    cursor: Option<Cursor>,
}

impl PageLinks {
    /// Reads a request's URL. A cursor that cannot be read has no neighbours.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let (cursors, others): (Vec<_>, Vec<_>) =
            pairs.into_owned().partition(|(name, _)| name == CURSOR);
        let cursor = cursors.into_iter().next().and_then(|(_, text)| Cursor::read_text(&text));
        Self { path: uri.path().to_owned(), others, cursor }
    }

    /// Creates the cursor of the next page of a list, which also leads back to this page. `place`
    /// is the list's own description of this page's last entry.
    #[must_use]
    pub fn next(&self, list: &str, place: &str) -> Cursor {
        Cursor::after_page(list, place, self.cursor.as_ref())
    }

    /// Returns the value of the `Link` header: `next` if there is a next page; `prev` and `first`
    /// after the first page. `prev` is absent if the cursor does not lead back any further.
    #[must_use]
    pub fn header(&self, next: Option<&Cursor>) -> Option<HeaderValue> {
        let mut links = Vec::new();
        if let Some(next) = next {
            links.push(self.link("next", Some(next)));
        }
        if let Some(cursor) = &self.cursor {
            if let Some(previous) = cursor.previous() {
                links.push(self.link("prev", previous.as_ref()));
            }
            links.push(self.link("first", None));
        }
        // A path may have characters that no header has; such a page has no links.
        (!links.is_empty()).then(|| HeaderValue::from_str(&links.join(", ")).ok())?
    }

    fn link(&self, relation: &str, cursor: Option<&Cursor>) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(&self.others);
        if let Some(cursor) = cursor {
            query.append_pair(CURSOR, cursor.as_str());
        }
        let (path, query) = (&self.path, query.finish());
        // An empty reference would mean the request with its query.
        let separator = if query.is_empty() && !path.is_empty() { "" } else { "?" };
        format!("<{path}{separator}{query}>; rel=\"{relation}\"")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PageLinks {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut links = Self::of(&parts.uri);
        if let Some(template) = parts.extensions.get::<MatchedPath>() {
            links.path = nested_path(template.as_str(), &links.path);
        }
        Ok(links)
    }
}

/// Returns a request's path with the prefix of a router that nests this one: the route's template
/// has the prefix, and the request's own URL lacks it.
fn nested_path(template: &str, path: &str) -> String {
    let segments: Vec<_> = template.split('/').skip(1).collect();
    let missing = segments.len().saturating_sub(path.split('/').skip(1).count());
    let prefix = segments.iter().take(missing);
    if prefix.clone().any(|segment| segment.starts_with('{')) {
        // Its value is unknown here. A reference without a path means the path of the request.
        return String::new();
    }
    let prefix: String = prefix.map(|segment| format!("/{segment}")).collect();
    format!("{prefix}{path}")
}

impl Describe for PageLinks {
    // The route describes the header: it knows that the operation has pages.
    fn describe(_: &mut Operation<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the target of a relation.
    fn target(links: &PageLinks, next: Option<&Cursor>, relation: &str) -> Option<String> {
        let header = links.header(next)?;
        let text = header.to_str().unwrap().to_owned();
        let with = format!(">; rel=\"{relation}\"");
        let link = text.split(", ").find(|link| link.ends_with(&with))?;
        Some(link.trim_start_matches('<').trim_end_matches(&with).to_owned())
    }

    fn at(url: &str) -> PageLinks {
        PageLinks::of(&url.parse().unwrap())
    }

    #[test]
    fn the_links_of_a_list_lead_forwards_and_back_to_its_first_page() {
        let mut visited = vec!["/doors?colour=red+oak&limit=2".to_owned()];
        for page in 1..4 {
            let here = at(visited.last().unwrap());
            let next = here.next("doors", &page.to_string());
            visited.push(target(&here, Some(&next), "next").unwrap());
        }
        for here in (1..4).rev() {
            let links = at(&visited[here]);
            assert_eq!(target(&links, None, "prev").as_ref(), visited.get(here - 1), "{here}");
            assert_eq!(target(&links, None, "first").as_ref(), visited.first());
            assert_eq!(target(&links, None, "next"), None);
        }
        assert_eq!(target(&at(&visited[0]), None, "prev"), None);
    }

    #[test]
    fn a_link_has_the_prefix_of_the_router_around() {
        assert_eq!(
            nested_path("/v1/doors/{door}/keys", "/v1/doors/a%2Fb/keys"),
            "/v1/doors/a%2Fb/keys"
        );
        assert_eq!(nested_path("/house/v1/doors", "/v1/doors"), "/house/v1/doors");
        assert_eq!(nested_path("/{house}/doors", "/doors"), "");
    }

    #[test]
    fn a_cursor_that_leads_back_no_further_has_no_previous_page() {
        let old = Cursor::new("doors", "7");
        let links = at(&format!("/doors?cursor={}", old.as_str()));
        assert_eq!(target(&links, None, "prev"), None);
        assert_eq!(target(&links, None, "first").as_deref(), Some("/doors"));
    }
}
