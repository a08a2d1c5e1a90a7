//! Reads from a replica.
//!
//! Owns: the choice of the server for a read. Invariants:
//! - A read goes to the replica only if that has everything that this process knows of when the
//!   read begins: its own appends, and what its subscriptions have delivered. It waits a moment for
//!   that, and goes to the primary otherwise.
//! - A replica that does not answer at the beginning of a read does not fail it: the primary is
//!   asked instead. One that fails later ends the read with an error.
//! - Only `read_stream` and `read_all` come here. Appends are judged, and subscriptions served, by
//!   the primary.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta_store::StoreError;
use tokio::time::{Instant, sleep};

use crate::{
    head::HEAD,
    number::from_sql,
    read::{cell, paging::PageReader},
    shared::Core,
};

/// Maximum time that a read waits for the replica to follow, and the pause between two looks.
const REPLAY_MAX: Duration = Duration::from_secs(1);
const REPLAY_PAUSE: Duration = Duration::from_millis(5);
/// Time in which no read asks a replica that has failed.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// The places of a read: the primary server and its replica.
#[derive(Clone, Debug)]
pub(crate) struct ReadReplica {
    core: Arc<Core>,
    /// The end of the pause after a failure.
    failed_until: Arc<Mutex<Option<Instant>>>,
}

impl ReadReplica {
    /// Takes a core whose connections lead to the replica.
    pub(crate) fn new(core: Core) -> Self {
        Self { core: Arc::new(core), failed_until: Arc::default() }
    }

    fn is_failed(&self) -> bool {
        self.lock().is_some_and(|end| Instant::now() < end)
    }

    fn note_failure(&self, error: &StoreError) {
        let previous = self.lock().replace(Instant::now() + FAILED_PAUSE);
        if previous.is_none_or(|end| end < Instant::now()) {
            tracing::warn!(%error, "the replica did not answer a read; the primary is asked");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the replica has the position, or gets it within a moment.
    async fn reaches(&self, position: u64) -> bool {
        if self.is_failed() {
            return false;
        }
        let end = Instant::now() + REPLAY_MAX;
        loop {
            match self.head().await {
                Ok(head) if head >= position => return true,
                Ok(_) if Instant::now() < end => sleep(REPLAY_PAUSE).await,
                Ok(_) => return false,
                Err(error) => {
                    self.note_failure(&error);
                    return false;
                }
            }
        }
    }

    async fn head(&self) -> Result<u64, StoreError> {
        let rows = match self.core.query(HEAD, &[]).await {
            // A new store's tables follow as its events do.
            Err(StoreError::Stopped { .. }) => return Ok(0),
            rows => rows?,
        };
        let head: Option<i64> = rows.first().map(|row| cell(row, 0)).transpose()?;
        Ok(head.map_or(0, from_sql))
    }
}

/// A read whose server is chosen when it begins.
pub(crate) struct PlacedReader<R> {
    primary: Arc<Core>,
    replica: Option<ReadReplica>,
    make: Box<dyn Fn(Arc<Core>) -> R + Send>,
    reader: Option<R>,
}

impl<R> PlacedReader<R> {
    /// Makes a read that `make` begins on the chosen server.
    pub(crate) fn new(
        primary: Arc<Core>,
        replica: Option<ReadReplica>,
        make: impl Fn(Arc<Core>) -> R + Send + 'static,
    ) -> Self {
        Self { primary, replica, make: Box::new(make), reader: None }
    }

    async fn begin(&mut self) -> R {
        if let Some(replica) = &self.replica
            && replica.reaches(self.primary.head.get().position).await
        {
            return (self.make)(Arc::clone(&replica.core));
        }
        self.replica = None;
        (self.make)(Arc::clone(&self.primary))
    }
}

impl<R: PageReader> PageReader for PlacedReader<R> {
    type Item = R::Item;

    async fn next_page(&mut self) -> Result<Option<Vec<R::Item>>, StoreError> {
        let (mut reader, begins) = match self.reader.take() {
            Some(reader) => (reader, false),
            None => (self.begin().await, true),
        };
        let mut page = reader.next_page().await;
        let failed = page.as_ref().err().zip(self.replica.take().filter(|_| begins));
        let is_failed = failed.map(|(error, replica)| replica.note_failure(error)).is_some();
        if is_failed {
            // Nothing was delivered, so the primary can begin anew.
            reader = (self.make)(Arc::clone(&self.primary));
            page = reader.next_page().await;
        }
        self.reader = Some(reader);
        page
    }
}
