//! Pages of long lists.
//!
//! Owns: [`Page`]. Invariant: a page names the start of the next one, unless it is the last. Paging
//! by key neither skips nor repeats rows that exist throughout.

use std::collections::BTreeSet;

use gesta_http::{ListPage, PageLimit, Schema};
use serde::Serialize;

/// A page of a list.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// Rows of the page.
    pub items: Vec<T>,
    /// Key of the next page's start; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Builds a page from rows selected with [`fetch_limit`].
    pub(crate) fn from_rows(
        mut rows: Vec<T>,
        limit: PageLimit,
        cursor: impl Fn(&T) -> String,
    ) -> Self {
        // The extra row only shows that another page exists.
        let more = rows.len() > usize::from(limit.number());
        rows.truncate(usize::from(limit.number()));
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next }
    }
}

impl<T: Serialize + Schema + Send + 'static> ListPage for Page<T> {
    type Item = T;

    fn into_items(self) -> (Vec<T>, Option<String>) {
        (self.items, self.next)
    }
}

/// Returns the ids of a list that come after a place, sorted, each once.
pub(crate) fn ids_after<'i>(ids: impl Iterator<Item = &'i str>, after: &str) -> Vec<&'i str> {
    let ids: BTreeSet<_> = ids.filter(|id| *id > after).collect();
    ids.into_iter().collect()
}

/// Number of rows to select: one more than the page has shows whether another page follows.
pub(crate) fn fetch_limit(limit: PageLimit) -> u32 {
    u32::from(limit.number()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_last_page_has_no_next() {
        let two = PageLimit::of(2);
        assert_eq!(Page::from_rows(vec![1, 2], two, ToString::to_string).next, None);
        let first = Page::from_rows(vec![1, 2, 3], two, ToString::to_string);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2], Some("2")));
    }
}
