//! The part of the whole store that one of its readers sees.
//!
//! Owns: the one rule about it, which pages, subscriptions, filters and lists of names over gRPC
//! and HTTP follow. The right to the stream `$all` (or `$streams`, for names) opens the streams of
//! applications. A stream whose name begins with `$` (users, the audit stream, groups, projections,
//! settings, and the metadata of any stream with their lists) is shown to those alone who may read
//! it by its own name. Invariant: an answer is kept for one page at most, so a right that was taken
//! away is gone at the next one. Not here: the right to `$all` itself ([`Access::check_all`]), and
//! the rights to single streams ([`stream_rights`](super::stream_rights)).

use std::collections::HashMap;

use gesta_store::{RecordedEvent, StoreError, StreamName};

use super::{caller::Caller, guard::Access, stream_rights::Right};

/// The streams and events that a caller who may read the whole store sees.
pub(crate) struct StoreView<'a> {
    access: &'a Access,
    caller: &'a Caller,
    known: HashMap<StreamName, bool>,
}

impl Access {
    /// Returns what a caller who may read the whole store sees of it.
    pub(crate) fn view<'a>(&'a self, caller: &'a Caller) -> StoreView<'a> {
        StoreView { access: self, caller, known: HashMap::new() }
    }
}

impl StoreView<'_> {
    /// Returns `true` if nothing is left out.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.access, Access::Open) || self.caller.is_admin()
    }

    /// Returns `true` if the caller sees a stream, its name and its events.
    pub(crate) async fn shows(&mut self, stream: &StreamName) -> Result<bool, StoreError> {
        if !stream.is_system() || self.is_whole() {
            return Ok(true);
        }
        if let Some(shows) = self.known.get(stream) {
            return Ok(*shows);
        }
        let shows = self.access.may(self.caller, stream, Right::Read).await?;
        self.known.insert(stream.clone(), shows);
        Ok(shows)
    }

    /// Leaves out the events that the caller does not see. Forgets what it knew before, because
    /// rights may change between pages.
    pub(crate) async fn of_page(
        &mut self,
        page: Vec<RecordedEvent>,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        self.known.clear();
        let mut shown = Vec::with_capacity(page.len());
        for event in page {
            if self.shows(&event.stream).await? {
                shown.push(event);
            }
        }
        Ok(shown)
    }
}
