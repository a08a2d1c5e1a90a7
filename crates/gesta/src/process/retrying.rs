//! Retries of set-aside inputs in a running manager: their start, and the storage of their results.
//!
//! Invariant: an input leaves the journal only after the retry has recorded it in its instance's
//! stream, and one retry of a subject runs at a time.
//!
//! Not here: the retry itself ([`retry`](super::retry)).

use std::{iter, sync::Arc};

use gesta_store::{ExpectedRevision, NewEvent, StreamAppend};

use super::{
    ProcessError, ProcessManager, Subject,
    aside::{AsideInput, AsideRef, SubjectKey},
    journal::{InputsReleased, Journal, RetryFailed},
    lanes::Done,
    retry::{Failed, Retried, retry},
    session::{ProcessRunner, Retrying, Session},
    trouble::InputError,
};
use crate::audit;

/// Results of a retry, to be stored in the journal.
struct Kept<'a> {
    handled: Vec<u64>,
    moved: Vec<(u64, String, AsideRef)>,
    failed: Option<&'a Failed>,
    record: Option<&'a NewEvent>,
}

impl<P: ProcessManager> ProcessRunner<P> {
    /// Starts a retry, or replies with the reason against it.
    pub(super) fn start_retry(
        &mut self,
        subject: Subject,
        retrying: Retrying,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let refused =
            if session.retrying.contains_key(&subject) || self.is_at_work(&subject, session) {
                Some(ProcessError::Unavailable { reason: format!("{subject} is being handled") })
            } else if session.journal.asides.holds(&subject) {
                None
            } else {
                Some(ProcessError::NotSetAside { subject: subject.clone() })
            };
        let Some(refused) = refused else {
            self.go_on_retrying(subject, retrying, session);
            return Ok(());
        };
        let _ = retrying.reply.map(|reply| reply.send(Err(refused)));
        Ok(())
    }

    fn is_at_work(&self, subject: &Subject, session: &Session<P>) -> bool {
        let Subject::Instance(id) = subject else { return false };
        self.deps.identity.stream(id).is_ok_and(|stream| session.lanes.is_at_work(&stream))
    }

    /// Retries the inputs that a subject has at this moment.
    pub(super) fn go_on_retrying(
        &mut self,
        subject: Subject,
        retrying: Retrying,
        session: &mut Session<P>,
    ) {
        let asides = &session.journal.asides;
        let inputs: Vec<Arc<AsideInput>> = asides
            .queue(&subject)
            .map(|queue| queue.inputs.iter().cloned().collect())
            .unwrap_or_default();
        // An event may be routed to another instance now, which may be set aside itself.
        let held = asides.instance_ids().collect();
        session.retrying.insert(subject.clone(), retrying);
        let retry = retry(Arc::clone(&self.deps), subject, inputs, held);
        self.working.spawn(async move { Done::Retried(Box::new(retry.await)) });
    }

    /// Stores the result of a retry, and retries inputs that were set aside in between.
    pub(super) async fn retried(
        &mut self,
        retried: Retried,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Retried { subject, handled, moved, failed, trouble, known } = retried;
        let Some(Retrying { record, reply }) = session.retrying.remove(&subject) else {
            return Ok(());
        };
        // Effects of the retried inputs start now, even if a later input fails.
        for (stream, outstanding) in &known {
            session.schedule.know(stream, outstanding);
        }
        let kept = Kept { handled, moved, failed: failed.as_ref(), record: record.as_ref() };
        self.keep(&subject, kept, session).await?;
        self.hold_subject(&subject, session)?;
        let outcome = match (failed, trouble) {
            (Some(Failed { number, error, .. }), _) => {
                Err(ProcessError::StillFails { subject, number, error })
            }
            (None, Some(reason)) => Err(ProcessError::Unavailable { reason }),
            // Inputs were set aside while the retry ran. The operator gets the answer once all are
            // handled.
            (None, None) if session.journal.asides.holds(&subject) => {
                self.go_on_retrying(subject, Retrying { record: None, reply }, session);
                return Ok(());
            }
            (None, None) => Ok(()),
        };
        match reply {
            Some(reply) => self.answer(reply, outcome.map_err(Ok), session),
            None => Ok(()),
        }
    }

    /// Stores the results of a retry in the journal.
    async fn keep(
        &self,
        subject: &Subject,
        kept: Kept<'_>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Kept { handled, moved, failed, record } = kept;
        // The store failed before the first input. Nothing is recorded, not even the audit entry.
        if handled.is_empty() && moved.is_empty() && failed.is_none() {
            return Ok(());
        }
        let also = record.map(|record| {
            let failure = failed.map(|_| audit::failure_of(record, audit::STILL_FAILS));
            let records = iter::once(record.clone()).chain(failure).collect::<Vec<_>>();
            StreamAppend::new(audit::stream(), ExpectedRevision::Any, records)
        });
        let at = (session.flow.delivered(), self.deps.now().micros());
        let key = SubjectKey::of(subject);
        // Decided on the journal at the time of the append, which numbers the moved inputs.
        let changes = |journal: &Journal| {
            let numbers = handled.iter().copied().chain(moved.iter().map(|(number, ..)| *number));
            let numbers: Vec<u64> = numbers.collect();
            let mut events = Vec::new();
            if !numbers.is_empty() {
                let (subject, skipped) = (key.clone(), Vec::new());
                events.push(InputsReleased { subject, numbers, skipped }.into());
            }
            events.extend(journal.moved(&moved, at));
            if let Some(Failed { number, error, attempts }) = failed {
                let (number, error) = (*number, error.clone());
                let (subject, attempts) = (key.clone(), *attempts);
                events.push(RetryFailed { subject, number, error, attempts }.into());
            }
            events
        };
        let store = self.deps.store.as_ref();
        session.journal.append(store, also.into_iter().collect(), changes).await?;
        // The instances that received inputs are blocked behind them.
        for (_, id, _) in &moved {
            session.hold(&self.deps.identity.stream(id)?, &Subject::Instance(id.clone()));
        }
        Ok(())
    }

    pub(super) fn hold_subject(
        &self,
        subject: &Subject,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        if let Subject::Instance(id) = subject {
            session.hold(&self.deps.identity.stream(id)?, subject);
        }
        Ok(())
    }
}
