//! Pages: long lists in parts.
//!
//! Owns: [`Page`], [`PageSize`]. Always holds: a page says where the next one begins, and says
//! nothing on the last; rows that come in between are not skipped and none is seen twice.

use serde::Serialize;

/// How many rows a page has at most.
///
/// ```
/// use shop::paging::PageSize;
///
/// assert_eq!(PageSize::default().number(), 50);
/// assert_eq!(PageSize::of(10_000).number(), 500, "more than the limit is the limit");
/// assert_eq!(PageSize::of(0).number(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u16);

impl PageSize {
    /// The greatest size.
    pub const MAX: u16 = 500;

    /// So many rows, or as many as a page may have.
    #[must_use]
    pub fn of(rows: u64) -> Self {
        Self(u16::try_from(rows).unwrap_or(Self::MAX).clamp(1, Self::MAX))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// What is asked of the database, to see whether there is a next page.
    pub(crate) fn and_one_more(self) -> u32 {
        u32::from(self.0) + 1
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(50)
    }
}

/// A part of a list.
#[derive(Serialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// What to ask with for the next page; nothing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Leaves out the row that was asked for in excess.
    pub(crate) fn cut(mut rows: Vec<T>, size: PageSize, cursor: impl Fn(&T) -> String) -> Self {
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
        assert_eq!(Page::cut(vec![1, 2], two, ToString::to_string).next, None);
        let first = Page::cut(vec![1, 2, 3], two, ToString::to_string);
        assert_eq!((first.items, first.next.as_deref()), (vec![1, 2], Some("2")));
    }
}
