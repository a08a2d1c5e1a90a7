//! The process managers of an application: their registration, and their operation by name.
//!
//! Not here: what a process does ([`ProcessManager`](crate::ProcessManager)).

use std::{collections::BTreeMap, fmt};

use crate::{
    Builder, Gesta, OpenError, ProcessManager, ProcessStatus,
    process::{Handle, Operation, Planned, Planning, Surroundings},
};

/// What was registered and is not started yet.
#[derive(Default)]
pub(crate) struct PlannedProcesses(Vec<Box<dyn Planning>>);

impl PlannedProcesses {
    pub(crate) fn start(self, surroundings: &Surroundings) -> Result<Processes, OpenError> {
        let mut processes = Processes::default();
        if self.0.is_empty() {
            return Ok(processes);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(OpenError::NoRuntime);
        }
        for planned in self.0 {
            let handle = planned.start(surroundings.clone())?;
            let name = handle.name;
            if processes.0.insert(name, handle).is_some() {
                return Err(OpenError::ProcessTwice { process: name });
            }
        }
        Ok(processes)
    }
}

impl fmt::Debug for PlannedProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} process managers", self.0.len())
    }
}

/// The process managers that run.
#[derive(Debug, Default)]
pub(crate) struct Processes(BTreeMap<&'static str, Handle>);

impl Processes {
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.0.values()
    }

    /// Stops them and waits until they hold nothing any more.
    pub(crate) async fn stop(&self) {
        for handle in self.handles() {
            handle.stop().await;
        }
    }
}

impl Builder {
    /// Runs a process manager, as long as the application is open. Needs a tokio runtime.
    ///
    /// One that is new to a store begins with the store's first event.
    pub fn process<P: ProcessManager + Default>(self) -> Self {
        self.process_with(P::default())
    }

    /// Runs a process manager whose processes begin with this value, settings included.
    pub fn process_with<P: ProcessManager>(mut self, manager: P) -> Self {
        self.processes.0.push(Box::new(Planned(manager)));
        self
    }
}

/// No process manager of this name runs here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no process manager {process} runs here")]
pub struct NoSuchProcess {
    /// The name.
    pub process: String,
}

impl Gesta {
    /// How every process manager is, by name.
    #[must_use]
    pub fn process_managers(&self) -> Vec<ProcessStatus> {
        self.processes().handles().map(status).collect()
    }

    /// Has a process manager finish what it is doing and do nothing more: no event is handled, no
    /// timer fires, no command is sent. What comes meanwhile is handled afterwards.
    ///
    /// A pause is this handle's, not the store's: it ends when the application is opened again.
    ///
    /// # Errors
    /// [`NoSuchProcess`] when none of that name runs here.
    pub async fn pause_process(&self, name: &str) -> Result<(), NoSuchProcess> {
        self.order(name, Operation::Pause).await
    }

    /// Has a process manager go on after a pause.
    ///
    /// # Errors
    /// [`NoSuchProcess`] when none of that name runs here.
    pub async fn resume_process(&self, name: &str) -> Result<(), NoSuchProcess> {
        self.order(name, Operation::Resume).await
    }

    async fn order(&self, name: &str, operation: Operation) -> Result<(), NoSuchProcess> {
        let unknown = || NoSuchProcess { process: name.to_owned() };
        let handle = self.processes().0.get(name).ok_or_else(unknown)?;
        if handle.order(operation).await { Ok(()) } else { Err(unknown()) }
    }
}

fn status(handle: &Handle) -> ProcessStatus {
    let progress = handle.progress.borrow().clone();
    ProcessStatus {
        name: handle.name,
        state: progress.state,
        position: progress.position,
        timers: progress.timers,
        commands: progress.commands,
        trouble: progress.trouble,
    }
}
