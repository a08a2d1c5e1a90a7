//! The official Rust client.

use std::net::SocketAddr;

use anyhow::Result;
use kurrentdb::{
    AppendToStreamOptions, EventData, ReadAllOptions, ReadStreamOptions, StreamPosition,
    SubscribeToAllOptions,
};
use tokio::sync::mpsc::UnboundedSender;

use super::{Appender, Client, Seen};
use crate::events::{EVENT_TYPE, NewEvent};

#[derive(Clone)]
pub(crate) struct Official(kurrentdb::Client);

pub(super) fn client(address: SocketAddr) -> Result<kurrentdb::Client> {
    let settings = format!("kurrentdb://{address}?tls=false").parse()?;
    kurrentdb::Client::new(settings).map_err(|error| anyhow::anyhow!("{error}"))
}

pub(super) fn event_data(event: NewEvent) -> EventData {
    EventData::binary(EVENT_TYPE, event.data).id(event.id)
}

impl Official {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        client(address).map(Self)
    }
}

impl Appender for Official {
    async fn append(&self, stream: String, events: Vec<NewEvent>) -> Result<()> {
        let events: Vec<_> = events.into_iter().map(event_data).collect();
        self.0.append_to_stream(stream, &AppendToStreamOptions::default(), events).await?;
        Ok(())
    }
}

impl Client for Official {
    async fn read_stream(&self, stream: &str, limit: u64) -> Result<u64> {
        let options = ReadStreamOptions::default().max_count(usize::try_from(limit)?);
        let mut events = self.0.read_stream(stream, &options).await?;
        let mut count = 0;
        while events.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    async fn read_all(&self, limit: u64) -> Result<u64> {
        let options = ReadAllOptions::default().max_count(usize::try_from(limit)?);
        let mut events = self.0.read_all(&options).await?;
        let mut count = 0;
        while events.next().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    async fn subscribe(&self, seen: UnboundedSender<Seen>) -> Result<()> {
        let options = SubscribeToAllOptions::default().position(StreamPosition::End);
        let mut subscription = self.0.subscribe_to_all(&options).await;
        loop {
            let event = subscription.next().await?;
            seen.send(Seen::now(&event.get_original_event().data))?;
        }
    }
}
