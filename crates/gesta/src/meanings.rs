//! What each event name means in one program.
//!
//! Always holds: no two types have one name, except where the sets that know them say which
//! categories they mean, as an aggregate does by its own; else events of one would be taken for the
//! other's. Projections and process managers are checked when the program opens, an aggregate's
//! events before its first command. Not here: the names within one set, which the compiler checks.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError, RwLock},
};

use crate::{Boundary, EventSet, NameTwice, Registry};

/// What each event name means.
#[derive(Debug, Default)]
pub(crate) struct Meanings {
    names: Mutex<HashMap<&'static str, Vec<Meaning>>>,
    /// The boundaries whose events are known, looked up before each command.
    boundaries: RwLock<HashSet<TypeId>>,
}

/// One type under a name.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    type_id: TypeId,
    type_name: &'static str,
    scope: Scope,
}

/// Whose events of a name are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of every category.
    Any,
    /// Those of categories that a reader names. It may read fewer fields than are written.
    Named,
    /// Those that the aggregate of this category writes.
    Written(&'static str),
}

impl Scope {
    /// What a set says.
    pub(crate) const fn of<E: EventSet>() -> Self {
        if E::CATEGORIES.is_empty() { Self::Any } else { Self::Named }
    }

    /// Whether an event that one means may come by where another type is meant.
    const fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Named, _) | (_, Self::Named) => false,
            (Self::Written(one), Self::Written(another)) => crate::__derive::is_same(one, another),
        }
    }
}

impl Meanings {
    /// Takes in the events of a projection or a process manager.
    pub(crate) fn admit<E: EventSet>(&self, scope: Scope) -> Result<(), NameTwice> {
        self.add(&Registry::of::<E>(), scope)
    }

    /// Takes in the events of what a command decides on, the first time that it comes by.
    pub(crate) fn admit_boundary<B: Boundary>(&self) -> Result<(), NameTwice> {
        let id = TypeId::of::<B>();
        if self.boundaries.read().unwrap_or_else(PoisonError::into_inner).contains(&id) {
            return Ok(());
        }
        let mut aggregates = Vec::new();
        B::events(&mut |category, registry| aggregates.push((category, registry)));
        for (category, registry) in aggregates {
            self.add(&registry, Scope::Written(category))?;
        }
        self.boundaries.write().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok(())
    }

    fn add(&self, registry: &Registry, scope: Scope) -> Result<(), NameTwice> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, type_id, type_name) in registry.meanings() {
            let known = names.entry(name).or_default();
            let mut others = known.iter().filter(|other| other.type_id != type_id);
            if let Some(other) = others.find(|other| other.scope.meets(scope)) {
                return Err(NameTwice { name, first: other.type_name, second: type_name });
            }
            if !known.iter().any(|known| known.type_id == type_id && known.scope == scope) {
                known.push(Meaning { type_id, type_name, scope });
            }
        }
        Ok(())
    }
}
