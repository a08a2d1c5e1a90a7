//! Lists of what is stuck: dead letters of projections and reactors, and set-aside inputs.
//!
//! A list may have thousands of entries, so it is answered in pages, and by the streams of its
//! events.
//!
//! Invariant: an entry that stays is on exactly one page, whatever is handled or added meanwhile:
//! a page begins after the key of the last entry before it, which need not exist any more.

use super::{identifiers::Name, responses::PageOfList};
use crate::{Cursor, PageLimit, PageLinks, Paged, Problem, Repeated, RequestFields};

/// A selection from a list of what is stuck.
#[derive(RequestFields, Clone, Debug, Default)]
pub(crate) struct StuckQuery {
    /// Select the entries whose events are in this stream; repeated: in one of them.
    pub(crate) stream: Option<Repeated<Name>>,
    /// Maximum number of entries.
    pub(crate) limit: Option<PageLimit>,
    /// `next` of the previous page.
    pub(crate) cursor: Option<Cursor>,
}

impl StuckQuery {
    /// Returns true for an entry of this stream.
    pub(crate) fn has(&self, stream: &str) -> bool {
        let streams = self.stream.as_ref().map(Repeated::as_slice);
        streams.is_none_or(|streams| streams.iter().any(|one| one.0 == stream))
    }

    /// Returns the page of `all` that is asked for, in order of the keys: a text and a number in
    /// it. `list` is the scope of the cursors.
    pub(crate) fn page<T>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> (String, u64),
        list: &str,
        links: &PageLinks,
    ) -> Result<PageOfList<T>, Problem> {
        let after = self.cursor.as_ref().map(|cursor| cursor.at(list, key_of)).transpose()?;
        all.retain(|one| after.as_ref().is_none_or(|after| key(one) > *after));
        all.sort_by_cached_key(&key);
        let limit = usize::from(self.limit.unwrap_or_default().number());
        let has_more = all.len() > limit;
        all.truncate(limit);
        let last = all.last().filter(|_| has_more).map(key);
        let next = last.map(|(text, number)| links.next(list, &format!("{number} {text}")));
        let links = links.header(next.as_ref());
        Ok(PageOfList { page: Paged { items: all, next }, links })
    }
}

/// Returns the key in a cursor's place.
fn key_of(place: &str) -> Option<(String, u64)> {
    let (number, text) = place.split_once(' ')?;
    Some((text.to_owned(), number.parse().ok()?))
}
