//! The process managers of an application: their registration, and their operation by name.
//!
//! Not here: what a process does ([`ProcessManager`](crate::ProcessManager)).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use crate::{
    Builder, EffectId, Gesta, InstanceCounts, InstanceDetails, InstancePage, InstanceQuery,
    OpenError, ProcessError, ProcessManager, ProcessSetup, ProcessStatus, SetAside, Subject,
    audit::Operator,
    meanings::Scope,
    process::{Handle, Operation, Planned, Planning, ProcessContext},
};

/// What was registered and is not started yet.
#[derive(Default)]
pub(crate) struct PlannedProcesses(Vec<Box<dyn Planning>>);

impl PlannedProcesses {
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

    /// No two managers have a name in common, former ones included.
    fn check_names(&self) -> Result<(), OpenError> {
        let mut names = HashSet::new();
        if let Some(twice) = self.0.iter().find(|planned| !names.insert(planned.name())) {
            return Err(OpenError::DuplicateProcess { process: twice.name() });
        }
        let mut formers = HashSet::new();
        for planned in &self.0 {
            let Some(formerly) = planned.formerly() else { continue };
            if names.contains(formerly) || !formers.insert(formerly) {
                let (process, formerly) = (planned.name(), formerly.to_owned());
                return Err(OpenError::ProcessFormerly { process, formerly });
            }
        }
        Ok(())
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
    /// One that is new to a store begins with the store's first event; see
    /// [`process_set_up`](Self::process_set_up) for other beginnings.
    pub fn process<P: ProcessManager + Default>(self) -> Self {
        self.process_with(P::default())
    }

    /// Runs a process manager whose processes begin with this value, settings included.
    pub fn process_with<P: ProcessManager>(self, manager: P) -> Self {
        self.process_set_up(ProcessSetup::of(manager))
    }

    /// Runs a process manager that says where it begins, or which name it had before.
    pub fn process_set_up<P: ProcessManager>(mut self, setup: ProcessSetup<P>) -> Self {
        self.processes.0.push(Box::new(Planned(setup)));
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }
}

/// No process manager of this name runs here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no process manager {process} runs here")]
pub struct ProcessNotRegistered {
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
    /// [`ProcessNotRegistered`] when none of that name runs here.
    pub async fn pause_process(&self, name: &str) -> Result<(), ProcessNotRegistered> {
        self.switch(name, Operation::Pause).await
    }

    /// Has a process manager go on after a pause.
    ///
    /// # Errors
    /// [`ProcessNotRegistered`] when none of that name runs here.
    pub async fn resume_process(&self, name: &str) -> Result<(), ProcessNotRegistered> {
        self.switch(name, Operation::Resume).await
    }

    async fn switch(&self, name: &str, operation: Operation) -> Result<(), ProcessNotRegistered> {
        let ordered = self.process(name)?.order(operation).await;
        ordered.map_err(|_| ProcessNotRegistered { process: name.to_owned() })
    }

    fn process(&self, name: &str) -> Result<&Handle, ProcessNotRegistered> {
        let unknown = || ProcessNotRegistered { process: name.to_owned() };
        self.processes().0.get(name).ok_or_else(unknown)
    }

    /// Counts the instances of a process manager by state. The first count after a start reads
    /// their streams from the last checkpoint on, each further one from the last count on.
    ///
    /// # Errors
    /// [`ProcessError`] when there is no such manager, or the store could not be read.
    pub async fn process_counts(&self, process: &str) -> Result<InstanceCounts, ProcessError> {
        self.process(process)?.counts().await
    }

    /// Finds instances of a process manager, by id. Reads the stream of each that it looks at; of
    /// those in trouble it knows without.
    ///
    /// # Errors
    /// [`ProcessError`] when there is no such manager, or the store could not be read.
    pub async fn process_instances(
        &self,
        query: &InstanceQuery,
    ) -> Result<InstancePage, ProcessError> {
        self.process(&query.process)?.instances(query).await
    }

    /// Shows one instance of a process manager in full.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchInstance`] when there is none of that id.
    pub async fn process_instance(
        &self,
        process: &str,
        id: &str,
    ) -> Result<InstanceDetails, ProcessError> {
        self.process(process)?.instance(id).await
    }

    /// Lists all that is set aside of a process manager: by instance, and by the streams of events
    /// that could not be routed.
    ///
    /// # Errors
    /// [`ProcessError`] when there is no such manager.
    pub async fn process_set_aside(&self, process: &str) -> Result<Vec<SetAside>, ProcessError> {
        Ok(self.process(process)?.set_aside().await)
    }

    /// Tries again what is set aside of an instance or of a source stream, in order, up to the
    /// first input that fails. Events are routed again.
    ///
    /// # Errors
    /// [`ProcessError::StillFails`] at the first input that fails; those before it are handled.
    pub async fn retry_process(
        &self,
        process: &str,
        subject: &Subject,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (subject, by) = (subject.clone(), by.clone());
        self.process(process)?.order(Operation::Retry { subject, by }).await
    }

    /// Leaves an input out that is set aside: its process never sees it. What waits behind it is
    /// tried again.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchInput`] when it is not set aside.
    pub async fn skip_process_input(
        &self,
        process: &str,
        subject: &Subject,
        number: u64,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (subject, by) = (subject.clone(), by.clone());
        self.process(process)?.order(Operation::Skip { subject, number, by }).await
    }

    /// Ends an instance: its timers are cancelled, its commands are not sent any more, what is set
    /// aside of it is left out. A command that is on its way may still be executed.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] when it has ended before.
    pub async fn cancel_process(
        &self,
        process: &str,
        id: &str,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(Operation::Cancel { id, by }).await
    }

    /// Has a pending timer of an instance fire now.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchTimer`] when it is not pending, [`ProcessError::Unusable`] when the
    /// instance cannot react to it; it stays pending then.
    pub async fn fire_process_timer(
        &self,
        process: &str,
        id: &str,
        timer: EffectId,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(Operation::Fire { id, timer, by }).await
    }

    /// Sends a command again that was refused for good, as a new command. If it is refused again,
    /// the instance is told as it was the first time.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchRefusedCommand`] when no command of that id was refused, or it was
    /// sent again since.
    pub async fn resend_process_command(
        &self,
        process: &str,
        id: &str,
        command: EffectId,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(Operation::Resend { id, command, by }).await
    }
}

fn status(handle: &Handle) -> ProcessStatus {
    handle.progress.borrow().status(handle.name)
}
