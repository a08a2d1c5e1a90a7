//! Pages of long lists.
//!
//! Owns: [`Page`], [`PageSize`]. Invariant: a page names the start of the next one, unless it is
//! the last. Paging by key neither skips nor repeats rows that exist throughout.

use serde::Serialize;

/// Maximum number of rows of a page.
///
/// ```
/// use shop::paging::PageSize;
///
/// assert_eq!(PageSize::default().number(), 50);
/// assert_eq!(PageSize::of(10_000).number(), 500, "the maximum");
/// assert_eq!(PageSize::of(0).number(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u16);

impl PageSize {
    /// Maximum size.
    pub const MAX: u16 = 500;

    /// Limits a number of rows to 1 to [`MAX`](Self::MAX).
    #[must_use]
    pub fn of(rows: u64) -> Self {
        // Clamped and not refused: the HTTP layer has checked the limit of a request before.
        Self(u16::try_from(rows).unwrap_or(Self::MAX).clamp(1, Self::MAX))
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Number of rows to select: one more than the page has shows whether another page follows.
    pub(crate) fn fetch_limit(self) -> u32 {
        u32::from(self.0) + 1
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(50)
    }
}

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
    /// Builds a page from rows selected with [`PageSize::fetch_limit`].
    pub(crate) fn from_rows(
        mut rows: Vec<T>,
        size: PageSize,
        cursor: impl Fn(&T) -> String,
    ) -> Self {
        // The extra row only shows that another page exists.
        let more = rows.len() > usize::from(size.0);
        rows.truncate(usize::from(size.0));
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_last_page_has_no_next() {
        let two = PageSize::of(2);
        assert_eq!(Page::from_rows(vec![1, 2], two, ToString::to_string).next, None);
        let first = Page::from_rows(vec![1, 2, 3], two, ToString::to_string);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2], Some("2")));
    }
}
