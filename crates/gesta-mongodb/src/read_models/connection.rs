//! The connection of a store of read models: its database, and the thread on which its calls run.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{DatabaseError, ReadModelId, staged::Area};
use mongodb::{Collection, Database, bson::Document};
use uuid::Uuid;

use crate::{
    client::{Commits, Deployment, Heartbeats, within},
    clock,
    errors::CallError,
    names,
    worker::Worker,
};

/// The parts that the handles of a store share.
pub(super) struct Connection {
    pub(super) worker: Worker,
    pub(super) place: Place,
}

/// The database with what its server can do.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) deployment: Deployment,
    pub(super) commits: Commits,
    /// The server for messages, without user and password.
    pub(super) server: Arc<str>,
    heartbeats: Heartbeats,
    seen: Arc<Mutex<Seen>>,
}

/// Things about collections that this process need not ask again.
#[derive(Default)]
struct Seen {
    created: HashSet<String>,
    /// Epoch seconds of what is done now and then.
    done_at: HashMap<String, u64>,
    /// The greatest build of each projection.
    builds: HashMap<String, u64>,
}

impl Place {
    pub(super) fn new(
        (database, deployment): (Database, Deployment),
        commits: Commits,
        (server, heartbeats): (&str, &Heartbeats),
    ) -> Self {
        let (server, heartbeats) = (server.into(), heartbeats.clone());
        Self { database, deployment, commits, server, heartbeats, seen: Arc::default() }
    }

    /// Returns the error for a caller of derived data.
    fn describe(&self, error: CallError) -> DatabaseError {
        self.heartbeats.explain(error).into_database(&self.server)
    }

    pub(super) fn documents(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    pub(super) fn rows(&self, id: &ReadModelId, area: &Area) -> Collection<Document> {
        self.documents(&names::of_area(id, area))
    }

    /// Creates a collection unless it is there: older servers create none in a transaction.
    ///
    /// Fails with [`CallError::Damaged`] if the server creates other collections and never this
    /// one. The writes would fail for ever, each with an error that might pass.
    pub(super) async fn create(&self, name: &str) -> Result<(), CallError> {
        let mut created = self.try_create(name).await;
        if matches!(created, Err(CallError::Internal(_))) && self.creates_others().await? {
            // The failure may have passed before the other collection was created.
            created = self.try_create(name).await;
            if let Err(CallError::Internal(reason)) = created {
                return Err(CallError::Damaged(remnant(name, &reason)));
            }
        }
        created
    }

    async fn try_create(&self, name: &str) -> Result<(), CallError> {
        match within(self.database.create_collection(name)).await {
            // A user without this right may write to collections that are there.
            Ok(()) | Err(CallError::Exists | CallError::Denied(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns whether the server creates a collection with a new name.
    async fn creates_others(&self) -> Result<bool, CallError> {
        let name = format!("gesta.probe-{}", Uuid::new_v4().simple());
        match self.try_create(&name).await {
            Ok(()) => within(self.documents(&name).drop()).await.map(|()| true),
            Err(CallError::Internal(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns whether this process has created the collection or the index.
    pub(super) fn has_created(&self, name: &str) -> bool {
        self.seen().created.contains(name)
    }

    pub(super) fn note_created(&self, name: String) {
        self.seen().created.insert(name);
    }

    pub(super) fn forget_created(&self, name: &str) {
        self.seen().created.remove(name);
    }

    /// Returns the greatest build of a projection that this process has seen, or 0.
    pub(super) fn greatest_build(&self, projection: &str) -> u64 {
        self.seen().builds.get(projection).copied().unwrap_or(0)
    }

    pub(super) fn note_build(&self, projection: &str, build: u64) {
        let mut seen = self.seen();
        let greatest = seen.builds.entry(projection.to_owned()).or_default();
        *greatest = build.max(*greatest);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` once in this time for each of these works.
    pub(super) fn is_due(&self, name: &str, every_seconds: u64) -> bool {
        let mut seen = self.seen();
        let now = clock::epoch_seconds();
        match seen.done_at.get(name) {
            Some(last) if now < last.saturating_add(every_seconds) => false,
            _ => {
                seen.done_at.insert(name.to_owned(), now);
                true
            }
        }
    }

    /// Makes a work due before its time.
    pub(super) fn make_due(&self, name: &str) {
        self.seen().done_at.remove(name);
    }
}

/// The text about a collection that alone cannot be created.
fn remnant(name: &str, reason: &str) -> String {
    let remedy = if names::OWN.contains(&name) {
        "give another database, or drop this one"
    } else {
        "rebuild the projection, which takes other collections"
    };
    format!(
        "collection {name} cannot be created, although others can, as after a crash of the server \
         in the middle of its creation: {reason}; {remedy}"
    )
}

impl Connection {
    /// Runs a call on the store's thread.
    pub(super) fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send {
        // The futures of the vendor's client are large. Every future around an unboxed one has
        // room for it, and a deep projection overflows the stack of its thread.
        let work = Box::pin(work);
        async move {
            let ended = self.worker.run(work).await.map_err(CallError::from);
            let outcome = ended.and_then(|outcome| outcome);
            outcome.map_err(|error| self.place.describe(error))
        }
    }

    /// Runs work for which no one waits. A failure is logged.
    pub(super) fn spawn(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), CallError>> + Send + 'static,
    ) {
        let place = self.place.clone();
        self.worker.spawn(async move {
            if let Err(error) = work.await {
                let error = place.describe(error);
                tracing::warn!(%error, "{what} in MongoDB failed and is tried again later");
            }
        });
    }
}
