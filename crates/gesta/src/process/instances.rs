//! Search and display of a manager's instances, from their streams and the set-aside inputs.

use std::collections::{BTreeSet, HashSet};

use gesta_store::{ListStreams, StreamName};

use super::{
    DueTimer, InstanceCommand, InstanceDetails, InstancePage, InstanceQuery, InstanceState,
    InstanceSummary, InstanceTimer, OutstandingCommand, ProcessError, RefusalKind, RefusedCommand,
    Subject,
    aside::Asides,
    handle::{ProcessHandle, operation_error},
    outstanding::{EndedBy, Outstanding},
};
use crate::error_line::in_one_line;

/// Maximum number of streams that a search reads. Reading one takes some tens of microseconds.
const STREAMS_READ_MAX: usize = 1_000;

/// Streams listed per request.
const STREAMS_LISTED: usize = 200;

impl ProcessHandle {
    /// Returns one page of instances.
    pub(crate) async fn instances(
        &self,
        query: &InstanceQuery,
    ) -> Result<InstancePage, ProcessError> {
        let limit = query.limit.clamp(1, InstanceQuery::LIMIT_MAX);
        let asides = self.started().await.asides;
        // Listed from the journal: a scan of streams would miss instances without one.
        if query.state == Some(InstanceState::Troubled) {
            return self.troubled(&asides, query, limit).await;
        }
        let mut instances: Vec<InstanceSummary> = Vec::new();
        let mut after = query.after.clone();
        let mut looked_at = 0;
        while looked_at < STREAMS_READ_MAX {
            let (ids, is_last) = self.next_ids(&asides, query, after.as_deref()).await?;
            for id in ids {
                looked_at += 1;
                // The next page starts here, even if this instance does not match the query.
                after = Some(id.clone());
                let summary = self.summary(&asides, id).await?;
                if query.state.is_none_or(|state| state == summary.state) {
                    instances.push(summary);
                }
                if instances.len() == limit {
                    return Ok(InstancePage { instances, next: after });
                }
            }
            if is_last {
                after = None;
                break;
            }
        }
        Ok(InstancePage { instances, next: after })
    }

    /// Returns the earliest pending timers of all instances, at most so many.
    pub(crate) async fn timers(&self, limit: usize) -> Vec<DueTimer> {
        let queued = self.started().await.timer_queue.first(limit);
        let due = queued.into_iter().filter_map(|(due, stream, timer)| {
            Some(DueTimer { instance: self.identity.id_of(&stream)?, timer, due })
        });
        due.collect()
    }

    /// Returns the commands of all instances that are not executed yet, at most so many.
    pub(crate) async fn commands(&self, limit: usize) -> Vec<OutstandingCommand> {
        let progress = self.started().await;
        let troubled: HashSet<_> = progress.asides.instance_ids().collect();
        let queued = progress.command_queue.first(limit).into_iter();
        let outstanding = queued.filter_map(|(stream, command, name)| {
            let instance = self.identity.id_of(&stream)?;
            let troubled = troubled.contains(&instance);
            Some(OutstandingCommand { instance, command, name, troubled })
        });
        outstanding.collect()
    }

    /// Returns the next ids, and true if no others follow. An instance whose first input is set
    /// aside has no stream yet.
    async fn next_ids(
        &self,
        asides: &Asides,
        query: &InstanceQuery,
        after: Option<&str>,
    ) -> Result<(BTreeSet<String>, bool), ProcessError> {
        let prefix = query.prefix.as_deref().unwrap_or_default();
        let names = self.names(prefix, after).await?;
        let is_last = names.len() < STREAMS_LISTED;
        let ids = names.iter().filter_map(|stream| self.identity.id_of(stream));
        let mut ids: BTreeSet<String> = ids.collect();
        let until = ids.last().filter(|_| !is_last).cloned();
        let is_before_others = |id: &String| until.as_ref().is_none_or(|until| id < until);
        ids.extend(set_aside_ids(asides, prefix, after).filter(is_before_others));
        Ok((ids, is_last))
    }

