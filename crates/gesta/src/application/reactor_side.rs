//! The reactors of an application, before their start and while they run.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use crate::{
    OpenError, Reactor, ReactorError, ReactorSetup,
    reactor::{ReactorContext, ReactorHandle, ReactorRegistration, StartReactor},
};

/// The registered reactors before their start.
#[derive(Default)]
pub(crate) struct ReactorRegistrations(Vec<Box<dyn StartReactor>>);

impl ReactorRegistrations {
    /// Adds a reactor.
    pub(super) fn add<R: Reactor>(&mut self, setup: ReactorSetup<R>) {
        self.0.push(Box::new(ReactorRegistration(setup)));
    }

    pub(crate) async fn start(self, context: &ReactorContext) -> Result<Reactors, OpenError> {
        let mut reactors = Reactors::default();
        if self.0.is_empty() {
            return Ok(reactors);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoRuntime);
        }
        let mut names = HashSet::new();
        if let Some(twice) = self.0.iter().find(|planned| !names.insert(planned.name())) {
            return Err(OpenError::DuplicateReactor { reactor: twice.name() });
        }
        for planned in self.0 {
            let handle = planned.start(context.clone()).await?;
            reactors.0.insert(handle.name, handle);
        }
        Ok(reactors)
    }
}

impl fmt::Debug for ReactorRegistrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reactors", self.0.len())
    }
}

/// The running reactors.
#[derive(Debug, Default)]
pub(crate) struct Reactors(BTreeMap<&'static str, ReactorHandle>);

impl Reactors {
    pub(crate) fn handles(&self) -> impl Iterator<Item = &ReactorHandle> {
        self.0.values()
    }

    /// Returns a running reactor by name.
    pub(super) fn named(&self, name: &str) -> Result<&ReactorHandle, ReactorError> {
        let unknown = || ReactorError::NotRegistered { reactor: name.to_owned() };
        self.0.get(name).ok_or_else(unknown)
    }

    /// Stops all reactors and waits for the attempts in progress.
    pub(crate) async fn stop(&self) {
        for handle in self.handles() {
            handle.stop().await;
        }
    }
}
