//! The operation of process managers through [`Gesta`], by name.
//!
//! Not here: the execution of processes ([`ProcessManager`](crate::ProcessManager)).

use super::Gesta;
use crate::{
    DueTimer, EffectId, InstanceCounts, InstanceDetails, InstancePage, InstanceQuery,
    OutstandingCommand, ProcessError, ProcessStatus, SetAside, Subject,
    audit::Operator,
    process::{ProcessHandle, ProcessOperation},
};

impl Gesta {
    /// Returns the status of every process manager, by name.
    #[must_use]
    pub fn process_managers(&self) -> Vec<ProcessStatus> {
        self.processes().handles().map(status).collect()
    }

    /// Pauses a process manager after it finishes its current work: it handles no events, fires no
    /// timers and sends no commands until it is resumed.
    ///
    /// The pause is not stored: it ends when the application is opened again.
    ///
    /// # Errors
    /// [`ProcessError::ProcessNotRegistered`] if no manager has this name.
    /// [`ProcessError::RunsElsewhere`] if another node runs it. [`ProcessError::Store`] if the
    /// operation could not be recorded; the manager is not paused then.
    pub async fn pause_process(&self, name: &str, by: &Operator) -> Result<(), ProcessError> {
        self.processes().named(name)?.order(ProcessOperation::Pause { by: by.clone() }).await
    }

    /// Resumes a process manager after a pause or halt.
    ///
    /// # Errors
    /// The same as [`pause_process`](Self::pause_process).
    pub async fn resume_process(&self, name: &str, by: &Operator) -> Result<(), ProcessError> {
        self.processes().named(name)?.order(ProcessOperation::Resume { by: by.clone() }).await
    }

    /// Counts the instances of a process manager by state. The first count after a start reads
    /// their streams from the last checkpoint, later ones from the previous count.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager, or the store could not be read.
    pub async fn process_counts(&self, process: &str) -> Result<InstanceCounts, ProcessError> {
        self.processes().named(process)?.counts().await
    }

    /// Returns the pending timers of a process manager that fire first, in order of their times, at
    /// most `limit`. Reads nothing from the store.
    ///
    /// Only the node that runs the manager has its timers; others return none. Timers of set-aside
    /// inputs have had their time.
    ///
    /// # Errors
    /// [`ProcessError::ProcessNotRegistered`] if no manager has this name.
    pub async fn process_timers(
        &self,
        process: &str,
        limit: usize,
    ) -> Result<Vec<DueTimer>, ProcessError> {
        Ok(self.processes().named(process)?.timers(limit).await)
    }

    /// Returns the commands of a process manager that are decided and not executed yet, in order of
    /// their instances, at most `limit`. Reads nothing from the store.
    ///
    /// Only the node that runs the manager has them; others return none.
    ///
    /// # Errors
    /// [`ProcessError::ProcessNotRegistered`] if no manager has this name.
    pub async fn process_commands(
        &self,
        process: &str,
        limit: usize,
    ) -> Result<Vec<OutstandingCommand>, ProcessError> {
        Ok(self.processes().named(process)?.commands(limit).await)
    }

    /// Finds instances of a process manager, in order of id. Reads the stream of each instance
    /// considered, unless the instance is set aside.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager, or the store could not be read.
    pub async fn process_instances(
        &self,
        query: &InstanceQuery,
    ) -> Result<InstancePage, ProcessError> {
        self.processes().named(&query.process)?.instances(query).await
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
        self.processes().named(process)?.instance(id).await
    }

    /// Returns the inputs set aside by a process manager, grouped by instance, and by stream for
    /// events that could not be routed.
    ///
    /// # Errors
    /// [`ProcessError`] if there is no such manager.
    pub async fn process_set_aside(&self, process: &str) -> Result<Vec<SetAside>, ProcessError> {
        Ok(self.processes().named(process)?.set_aside().await)
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
        self.processes().named(process)?.order(ProcessOperation::Retry { subject, by }).await
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
        self.processes().named(process)?.order(ProcessOperation::Skip { subject, number, by }).await
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
        self.processes().named(process)?.order(ProcessOperation::Cancel { id, by }).await
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
        self.processes().named(process)?.order(ProcessOperation::Fire { id, timer, by }).await
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
        self.processes().named(process)?.order(ProcessOperation::Resend { id, command, by }).await
    }
}

fn status(handle: &ProcessHandle) -> ProcessStatus {
    handle.progress.borrow().status(handle.name, handle.lease.as_ref())
}
