//! The table of rules: what each role may do.
//!
//! Invariants: what no row allows is refused; rows only add. Not here: the roles of a principal.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Principal, Right};

/// The rows of one role.
///
/// ```
/// use gesta_http::{AccessRole, Right};
///
/// let clerk = AccessRole::named("clerk").has([Right::Query]).may(["placeOrder"]);
/// let customer = AccessRole::named("customer").may(["listProducts"]).may_own(["placeOrder"]);
/// assert_ne!(clerk, customer);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRole {
    name: String,
    rights: BTreeSet<Right>,
    /// Each operation that the role may use, with what it may use it for.
    operations: BTreeMap<String, Extent>,
}

/// The resources that an operation may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Those that the actor owns.
    Own,
    All,
}

/// The rules of all roles.
///
/// ```
/// use gesta_http::{AccessRole, AccessRules, Right};
///
/// let operator = AccessRole::named("operator").has([Right::Status, Right::Rebuild]);
/// let rules = AccessRules::new([operator]).open(["listProducts"]);
/// assert_ne!(rules, AccessRules::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRules {
    roles: Vec<AccessRole>,
    /// Operations that need no credentials.
    open: BTreeSet<String>,
}

/// Rules that do not fit the routes of an application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRules {
    /// A rule names an operation that no route has.
    #[error("the rules name the operation `{operation}`, which no route has")]
    UnknownOperation {
        /// Id of the operation.
        operation: String,
    },
    /// Operations that no role may use.
    #[error("no rule covers {}; allow each to a role, or leave out its route", operations.join(", "))]
    Uncovered {
        /// Ids of the operations.
        operations: Vec<String>,
    },
    /// A role may use an operation for its own, and nothing tells who owns what.
    #[error("the role `{role}` may use `{operation}` for its own, but the access has no ownership")]
    NoOwnership {
        /// Name of the role.
        role: String,
        /// Id of the operation.
        operation: String,
    },
}

impl AccessRole {
    /// Creates a role that may do nothing.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), rights: BTreeSet::new(), operations: BTreeMap::new() }
    }

    /// Allows every operation of these kinds, also of routes that are added later.
    #[must_use]
    pub fn has(mut self, rights: impl IntoIterator<Item = Right>) -> Self {
        self.rights.extend(rights);
        self
    }

    /// Allows the operations with these ids, whatever their kind.
    #[must_use]
    pub fn may<O: Into<String>>(self, operations: impl IntoIterator<Item = O>) -> Self {
        self.with(operations, Extent::All)
    }

    /// Allows the operations with these ids for what the actor owns, as the application's
    /// [`Ownership`](crate::Ownership) tells.
    #[must_use]
    pub fn may_own<O: Into<String>>(self, operations: impl IntoIterator<Item = O>) -> Self {
        self.with(operations, Extent::Own)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn with<O: Into<String>>(
        mut self,
        operations: impl IntoIterator<Item = O>,
        extent: Extent,
    ) -> Self {
        for operation in operations {
            let known = self.operations.entry(operation.into()).or_insert(extent);
            *known = extent.max(*known);
        }
        self
    }

    fn extent(&self, operation: &str, right: Right) -> Option<Extent> {
        let by_right = self.rights.contains(&right).then_some(Extent::All);
        by_right.max(self.operations.get(operation).copied())
    }
}

impl AccessRules {
    /// Creates the rules of these roles. Rows of the same role add up.
    pub fn new(roles: impl IntoIterator<Item = AccessRole>) -> Self {
        Self { roles: roles.into_iter().collect(), open: BTreeSet::new() }
    }

    /// Allows the operations with these ids to everybody, also without credentials.
    #[must_use]
    pub fn open<O: Into<String>>(mut self, operations: impl IntoIterator<Item = O>) -> Self {
        self.open.extend(operations.into_iter().map(Into::into));
        self
    }

