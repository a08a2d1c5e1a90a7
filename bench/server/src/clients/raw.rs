//! A client that is generated from the server's definitions.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tonic::{Streaming, transport::Channel};
use uuid::Uuid;

use super::{Appender, Client, Seen};
use crate::events::{EVENT_TYPE, NewEvent};

#[allow(clippy::all, dead_code, unreachable_pub, reason = "generated code")]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub(super) use packages::event_store::client::{self as shared, Empty, StreamIdentifier, streams};
use streams::{
    AppendReq, ReadReq, ReadResp,
    append_req::{Content, Options, ProposedMessage, options::ExpectedStreamRevision},
    append_resp,
    read_req::{
        self,
        options::{
            AllOptions, ControlOption, CountOption, FilterOption, StreamOption, StreamOptions,
            SubscriptionOptions, UuidOption, all_options::AllOption,
            stream_options::RevisionOption, uuid_option,
        },
    },
    read_resp,
    streams_client::StreamsClient,
};

/// Bytes that the server may send in one call, and in all, before it waits for the client.
const WINDOW_BYTES: u32 = 4 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(super) streams: StreamsClient<Channel>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let channel = Channel::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES)
            .connect()
            .await?;
        Ok(Self { streams: StreamsClient::new(channel) })
    }

    async fn read(&self, options: read_req::Options) -> Result<Streaming<ReadResp>> {
        let request = ReadReq { options: Some(options) };
        Ok(self.streams.clone().read(request).await?.into_inner())
    }
}

impl Appender for Raw {
    async fn append(&self, stream: String, events: Vec<NewEvent>) -> Result<()> {
        let options = Options {
            stream_identifier: Some(identifier(stream)),
            expected_stream_revision: Some(ExpectedStreamRevision::Any(Empty {})),
        };
        let first = AppendReq { content: Some(Content::Options(options)) };
        let proposed = events.into_iter().map(|event| {
            let NewEvent { id, data } = event;
            let (id, custom_metadata) = (Some(halves(id)), Bytes::new());
            let message = ProposedMessage { id, metadata: metadata(), custom_metadata, data };
            AppendReq { content: Some(Content::ProposedMessage(message)) }
        });
        let messages: Vec<_> = std::iter::once(first).chain(proposed).collect();
        let response = self.streams.clone().append(tokio_stream::iter(messages)).await?;
        match response.into_inner().result {
            Some(append_resp::Result::Success(_)) => Ok(()),
            other => bail!("an append was answered by {other:?}"),
        }
    }
}

impl Client for Raw {
    async fn read_stream(&self, stream: &str, limit: u64) -> Result<u64> {
        let stream = StreamOptions {
            stream_identifier: Some(identifier(stream.to_owned())),
            revision_option: Some(RevisionOption::Start(Empty {})),
        };
        let options = options(StreamOption::Stream(stream), CountOption::Count(limit));
        count(self.read(options).await?).await
    }

    async fn read_all(&self, limit: u64) -> Result<u64> {
        let all = AllOptions { all_option: Some(AllOption::Start(Empty {})) };
        count(self.read(options(StreamOption::All(all), CountOption::Count(limit))).await?).await
    }

    async fn subscribe(&self, seen: UnboundedSender<Seen>) -> Result<()> {
        let all = AllOptions { all_option: Some(AllOption::End(Empty {})) };
        let endless = CountOption::Subscription(SubscriptionOptions {});
        let mut messages = self.read(options(StreamOption::All(all), endless)).await?;
        while let Some(message) = messages.message().await? {
            if let Some(read_resp::Content::Event(event)) = message.content {
                let event = event.event.context("an event is empty")?;
                seen.send(Seen::now(&event.data))?;
            }
        }
        bail!("the subscription ended")
    }
}

fn options(target: StreamOption, count: CountOption) -> read_req::Options {
    read_req::Options {
        read_direction: 0,
        resolve_links: false,
        uuid_option: Some(UuidOption { content: Some(uuid_option::Content::Structured(Empty {})) }),
        control_option: Some(ControlOption { compatibility: 1 }),
        stream_option: Some(target),
        count_option: Some(count),
        filter_option: Some(FilterOption::NoFilter(Empty {})),
    }
}

async fn count(mut messages: Streaming<ReadResp>) -> Result<u64> {
    let mut events = 0;
    while let Some(message) = messages.message().await? {
        events += u64::from(matches!(message.content, Some(read_resp::Content::Event(_))));
    }
    Ok(events)
}

pub(super) fn identifier(stream: String) -> StreamIdentifier {
    StreamIdentifier { stream_name: stream.into() }
}

pub(super) fn halves(id: Uuid) -> shared::Uuid {
    let (high, low) = id.as_u64_pair();
    shared::Uuid {
        value: Some(shared::uuid::Value::Structured(shared::uuid::Structured {
            most_significant_bits: high.cast_signed(),
            least_significant_bits: low.cast_signed(),
        })),
    }
}

pub(super) fn metadata() -> BTreeMap<String, String> {
    [("content-type", "application/octet-stream"), ("type", EVENT_TYPE)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
