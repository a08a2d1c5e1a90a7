//! The audit stream `$audit`: failed logins, and what administrators did.
//!
//! Owns: the events, and the rate at which failed logins are recorded. Invariants: no event has a
//! password or a token; a flood of failures is counted and not recorded one by one. Clients only
//! read the stream ([`stream_rights`](super::stream_rights)).

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::Extensions;
use gesta_store::{EventId, EventType, NewEvent, StreamName};
use serde_json::{Map, Value};

use super::caller::{Caller, Peer};

/// Name of the audit stream.
pub(super) const AUDIT: &str = "$audit";
/// Failed logins that are recorded at once.
const BURST: f64 = 10.0;
/// Failed logins that are recorded in each second after these.
const PER_SECOND: f64 = 0.2;

/// An act to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct AuditRecord {
    act: &'static str,
    entries: Map<String, Value>,
}

impl AuditRecord {
    /// An act of the server itself.
    pub(crate) fn of_server(act: &'static str) -> Self {
        Self { act, entries: Map::new() }
    }

    /// An act of a user.
    pub(crate) fn new(act: &'static str, caller: &Caller, peer: Option<&Peer>) -> Self {
        let record = Self::of_server(act).with("by", caller.login().unwrap_or("anonymous"));
        match peer {
            Some(peer) => record.with("from", peer.address.to_string()),
            None => record,
        }
    }

    pub(super) fn failed_login(login: &str, address: IpAddr, suppressed: u64) -> Self {
        let record = Self::of_server("$login-failed").with("login", login);
        let record = record.with("from", address.to_string());
        match suppressed {
            0 => record,
            more => record.with("suppressedBefore", more),
        }
    }

    /// Failed logins that were not recorded one by one, and that no later one has told.
    pub(super) fn suppressed_failures(count: u64) -> Self {
        Self::of_server("$login-failures-suppressed").with("count", count)
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.entries.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn into_event(self) -> NewEvent {
        let event_type = EventType::new(self.act).expect("the name of an act is a valid type");
        NewEvent::json(EventId::random(), event_type, Value::Object(self.entries).to_string())
    }
}

/// The thing that a recorded call is about, and the caller's reason. The service says them, and the
/// access check records them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSubject(Arc<CallFacts>);

#[derive(Debug, Default)]
struct CallFacts {
    about: OnceLock<(&'static str, String)>,
    reason: OnceLock<String>,
}

impl CallSubject {
    /// Returns the subject of a request; one that is recorded nowhere if the call is not recorded.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Says what the call is about. The first word counts.
    pub(crate) fn tell(&self, kind: &'static str, name: impl Into<String>) {
        let _ = self.0.about.set((kind, name.into()));
    }

    /// Says why the caller makes the call. The first reason counts.
    pub(crate) fn explain(&self, reason: impl Into<String>) {
        let _ = self.0.reason.set(reason.into());
    }

    /// Returns `true` if the caller has said why.
    pub(crate) fn is_explained(&self) -> bool {
        self.0.reason.get().is_some()
    }

    /// Adds subject and reason to the record of the call.
    pub(crate) fn add_to(&self, mut record: AuditRecord) -> AuditRecord {
        if let Some((kind, name)) = self.0.about.get() {
            record = record.with(kind, name.as_str());
        }
        match self.0.reason.get() {
            Some(reason) => record.with("reason", reason.as_str()),
            None => record,
        }
    }
}

pub(super) fn audit_stream() -> StreamName {
    StreamName::new(AUDIT).expect("the name is valid")
}

/// The rate of recorded failures.
#[derive(Debug)]
pub(super) struct FailureRate {
    tokens: f64,
    refilled: Duration,
    suppressed: u64,
}

impl FailureRate {
    pub(super) const fn new() -> Self {
        Self { tokens: BURST, refilled: Duration::ZERO, suppressed: 0 }
    }

    /// Returns the number of failures that were left out since the last recorded one, or `None` if
    /// this one is left out, too.
    pub(super) fn take(&mut self, now: Duration) -> Option<u64> {
        let passed = now.saturating_sub(self.refilled).as_secs_f64();
        self.tokens = passed.mul_add(PER_SECOND, self.tokens).min(BURST);
        self.refilled = now;
        if self.tokens < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(self.take_suppressed())
    }

    /// Returns the number of failures that were left out and not told yet.
    pub(super) const fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Returns the same number, which is told then.
    pub(super) const fn take_suppressed(&mut self) -> u64 {
        std::mem::replace(&mut self.suppressed, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_counted_and_not_recorded() {
        let mut rate = FailureRate::new();
        let recorded = (0..100).filter_map(|_| rate.take(Duration::ZERO)).count();
        assert_eq!(recorded, 10);
        assert_eq!(rate.take(Duration::from_secs(5)), Some(90));
        assert_eq!(rate.take(Duration::from_secs(5)), None);
        assert_eq!((rate.suppressed(), rate.take_suppressed(), rate.suppressed()), (1, 1, 0));
    }
}