    async fn names(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<StreamName>, ProcessError> {
        let after = after.map(|id| self.identity.stream(id)).transpose();
        let after = after.map_err(gesta_store::StoreError::from)?;
        let prefix = self.identity.prefix() + prefix;
        Ok(self
            .store
            .list_streams(ListStreams::all().prefix(prefix).after(after).limit(STREAMS_LISTED))
            .await?)
    }

    /// Set-aside instances are known without reading streams, including those without a stream.
    async fn troubled(
        &self,
        asides: &Asides,
        query: &InstanceQuery,
        limit: usize,
    ) -> Result<InstancePage, ProcessError> {
        let prefix = query.prefix.as_deref().unwrap_or_default();
        let ids = set_aside_ids(asides, prefix, query.after.as_deref());
        let mut instances = Vec::new();
        for id in ids {
            if instances.len() == limit {
                let next = instances.last().map(|last: &InstanceSummary| last.id.clone());
                return Ok(InstancePage { instances, next });
            }
            instances.push(self.summary(asides, id).await?);
        }
        Ok(InstancePage { instances, next: None })
    }

    async fn summary(&self, asides: &Asides, id: String) -> Result<InstanceSummary, ProcessError> {
        let stream = self.identity.stream(&id).map_err(gesta_store::StoreError::from)?;
        let InstanceDetails { state, revision, set_aside, trouble, .. } =
            self.details(asides, id.clone(), &stream).await?;
        let error = set_aside.first().and_then(|first| first.error.clone()).or(trouble);
        Ok(InstanceSummary { id, state, revision, set_aside: set_aside.len(), error })
    }

    /// Returns one instance in full.
    pub(crate) async fn instance(&self, id: &str) -> Result<InstanceDetails, ProcessError> {
        let none =
            || ProcessError::NoSuchInstance { process: self.name.to_owned(), id: id.to_owned() };
        let stream = self.identity.stream(id).map_err(|_| none())?;
        let asides = self.started().await.asides;
        let details = self.details(&asides, id.to_owned(), &stream).await?;
        let is_nothing =
            details.revision.is_none() && details.set_aside.is_empty() && details.trouble.is_none();
        if is_nothing { Err(none()) } else { Ok(details) }
    }

    async fn details(
        &self,
        asides: &Asides,
        id: String,
        stream: &StreamName,
    ) -> Result<InstanceDetails, ProcessError> {
        let read = Outstanding::read(self.store.as_ref(), stream).await;
        // An instance that cannot be read is shown with its error. Only a failure of the store
        // fails the call.
        let (outstanding, trouble) = match read {
            Ok(outstanding) => (outstanding, None),
            Err(trouble) if trouble.is_of_the_instance() => {
                (Outstanding::default(), Some(in_one_line(&trouble)))
            }
            Err(trouble) => return Err(operation_error(trouble)),
        };
        // The stream is read now, but set-aside inputs are as of the runner's last status: the two
        // may differ by an input in progress.
        let set_aside = asides.view_of(&Subject::Instance(id.clone()));
        let state = match outstanding.ended {
            // An ended instance can be set aside too, and an operator must find it.
            _ if !set_aside.is_empty() => InstanceState::Troubled,
            Some(EndedBy::Itself) => InstanceState::Ended,
            Some(EndedBy::Operator) => InstanceState::Cancelled,
            None => InstanceState::Running,
        };
        let timers = outstanding.timers.iter().map(|(id, pending)| InstanceTimer {
            id: *id,
            due: pending.due,
            timer: pending.timer.text().to_owned(),
        });
        let commands = outstanding.commands.iter().map(|(id, pending)| InstanceCommand {
            id: *id,
            name: pending.name.clone(),
            payload: pending.payload.text().to_owned(),
        });
        let refused = outstanding.refused.iter().map(|(id, (pending, refusal))| RefusedCommand {
            id: *id,
            name: pending.name.clone(),
            payload: pending.payload.text().to_owned(),
            kind: RefusalKind::read(&refusal.code),
            reason: refusal.reason.clone(),
        });
        Ok(InstanceDetails {
            id,
            stream: stream.clone(),
            state,
            revision: outstanding.revision,
            timers: timers.collect(),
            commands: commands.collect(),
            refused: refused.collect(),
            set_aside,
            trouble,
        })
    }

    /// Returns all set-aside inputs.
    pub(crate) async fn set_aside(&self) -> Vec<super::SetAside> {
        self.view(&self.started().await.asides)
    }

    /// Returns these inputs in the operators' form.
    pub(crate) fn view(&self, asides: &Asides) -> Vec<super::SetAside> {
        asides.view(&self.identity)
    }
}

/// Returns the ids of set-aside instances with this prefix after this one, in order.
fn set_aside_ids<'a>(
    asides: &'a Asides,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = String> + 'a {
    let is_after = move |id: &str| after.is_none_or(|after| id > after);
    asides.instance_ids().filter(move |id| id.starts_with(prefix) && is_after(id))
}
