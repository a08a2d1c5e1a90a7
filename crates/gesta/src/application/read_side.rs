//! The projections of an application, before their start and while they run.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use gesta_store::{Invalid, ReadModelStore, ReadRows, Rows, StoreError};

use crate::{
    Apply, OnRead, OpenError, OperationError, Projection, check_projection_name,
    projection::{
        OnReadRows, OnReadStorage, ProjectionContext, ProjectionHandle, ProjectionRegistration,
        StartProjection,
    },
};

/// The registered projections before their start.
#[derive(Default)]
pub(crate) struct ReadSideRegistrations {
    running: Vec<(TypeId, Box<dyn StartProjection>)>,
    on_read: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    on_read_names: Vec<&'static str>,
}

impl ReadSideRegistrations {
    /// Adds a projection that runs while the application is open.
    pub(super) fn add<P, S>(&mut self, planned: ProjectionRegistration<P, S>)
    where
        P: Apply<S::Tx>,
        S: ReadModelStore,
    {
        self.running.push((TypeId::of::<P>(), Box::new(planned)));
    }

    /// Adds a projection that is computed when its rows are read.
    pub(super) fn add_on_read<P, S>(&mut self, read_models: S)
    where
        P: OnRead,
        S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
    {
        let rows = OnReadRows::<P>::new(OnReadStorage::new(read_models));
        self.on_read.insert(TypeId::of::<P>(), Arc::new(rows));
        self.on_read_names.push(P::NAME);
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let running = self.running.iter().map(|(_, planned)| planned.name());
        running.chain(self.on_read_names.iter().copied())
    }

    /// Starts every projection.
    pub(crate) fn start(self, context: &ProjectionContext) -> Result<ReadSide, OpenError> {
        for projection in self.names() {
            check_projection_name(projection)
                .map_err(|error| OpenError::ProjectionName { projection, error })?;
        }
        for (_, planned) in &self.running {
            if let Some(reason) = planned.partition_fault() {
                return Err(OpenError::Partitions { projection: planned.name(), reason });
            }
            if let Some(reason) = planned.inline_fault(context.store.0.as_ref()) {
                return Err(OpenError::Inline { projection: planned.name(), reason });
            }
        }
        let mut taken = HashSet::new();
        if let Some(twice) = self.on_read_names.iter().find(|name| !taken.insert(**name)) {
            return Err(OpenError::DuplicateProjection { projection: twice });
        }
        let mut side = ReadSide { on_read: self.on_read, ..ReadSide::default() };
        // Without tasks no runtime is needed.
        if self.running.is_empty() {
            return Ok(side);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoRuntime);
        }
        // An error further on drops the handles, which stops the tasks started so far.
        for (projection, planned) in self.running {
            let name = planned.name();
            let handle = planned.start(context).map_err(|error| not_started(name, &error))?;
            let name = handle.name;
            if !taken.insert(name) || side.by_name.insert(name, handle).is_some() {
                return Err(OpenError::DuplicateProjection { projection: name });
            }
            side.names.insert(projection, name);
        }
        Ok(side)
    }
}

fn not_started(projection: &'static str, error: &StoreError) -> OpenError {
    match error {
        StoreError::Rejected(Invalid::Name(name)) => name.clone().into(),
        error => OpenError::Inline { projection, reason: error.to_string() },
    }
}

impl fmt::Debug for ReadSideRegistrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} projections", self.running.len() + self.on_read.len())
    }
}

/// The running projections.
#[derive(Debug, Default)]
pub(crate) struct ReadSide {
    by_name: BTreeMap<&'static str, ProjectionHandle>,
    names: HashMap<TypeId, &'static str>,
    on_read: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl ReadSide {
    /// Returns a registered projection.
    pub(crate) fn of<P: Projection>(&self) -> Option<&ProjectionHandle> {
        self.by_name.get(self.names.get(&TypeId::of::<P>())?)
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = &ProjectionHandle> {
        self.by_name.values()
    }

    pub(super) fn named(&self, projection: &str) -> Result<&ProjectionHandle, OperationError> {
        let unknown = || OperationError::NotRegistered { projection: projection.to_owned() };
        self.by_name.get(projection).ok_or_else(unknown)
    }

    pub(super) fn on_read<P: OnRead>(&self) -> Option<&OnReadRows<P>> {
        self.on_read.get(&TypeId::of::<P>())?.downcast_ref()
    }
}
