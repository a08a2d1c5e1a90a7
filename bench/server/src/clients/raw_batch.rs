//! Appends in one `BatchAppend` call: each response lets the next append begin.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::UnboundedReceiverStream;
use uuid::Uuid;

use super::raw::{
    Raw, halves, identifier, metadata,
    shared::uuid::Value,
    streams::{
        BatchAppendReq,
        batch_append_req::{Options, ProposedMessage, options::ExpectedStreamPosition},
        batch_append_resp,
    },
};
use crate::{
    events::{Draw, NewEvent},
    loads::Window,
};

/// Appends single events until the window ends. Returns the latencies of those in it.
pub(crate) async fn append(raw: Raw, outstanding: usize, window: Window) -> Result<Vec<Duration>> {
    let (sender, requests) = mpsc::unbounded_channel();
    let mut draw = Draw::new();
    let mut begun = vec![Instant::now(); outstanding];
    for number in 0..outstanding {
        sender.send(request(number, &mut draw))?;
    }
    let mut streams = raw.streams;
    let call = streams.batch_append(UnboundedReceiverStream::new(requests));
    let mut responses = call.await?.into_inner();
    let mut latencies = Vec::new();
    while let Some(response) = responses.message().await? {
        if !matches!(response.result, Some(batch_append_resp::Result::Success(_))) {
            bail!("an append was answered by {response:?}");
        }
        let number = match response.correlation_id.and_then(|id| id.value) {
            Some(Value::Structured(halves)) => halves.least_significant_bits,
            other => bail!("an append was answered by the name {other:?}"),
        };
        let begun = usize::try_from(number).ok().and_then(|number| begun.get_mut(number));
        let begun = begun.context("a response has a name that was not asked")?;
        let ended = Instant::now();
        if ended >= window.end {
            return Ok(latencies);
        }
        if ended >= window.begin {
            latencies.push(ended - *begun);
        }
        *begun = ended;
        sender.send(request(usize::try_from(number)?, &mut draw))?;
    }
    bail!("the server ended the call")
}

fn request(number: usize, draw: &mut Draw) -> BatchAppendReq {
    let NewEvent { id, data } = draw.event();
    let message = ProposedMessage {
        id: Some(halves(id)),
        metadata: metadata(),
        custom_metadata: Bytes::new(),
        data,
    };
    BatchAppendReq {
        correlation_id: Some(halves(Uuid::from_u64_pair(0, number as u64))),
        options: Some(Options {
            stream_identifier: Some(identifier(draw.stream())),
            expected_stream_position: Some(ExpectedStreamPosition::Any(())),
            deadline_option: None,
        }),
        proposed_messages: vec![message],
        is_final: true,
    }
}
