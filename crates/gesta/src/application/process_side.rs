//! The process managers of an application, before their start and while they run.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use crate::{
    OpenError, ProcessManager, ProcessNotRegistered, ProcessSetup,
    process::{ProcessContext, ProcessHandle, ProcessRegistration, StartProcessManager},
};

/// The registered process managers before their start.
#[derive(Default)]
pub(crate) struct ProcessRegistrations(Vec<Box<dyn StartProcessManager>>);

impl ProcessRegistrations {
    /// Adds a process manager.
    pub(super) fn add<P: ProcessManager>(&mut self, setup: ProcessSetup<P>) {
        self.0.push(Box::new(ProcessRegistration(setup)));
    }

    pub(crate) async fn start(self, context: &ProcessContext) -> Result<Processes, OpenError> {
        let mut processes = Processes::default();
        if self.0.is_empty() {
            return Ok(processes);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoRuntime);
        }
        self.check_names()?;
        for planned in self.0 {
            let handle = planned.start(context.clone()).await?;
            processes.0.insert(handle.name, handle);
        }
        Ok(processes)
    }

    /// Checks that no two managers share a name, former names included.
    fn check_names(&self) -> Result<(), OpenError> {
        let mut names = HashSet::new();
        if let Some(twice) = self.0.iter().find(|planned| !names.insert(planned.name())) {
            return Err(OpenError::DuplicateProcess { process: twice.name() });
        }
        let mut formers = HashSet::new();
        for planned in &self.0 {
            let Some(formerly) = planned.formerly() else { continue };
            // Two managers on one set of streams would compete for its inputs.
            if names.contains(formerly) || !formers.insert(formerly) {
                let (process, formerly) = (planned.name(), formerly.to_owned());
                return Err(OpenError::ProcessFormerly { process, formerly });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ProcessRegistrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} process managers", self.0.len())
    }
}

/// The running process managers.
#[derive(Debug, Default)]
pub(crate) struct Processes(BTreeMap<&'static str, ProcessHandle>);

impl Processes {
    pub(crate) fn handles(&self) -> impl Iterator<Item = &ProcessHandle> {
        self.0.values()
    }

    /// Returns a running manager by name.
    pub(super) fn named(&self, name: &str) -> Result<&ProcessHandle, ProcessNotRegistered> {
        let unknown = || ProcessNotRegistered { process: name.to_owned() };
        self.0.get(name).ok_or_else(unknown)
    }

    /// Stops all managers and waits until they have released their resources.
    pub(crate) async fn stop(&self) {
        for handle in self.handles() {
            handle.stop().await;
        }
    }
}
