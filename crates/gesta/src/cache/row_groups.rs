//! Groups of rows: the names by which cached queries and events meet.

use std::collections::BTreeSet;

use gesta_store::CacheKey;

/// Maximum number of groups that a batch of events names. One with more changes everything.
const NAMED_MAX: usize = 64;

/// The mark that any change sets. Queries of all rows depend on it.
const ANY: &str = "*";

/// Groups of rows of a read model, by names that the application chooses.
///
/// A cached query names the groups that its answer depends on
/// ([`Caching::depends_on`](crate::Caching::depends_on)), a projection the groups that an event
/// changes ([`Projection::changes`](crate::Projection::changes)). An answer is invalid once a group
/// that it depends on was changed. By default a query depends on all rows, and an event changes all
/// rows.
///
/// ```
/// use gesta::RowGroups;
///
/// let mut changed = RowGroups::named(["customer 7"]);
/// changed.add(RowGroups::named(["country France"]));
/// assert_eq!(changed, RowGroups::named(["country France", "customer 7"]));
/// changed.add(RowGroups::all());
/// assert_eq!(changed, RowGroups::all());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowGroups(
    /// `None` for all rows.
    Option<BTreeSet<String>>,
);

impl RowGroups {
    /// All rows of the read model.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// No rows.
    #[must_use]
    pub const fn none() -> Self {
        Self(Some(BTreeSet::new()))
    }

    /// The groups of these names.
    #[must_use]
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(Some(names.into_iter().map(Into::into).collect()))
    }

    /// Adds the groups of another value.
    pub fn add(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(names), Some(others)) => names.extend(others),
            (_, None) => self.0 = None,
            (None, Some(_)) => {}
        }
    }

    /// Returns the marks that an answer from these groups depends on.
    pub(super) fn depended_on(&self) -> Vec<String> {
        match &self.0 {
            None => vec![ANY.to_owned()],
            Some(names) => names.iter().map(|name| mark_of(name)).collect(),
        }
    }

    /// Returns the marks that a change of these groups sets.
    pub(super) fn changed(&self) -> Vec<String> {
        match &self.0 {
            Some(names) if names.is_empty() => Vec::new(),
            Some(names) if names.len() <= NAMED_MAX => {
                let named = names.iter().map(|name| mark_of(name));
                std::iter::once(ANY.to_owned()).chain(named).collect()
            }
            Some(_) | None => vec![CacheKey::EVERYTHING.to_owned(), ANY.to_owned()],
        }
    }
}

/// Returns the mark of a group. No name of a group is the mark of all or any.
fn mark_of(name: &str) -> String {
    format!("={name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(answer: &RowGroups, change: &RowGroups) -> bool {
        let mut depended_on = answer.depended_on();
        // The key of an answer has this mark in any case.
        depended_on.push(CacheKey::EVERYTHING.to_owned());
        change.changed().iter().any(|mark| depended_on.contains(mark))
    }

    #[test]
    fn a_change_meets_the_answers_that_depend_on_it() {
        let (one, two) = (RowGroups::named(["one"]), RowGroups::named(["two"]));
        let many = RowGroups::named((0..=NAMED_MAX).map(|number| number.to_string()));
        for (answer, change, expected) in [
            (RowGroups::all(), RowGroups::all(), true),
            (RowGroups::all(), one.clone(), true),
            (RowGroups::all(), RowGroups::none(), false),
            (one.clone(), RowGroups::all(), true),
            (one.clone(), one.clone(), true),
            (one.clone(), two, false),
            (one.clone(), RowGroups::none(), false),
            (one, many, true),
            // An answer that depends on nothing ends with a change of everything.
            (RowGroups::none(), RowGroups::all(), true),
            (RowGroups::none(), RowGroups::named(["one"]), false),
            // A name like that of a mark is a name.
            (RowGroups::named(["*"]), RowGroups::named(["one"]), false),
        ] {
            assert_eq!(meet(&answer, &change), expected, "{answer:?} and {change:?}");
        }
    }
}