    /// Returns the names of the roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(AccessRole::name)
    }

    /// Returns what a principal may use an operation for, or `None` if it may not use it.
    pub(crate) fn extent(
        &self,
        operation: &str,
        right: Right,
        principal: Option<&Principal>,
    ) -> Option<Extent> {
        if self.open.contains(operation) {
            return Some(Extent::All);
        }
        let of = self.roles_of(principal);
        of.filter_map(|role| role.extent(operation, right)).max()
    }

    /// Returns whether a principal has a right for all operations of its kind.
    pub(crate) fn grants(&self, right: Right, principal: Option<&Principal>) -> bool {
        self.roles_of(principal).any(|role| role.rights.contains(&right))
    }

    fn roles_of<'a>(
        &'a self,
        principal: Option<&'a Principal>,
    ) -> impl Iterator<Item = &'a AccessRole> {
        let is_of = move |role: &&AccessRole| principal.is_some_and(|it| it.has_role(&role.name));
        self.roles.iter().filter(is_of)
    }

    /// Compares the rules with the operations of an application: their ids and rights.
    pub(crate) fn check(
        &self,
        operations: &[(&str, Right)],
        has_ownership: bool,
    ) -> Result<(), InvalidRules> {
        let is_known = |id: &str| operations.iter().any(|(known, _)| *known == id);
        let named = self.roles.iter().flat_map(|role| role.operations.keys()).chain(&self.open);
        if let Some(operation) = named.into_iter().find(|id| !is_known(id)) {
            return Err(InvalidRules::UnknownOperation { operation: operation.clone() });
        }
        for role in &self.roles {
            let own = role.operations.iter().find(|(_, extent)| **extent == Extent::Own);
            if let Some((operation, _)) = own.filter(|_| !has_ownership) {
                let (role, operation) = (role.name.clone(), operation.clone());
                return Err(InvalidRules::NoOwnership { role, operation });
            }
        }
        let is_covered = |(id, right): &(&str, Right)| {
            let by_role = self.roles.iter().any(|role| role.extent(id, *right).is_some());
            *right == Right::Open || self.open.contains(*id) || by_role
        };
        let uncovered = operations.iter().filter(|operation| !is_covered(operation));
        let operations: Vec<_> = uncovered.map(|(id, _)| (*id).to_owned()).collect();
        if operations.is_empty() { Ok(()) } else { Err(InvalidRules::Uncovered { operations }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: [(&str, Right); 3] =
        [("listDoors", Right::Query), ("openDoor", Right::Command), ("health", Right::Open)];

    fn extent(
        rules: &AccessRules,
        roles: &[&str],
        operation: &str,
        right: Right,
    ) -> Option<Extent> {
        let principal = Principal::new("ann", roles.iter().copied()).unwrap();
        rules.extent(operation, right, Some(&principal))
    }

    #[test]
    fn the_widest_rule_of_all_roles_counts() {
        let visitor = AccessRole::named("visitor").may_own(["openDoor"]);
        let porter = AccessRole::named("porter").may(["openDoor"]).has([Right::Query]);
        let rules = AccessRules::new([visitor, porter]);
        let open = |roles: &[&str]| extent(&rules, roles, "openDoor", Right::Command);
        assert_eq!(open(&["visitor"]), Some(Extent::Own));
        assert_eq!(open(&["visitor", "porter"]), Some(Extent::All));
        assert_eq!(open(&["thief"]), None);
        assert_eq!(rules.extent("openDoor", Right::Command, None), None, "without credentials");
        assert_eq!(extent(&rules, &["porter"], "listDoors", Right::Query), Some(Extent::All));
        assert_eq!(extent(&rules, &["porter"], "closeDoor", Right::Command), None);
    }

    #[test]
    fn rules_that_do_not_fit_the_operations_are_refused() {
        let porter = || AccessRole::named("porter").has([Right::Query]);
        let check = |role| AccessRules::new([role]).check(&OPERATIONS, false);
        assert_eq!(check(porter().may(["openDoor"])), Ok(()));
        let uncovered = InvalidRules::Uncovered { operations: vec!["openDoor".to_owned()] };
        assert_eq!(check(porter()), Err(uncovered));
        let operation = "opneDoor".to_owned();
        assert_eq!(
            check(porter().may(["opneDoor"])),
            Err(InvalidRules::UnknownOperation { operation })
        );
        let (role, operation) = ("porter".to_owned(), "openDoor".to_owned());
        assert_eq!(
            check(porter().may_own(["openDoor"])),
            Err(InvalidRules::NoOwnership { role, operation })
        );
    }
}
