//! The state that all calls of a store share, on the thread of the store.
//!
//! Owns: [`Core`], with the server's features and the highest position that is known. Not here: the
//! handle of callers ([`store`](crate::store)), and the calls themselves.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::FutureExt as _;
use gesta_store::{Appended, EventId, Position, StoreError};

use crate::{
    cluster::Cluster,
    failure::{Failure, Subject},
    hidden::HiddenStreams,
    proto::{
        server_features::{SupportedMethods, server_features_client::ServerFeaturesClient},
        shared::Empty,
    },
};

/// Maximum size of an answer's message: the largest event of any server, and what is around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

const STREAMS_V2: &str = "kurrentdb.protocol.v2.streams.streamsservice";
const APPENDS: &str = "gesta.client.appends.appends";

/// The optional calls of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// `AppendRecords`: appends to several streams.
    pub(crate) appends_records: bool,
    /// Finds appends, which only Gesta's server does.
    pub(crate) finds_appends: bool,
}

pub(crate) struct Core {
    pub(crate) cluster: Cluster,
    pub(crate) features: Features,
    pub(crate) hidden: tokio::sync::Mutex<HiddenStreams>,
    /// The highest position that an answer has told.
    seen: AtomicU64,
    /// Appends that wait for their answer, by their first event.
    offered: Mutex<HashMap<EventId, Offered>>,
}

/// Calls of one append that wait at the same time.
#[derive(Debug, Default)]
struct Offered {
    calls: usize,
    /// One of them was told that it recorded the events.
    is_recorded: bool,
}

impl Core {
    /// Asks the server what it can do. A server that does not say so has no optional calls.
    pub(crate) async fn open(cluster: Cluster) -> Result<Self, StoreError> {
        let listed = cluster
            .call(|lease| {
                let origin = lease.link.origin();
                let mut client = ServerFeaturesClient::with_origin(lease.link.clone(), origin);
                async move {
                    let answer = client.get_supported_methods(Empty {}).await;
                    drop(lease);
                    answer.map(tonic::Response::into_inner)
                }
                .boxed()
            })
            .await;
        let features = match listed {
            Ok(methods) => Features::of(&methods),
            Err(Failure::Answered(status))
                if matches!(status.code(), tonic::Code::Unimplemented | tonic::Code::NotFound) =>
            {
                Features::default()
            }
            Err(failure) => return Err(failure.of_read(&Subject::default())),
        };
        Ok(Self {
            cluster,
            features,
            hidden: tokio::sync::Mutex::default(),
            seen: AtomicU64::new(0),
            offered: Mutex::default(),
        })
    }

    /// Returns the highest position that is known.
    pub(crate) fn seen(&self) -> Position {
        Position::new(self.seen.load(Ordering::Acquire))
    }

    pub(crate) fn see(&self, position: Position) {
        self.seen.fetch_max(position.number(), Ordering::AcqRel);
    }

    /// Notes that an append is sent. Returns what is known at this moment.
    pub(crate) fn offer(&self, first_event: EventId) -> Position {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.entry(first_event).or_default().calls += 1;
        self.seen()
    }

    /// Notes the answer to an append, and completes it: the protocol does not say whether the
    /// events were recorded now or earlier.
    ///
    /// A position that was known before the append was sent is an earlier append's, and of the
    /// calls that wait at the same time one has recorded the events. An append of another process
    /// that this one has not seen is not told apart.
    pub(crate) fn settle(
        &self,
        first_event: EventId,
        known: Position,
        answer: Result<Appended, StoreError>,
    ) -> Result<Appended, StoreError> {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut was_recorded = false;
        if let Some(calls) = offered.get_mut(&first_event) {
            was_recorded = calls.is_recorded;
            calls.is_recorded |= answer.is_ok();
            calls.calls -= 1;
            if calls.calls == 0 {
                offered.remove(&first_event);
            }
        }
        let appended = answer?;
        self.see(appended.position);
        match was_recorded || appended.position <= known {
            true => Ok(appended.earlier()),
            false => Ok(appended),
        }
    }
}

impl Features {
    fn of(methods: &SupportedMethods) -> Self {
        let has = |service: &str, method: &str| {
            methods.methods.iter().any(|listed| {
                listed.service_name.eq_ignore_ascii_case(service)
                    && listed.method_name.eq_ignore_ascii_case(method)
            })
        };
        Self {
            appends_records: has(STREAMS_V2, "appendrecords"),
            finds_appends: has(APPENDS, "find"),
        }
    }
}
