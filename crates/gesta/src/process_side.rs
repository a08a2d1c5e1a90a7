//! The process managers of an application: their registration, and their operation by name.
//!
//! Not here: the execution of processes ([`ProcessManager`](crate::ProcessManager)).

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use crate::{
    Builder, EffectId, Gesta, InstanceCounts, InstanceDetails, InstancePage, InstanceQuery,
    OpenError, ProcessError, ProcessManager, ProcessSetup, ProcessStatus, SetAside, Subject,
    audit::Operator,
    event_names::Scope,
    process::{
        ProcessContext, ProcessHandle, ProcessOperation, ProcessRegistration, StartProcessManager,
    },
};

/// The registered process managers before their start.
#[derive(Default)]
pub(crate) struct ProcessRegistrations(Vec<Box<dyn StartProcessManager>>);

impl ProcessRegistrations {
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

    /// Stops all managers and waits until they have released their resources.
    pub(crate) async fn stop(&self) {
        for handle in self.handles() {
            handle.stop().await;
        }
    }
}

impl Builder {
    /// Runs a process manager while the application is open. Requires a tokio runtime.
    ///
    /// A manager that is new to the store starts at its first event; see
    /// [`process_set_up`](Self::process_set_up) for other starting positions.
    pub fn process<P: ProcessManager + Default>(self) -> Self {
        self.process_with(P::default())
    }

    /// Runs a process manager whose instances start from this value, settings included.
    pub fn process_with<P: ProcessManager>(self, manager: P) -> Self {
        self.process_set_up(ProcessSetup::of(manager))
    }

    /// Runs a process manager with a starting position or a former name.
    pub fn process_set_up<P: ProcessManager>(mut self, setup: ProcessSetup<P>) -> Self {
        self.processes.0.push(Box::new(ProcessRegistration(setup)));
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }
}

/// No process manager of this name is registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process manager {process} is not registered")]
pub struct ProcessNotRegistered {
    /// The name.
    pub process: String,
}

impl Gesta {
    /// Returns the status of every process manager, by name.
    #[must_use]
    pub fn process_managers(&self) -> Vec<ProcessStatus> {
        self.processes().handles().map(status).collect()
    }

    /// Pauses a process manager after it finishes its present work: it handles no events, fires no
    /// timers and sends no commands until it is resumed.
    ///
    /// The pause is not stored: it ends when the application is opened again.
    ///
    /// # Errors
    /// [`ProcessNotRegistered`] if no manager has this name.
    pub async fn pause_process(&self, name: &str) -> Result<(), ProcessNotRegistered> {
        self.switch(name, ProcessOperation::Pause).await
    }

    /// Resumes a process manager after a pause.
    ///
    /// # Errors
    /// [`ProcessNotRegistered`] if no manager has this name.
    pub async fn resume_process(&self, name: &str) -> Result<(), ProcessNotRegistered> {
        self.switch(name, ProcessOperation::Resume).await
    }

    async fn switch(
        &self,
        name: &str,
        operation: ProcessOperation,
    ) -> Result<(), ProcessNotRegistered> {
        let ordered = self.process(name)?.order(operation).await;
        ordered.map_err(|_| ProcessNotRegistered { process: name.to_owned() })
    }

    fn process(&self, name: &str) -> Result<&ProcessHandle, ProcessNotRegistered> {
        let unknown = || ProcessNotRegistered { process: name.to_owned() };
        self.processes().0.get(name).ok_or_else(unknown)
    }

    /// Counts the instances of a process manager by state. The first count after a start reads
    /// their streams from the last checkpoint, later ones from the previous count.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager, or the store could not be read.
    pub async fn process_counts(&self, process: &str) -> Result<InstanceCounts, ProcessError> {
        self.process(process)?.counts().await
    }

    /// Finds instances of a process manager, by id. Reads the stream of each instance considered,
    /// except of those that are set aside.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager, or the store could not be read.
    pub async fn process_instances(
        &self,
        query: &InstanceQuery,
    ) -> Result<InstancePage, ProcessError> {
        self.process(&query.process)?.instances(query).await
    }

    /// Returns one instance of a process manager in full.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchInstance`] if no instance has this id.
    pub async fn process_instance(
        &self,
        process: &str,
        id: &str,
    ) -> Result<InstanceDetails, ProcessError> {
        self.process(process)?.instance(id).await
    }

    /// Returns the inputs set aside by a process manager, grouped by instance, and by stream for
    /// events that could not be routed.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager.
    pub async fn process_set_aside(&self, process: &str) -> Result<Vec<SetAside>, ProcessError> {
        Ok(self.process(process)?.set_aside().await)
    }

    /// Retries the inputs set aside of an instance or of a source stream, in order, up to the first
    /// that fails. Events are routed again.
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
        self.process(process)?.order(ProcessOperation::Retry { subject, by }).await
    }

    /// Skips an input that is set aside: its process never handles it. The inputs behind it are
    /// retried.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchInput`] if it is not set aside.
    pub async fn skip_process_input(
        &self,
        process: &str,
        subject: &Subject,
        number: u64,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (subject, by) = (subject.clone(), by.clone());
        self.process(process)?.order(ProcessOperation::Skip { subject, number, by }).await
    }

    /// Ends an instance: cancels its timers, stops sending its commands and drops its inputs that
    /// are set aside. A command in flight may still be executed.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] if the instance has ended before.
    pub async fn cancel_process(
        &self,
        process: &str,
        id: &str,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(ProcessOperation::Cancel { id, by }).await
    }

    /// Fires a pending timer of an instance now.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchTimer`] if it is not pending. [`ProcessError::Unusable`] if the
    /// instance cannot handle it; the timer then stays pending.
    pub async fn fire_process_timer(
        &self,
        process: &str,
        id: &str,
        timer: EffectId,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(ProcessOperation::Fire { id, timer, by }).await
    }

    /// Sends a permanently refused command again, as a new command. If it is refused again, the
    /// instance gets the refusal as it did the first time.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchRefusedCommand`] if no command with this id was refused, or it was
    /// sent again since.
    pub async fn resend_process_command(
        &self,
        process: &str,
        id: &str,
        command: EffectId,
        by: &Operator,
    ) -> Result<(), ProcessError> {
        let (id, by) = (id.to_owned(), by.clone());
        self.process(process)?.order(ProcessOperation::Resend { id, command, by }).await
    }
}

fn status(handle: &ProcessHandle) -> ProcessStatus {
    handle.progress.borrow().status(handle.name)
}
