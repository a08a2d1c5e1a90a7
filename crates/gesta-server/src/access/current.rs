//! Users as they are now, for calls and sockets that go on after they were authenticated.
//!
//! Invariants: what was found counts for [`TRUSTED_MAX`] without a look at the store, and a change
//! by this server at once. At most [`ENTRIES_MAX`] are kept. The time is passed in. Not here: the
//! look at the store ([`Guard`](super::guard::Guard)).

use std::{collections::HashMap, time::Duration};

use super::caller::Caller;

/// Time for which a change by another server goes unnoticed.
pub(super) const TRUSTED_MAX: Duration = Duration::from_secs(2);
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug)]
struct KnownUser {
    /// `None` for a user who is disabled or deleted.
    caller: Option<Caller>,
    looked_up: Duration,
}

/// Users that were looked up a short time ago.
#[derive(Debug, Default)]
pub(super) struct CurrentUsers(HashMap<String, KnownUser>);

impl CurrentUsers {
    /// Returns a user as they were found, or `None` if a look is due.
    pub(super) fn get(&self, login: &str, now: Duration) -> Option<Option<Caller>> {
        let entry = self.0.get(login)?;
        let is_fresh = now.saturating_sub(entry.looked_up) < TRUSTED_MAX;
        is_fresh.then(|| entry.caller.clone())
    }

    pub(super) fn insert(&mut self, login: &str, caller: Option<Caller>, now: Duration) {
        if self.0.len() >= ENTRIES_MAX {
            self.0.retain(|_, entry| now.saturating_sub(entry.looked_up) < TRUSTED_MAX);
        }
        if self.0.len() < ENTRIES_MAX {
            self.0.insert(login.to_owned(), KnownUser { caller, looked_up: now });
        }
    }

    /// Forgets a user whose groups or state have changed.
    pub(super) fn forget(&mut self, login: &str) {
        self.0.remove(login);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_found_counts_for_a_short_time_or_until_a_change() {
        let mut users = CurrentUsers::default();
        let ann = Caller::user("ann", Vec::new());
        users.insert("ann", Some(ann.clone()), SECOND);
        users.insert("bob", None, SECOND);
        assert_eq!(users.get("ann", SECOND * 2), Some(Some(ann)));
        assert_eq!(users.get("bob", SECOND * 2), Some(None));
        assert_eq!(users.get("ann", SECOND * 3), None);
        users.forget("bob");
        assert_eq!(users.get("bob", SECOND * 2), None);
    }
}
