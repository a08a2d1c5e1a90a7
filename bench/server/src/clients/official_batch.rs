//! The official Rust client with all appends in one `BatchAppend` call.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use kurrentdb::{BatchAppendClient, BatchAppendOptions, StreamState};

use super::{
    Appender,
    official::{client, event_data},
};
use crate::events::NewEvent;

#[derive(Clone)]
pub(crate) struct OfficialBatch(Arc<BatchAppendClient>);

impl OfficialBatch {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let call = client(address)?.batch_append(&BatchAppendOptions::default()).await?;
        Ok(Self(Arc::new(call)))
    }
}

impl Appender for OfficialBatch {
    async fn append(&self, stream: String, events: Vec<NewEvent>) -> Result<()> {
        let events = events.into_iter().map(event_data).collect();
        self.0.append_to_stream(stream, StreamState::Any, events).await?;
        Ok(())
    }
}
