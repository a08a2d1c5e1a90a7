//! Detection of event types that share a name within one program.
//!
//! Invariant: two types have the same name only if the sets that use them are restricted to
//! different categories; an aggregate is restricted to its own. Otherwise events of one type would
//! be decoded as the other. Projections, process managers with their commands, and aggregates that
//! the application names are checked when it opens; another aggregate's events before its first
//! command. Not here: duplicates within one set, which the compiler rejects.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError, RwLock},
};

use crate::{Boundary, DuplicateEventName, EventSet, Registry};

/// The event types in use, by name.
#[derive(Debug, Default)]
pub(crate) struct EventNames {
    names: Mutex<HashMap<&'static str, Vec<NamedType>>>,
    /// Boundaries already added, looked up before each command.
    boundaries: RwLock<HashSet<TypeId>>,
}

/// One type registered under a name.
#[derive(Clone, Copy, Debug)]
struct NamedType {
    type_id: TypeId,
    type_name: &'static str,
    scope: Scope,
}

/// The categories in which a type is used for events of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every category.
    Any,
    /// Categories that a reader is restricted to. The reader's type may have fewer fields than the
    /// writer's.
    Named,
    /// The category of the aggregate that writes the events.
    Written(&'static str),
}

impl Scope {
    /// Returns the scope of a reading set.
    pub(crate) const fn of<E: EventSet>() -> Self {
        if E::CATEGORIES.is_empty() { Self::Any } else { Self::Named }
    }

    /// Returns whether two scopes may share an event.
    const fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Named, _) | (_, Self::Named) => false,
            (Self::Written(one), Self::Written(another)) => crate::__derive::is_same(one, another),
        }
    }
}

impl EventNames {
    /// Adds the events of a projection or a process manager.
    pub(crate) fn add_set<E: EventSet>(&self, scope: Scope) -> Result<(), DuplicateEventName> {
        self.add(&Registry::of::<E>(), scope)
    }

    /// Adds the events of a command's boundary, on its first use.
    pub(crate) fn add_boundary<B: Boundary>(&self) -> Result<(), DuplicateEventName> {
        let id = TypeId::of::<B>();
        if self.boundaries.read().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return Ok(());
        }
        self.add_aggregates(B::events)?;
        // Only now, so that a boundary with a duplicate name fails each time.
        self.boundaries.write().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok(())
    }

    /// Adds the events of aggregates, passed on with their categories.
    pub(crate) fn add_aggregates(
        &self,
        events: impl FnOnce(&mut dyn FnMut(&'static str, Registry)),
    ) -> Result<(), DuplicateEventName> {
        // Collect first: `events` takes a closure that cannot return an error.
        let mut aggregates = Vec::new();
        events(&mut |category, registry| aggregates.push((category, registry)));
        for (category, registry) in aggregates {
            self.add(&registry, Scope::Written(category))?;
        }
        Ok(())
    }

    fn add(&self, registry: &Registry, scope: Scope) -> Result<(), DuplicateEventName> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, type_id, type_name) in registry.written_types() {
            let known = names.entry(name).or_default();
            let mut others = known.iter().filter(|other| other.type_id != type_id);
            if let Some(other) = others.find(|other| other.scope.meets(scope)) {
                return Err(DuplicateEventName { name, first: other.type_name, second: type_name });
            }
            // A type may be used in several scopes, each of which is compared with later types.
            if !known.iter().any(|known| known.type_id == type_id && known.scope == scope) {
                known.push(NamedType { type_id, type_name, scope });
            }
        }
        Ok(())
    }
}
