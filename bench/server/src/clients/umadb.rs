//! UmaDB's own client. A stream is a tag there.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use tokio::sync::mpsc::UnboundedSender;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbEvent, DcbEventStoreAsync as _, DcbQuery, DcbQueryItem};

use super::{Appender, Client, Seen};
use crate::events::{EVENT_TYPE, NewEvent};

#[derive(Clone)]
pub(crate) struct Umadb(Arc<AsyncUmaDbClient>);

impl Umadb {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let client = UmaDbClient::new(format!("http://{address}")).connect_async().await?;
        Ok(Self(Arc::new(client)))
    }

    async fn read(&self, query: Option<DcbQuery>, limit: u64) -> Result<u64> {
        let limit = Some(u32::try_from(limit)?);
        let mut pages = self.0.read(query, None, false, limit).await?;
        let mut count = 0;
        loop {
            let page = pages.next_batch().await?;
            if page.is_empty() {
                return Ok(count);
            }
            count += page.len() as u64;
        }
    }
}

impl Appender for Umadb {
    async fn append(&self, stream: String, events: Vec<NewEvent>) -> Result<()> {
        let events = events.into_iter().map(|event| {
            let NewEvent { id, data } = event;
            let event = DcbEvent::new().event_type(EVENT_TYPE).tags([stream.as_str()]);
            event.data(data).uuid(id)
        });
        self.0.append(events.collect(), None, None).await?;
        Ok(())
    }
}

impl Client for Umadb {
    async fn read_stream(&self, stream: &str, limit: u64) -> Result<u64> {
        let query = DcbQuery::new().item(DcbQueryItem::new().tags([stream]));
        self.read(Some(query), limit).await
    }

    async fn read_all(&self, limit: u64) -> Result<u64> {
        self.read(None, limit).await
    }

    async fn subscribe(&self, seen: UnboundedSender<Seen>) -> Result<()> {
        let head = self.0.head().await?;
        let mut subscription = self.0.subscribe(None, head).await?;
        loop {
            for event in subscription.next_batch().await? {
                seen.send(Seen::now(&event.event.data))?;
            }
        }
    }
}
