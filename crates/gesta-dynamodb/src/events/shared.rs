//! The parts that appends, reads and subscriptions of a store share.
//!
//! Owns: the table, the position up to which everything is known to be visible, and the end of the
//! store. Not here: the queue of appends, whose end ends the task that writes.

use std::{future::Future, sync::Arc};

use gesta_store::{Incarnation, Position, StoreError};
use tokio::sync::watch;

use super::{
    described::Described,
    layout::{MARK, NEXT},
};
use crate::{
    client::Meter,
    errors::CallError,
    item::{ALONE, Attributes as _},
    table::Table,
    url::DynamoUrl,
    worker::Worker,
};

pub(super) struct Shared {
    pub(super) worker: Worker,
    pub(super) table: Table,
    pub(super) meter: Arc<Meter>,
    pub(super) url: DynamoUrl,
    pub(super) incarnation: Incarnation,
    pub(super) described: Described,
    /// The last position that is known to be visible.
    visible: watch::Sender<Position>,
    closed: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(
        worker: Worker,
        (table, meter): (Table, Arc<Meter>),
        url: DynamoUrl,
        incarnation: Incarnation,
    ) -> Self {
        Self {
            worker,
            table,
            meter,
            url,
            incarnation,
            described: Described::default(),
            visible: watch::channel(Position::START).0,
            closed: watch::channel(false).0,
        }
    }

    /// Runs a call on the store's thread, unless the store is closed.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        let done = self.worker.run(work).await.map_err(CallError::from);
        done.and_then(|outcome| outcome).map_err(CallError::into_store)
    }

    /// The same for a call whose errors are those of the contract.
    pub(super) async fn answer<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        self.worker.run(work).await.map_err(|_| StoreError::closed())?
    }

    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if *self.closed.borrow() { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Follows the end of the store.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Follows the last position that is known to be visible.
    pub(super) fn following(&self) -> watch::Receiver<Position> {
        self.visible.subscribe()
    }

    /// Returns whether a subscription waits for events.
    pub(super) fn has_followers(&self) -> bool {
        self.visible.receiver_count() > 0
    }

    /// Notes that everything up to a position is visible.
    pub(super) fn note_visible(&self, position: Position) {
        self.visible.send_if_modified(|known| {
            let is_new = position > *known;
            if is_new {
                *known = position;
            }
            is_new
        });
    }

    /// Reads the mark: every append that was answered before the call is at or before it.
    pub(super) async fn mark(&self) -> Result<Position, CallError> {
        let mark = self.table.get(MARK, ALONE).await?;
        let next = mark.map(|mark| mark.number(NEXT)).transpose()?.unwrap_or(1);
        self.note_visible(Position::new(next.saturating_sub(1)));
        Ok(Position::new(next.saturating_sub(1)))
    }

    /// Reads the mark, and the metadata of all streams up to it.
    pub(super) async fn moment(&self) -> Result<Position, CallError> {
        let mark = self.mark().await?;
        self.described.follow(&self.table, mark).await?;
        Ok(mark)
    }
}
