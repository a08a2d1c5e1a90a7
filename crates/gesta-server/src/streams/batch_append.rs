//! `BatchAppend`: many appends in one call, each with an id of its own and in several messages.
//!
//! Invariants:
//! - Each append gets one response, in the order in which they end.
//! - Appends reach the store in the order of their last messages.
//! - At most [`APPENDS_MAX`] appends are in the store at once, and as many are incomplete; further
//!   messages wait unread. The events of incomplete appends have at most
//!   [`INCOMPLETE_BYTES_MAX`].
//! - Each append is checked for the right of the caller who began the call.
//! - An append that does not end in time is answered as timed out, and its outcome is unknown.

use std::{collections::HashMap, future::Future, pin::Pin, time::Duration};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream, stream::FuturesUnordered};
use tonic::{Status, Streaming};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    append_answer::{batch_error, batch_response, batch_success},
    new_append::{AppendOutcome, NewAppend},
};
use crate::{
    access::Sender,
    call_log::LoggedCall,
    node::{Node, wall_now},
    proto::{
        shared,
        streams::{
            BatchAppendReq, BatchAppendResp,
            batch_append_req::{Options, options::DeadlineOption},
        },
    },
    wire::{
        ExpectedOption, batch_status, name_to_write, of_plain, refused, status, timed_out, uuid_of,
    },
};
use gesta_store::{Conflict, StoreError};

/// Maximum number of appends of one call that are under way.
const APPENDS_MAX: usize = 1_000;
/// Maximum size of the events of a call whose last messages have not come: two large appends.
const INCOMPLETE_BYTES_MAX: usize = 64 << 20;
/// Maximum time that an append may take, whatever its deadline is. Some clients send a point in
/// time where a duration is meant.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The call, as log lines name it.
const CALL: LoggedCall =
    LoggedCall { path: "/event_store.client.streams.Streams/BatchAppend", peer: None };

type Answer = Pin<Box<dyn Future<Output = BatchAppendResp> + Send>>;

/// An append whose last message has not come.
struct Incomplete {
    wait_max: Duration,
    /// The append, or the response to it, which waits for the last message.
    append: Result<NewAppend, BatchAppendResp>,
}

struct Call {
    node: Node,
    sender: Sender,
    incomplete: HashMap<Uuid, Incomplete>,
    incomplete_bytes: usize,
    in_flight: FuturesUnordered<Answer>,
    /// The span of the call, which its appends are below.
    span: Span,
}

/// Answers the appends of a call until the client ends it.
pub(super) fn answers(
    node: Node,
    sender: Sender,
    messages: Streaming<BatchAppendReq>,
) -> Pin<Box<dyn Stream<Item = Result<BatchAppendResp, Status>> + Send>> {
    let call = Call {
        node,
        sender,
        incomplete: HashMap::new(),
        incomplete_bytes: 0,
        in_flight: FuturesUnordered::new(),
        span: Span::current(),
    };
    Box::pin(stream::unfold((call, Some(messages)), |(mut call, mut messages)| async move {
        let answer = call.next(&mut messages).await?;
        Some((answer, (call, messages)))
    }))
}

impl Call {
    /// Returns the next response, or `None` after the last one. `messages` becomes `None` when the
    /// client has sent everything.
    async fn next(
        &mut self,
        messages: &mut Option<Streaming<BatchAppendReq>>,
    ) -> Option<Result<BatchAppendResp, Status>> {
        loop {
            let Some(incoming) = messages.as_mut().filter(|_| self.in_flight.len() < APPENDS_MAX)
            else {
                return self.in_flight.next().await.map(Ok);
            };
            tokio::select! {
                Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    return Some(Ok(answer));
                }
                message = incoming.message() => match message {
                    Ok(Some(message)) => {
                        if let Err(refused) = self.take(message).await {
                            *messages = None;
                            return Some(Err(refused));
                        }
                    }
                    Ok(None) => *messages = None,
                    Err(broken) => {
                        *messages = None;
                        return Some(Err(broken));
                    }
                },
            }
        }
    }

    /// Takes a message. An error ends the call.
    async fn take(&mut self, message: BatchAppendReq) -> Result<(), Status> {
        let BatchAppendReq { correlation_id, options, proposed_messages, is_final } = message;
        let id = uuid_of(correlation_id.as_ref(), "correlation id")?;
        if let Some(options) = options {
            if self.incomplete.len() >= APPENDS_MAX {
                let text = format!("a call may have {APPENDS_MAX} incomplete appends");
                return Err(Status::resource_exhausted(text));
            }
            let begun = begin(&self.node, &self.sender, correlation_id.clone(), options).await;
            if self.incomplete.insert(id, begun).is_some() {
                return Err(refused(format!("the append {id} has options twice")));
            }
        }
        let Some(append) = self.incomplete.get_mut(&id) else {
            return Err(refused(format!("the append {id} begins without options")));
        };
        let bytes_before = append.bytes();
        for proposed in proposed_messages {
            append.push(proposed.into(), correlation_id.clone());
        }
        // A refused append has lost its events.
        self.incomplete_bytes = self.incomplete_bytes - bytes_before + append.bytes();
        if is_final && let Some(complete) = self.incomplete.remove(&id) {
            self.incomplete_bytes -= complete.bytes();
            let answer = complete.run(self.node.clone(), correlation_id, &self.span);
            self.in_flight.push(answer);
        }
        if self.incomplete_bytes > INCOMPLETE_BYTES_MAX {
            let text = format!(
                "the incomplete appends of a call may have {INCOMPLETE_BYTES_MAX} bytes; complete \
                 one append before the next"
            );
            return Err(Status::resource_exhausted(text));
        }
        Ok(())
    }
}

async fn begin(
    node: &Node,
    sender: &Sender,
    correlation_id: Option<shared::Uuid>,
    options: Options,
) -> Incomplete {
    let wait_max = wait_max(options.deadline_option.as_ref());
    let asked = name_to_write(options.stream_identifier.as_ref())
        .and_then(|stream| Ok((stream, ExpectedOption::read(options.expected_stream_position)?)));
    let append = match asked {
        Ok((stream, expected)) => NewAppend::new(node, sender.clone(), stream, expected).await,
        Err(refused) => Err(refused),
    };
    let append = append.map_err(|refused| {
        node.log_failure(CALL, &refused);
        let result = batch_error(of_plain(&refused));
        let mut response = batch_response(correlation_id, None, result);
        response.stream_identifier = options.stream_identifier;
        response
    });
    Incomplete { wait_max, append }
}

/// Returns the time that an append may take.
fn wait_max(deadline: Option<&DeadlineOption>) -> Duration {
    let asked = match deadline {
        None => return WAIT_MAX,
        Some(DeadlineOption::Deadline(duration)) => {
            Duration::try_from(*duration).unwrap_or_default()
        }
        Some(DeadlineOption::Deadline21100(time)) => {
            let seconds = u64::try_from(time.seconds).unwrap_or_default();
            Duration::from_secs(seconds).saturating_sub(Duration::from_micros(wall_now().micros()))
        }
    };
    asked.min(WAIT_MAX)
}

impl Incomplete {
    fn bytes(&self) -> usize {
        self.append.as_ref().map_or(0, NewAppend::bytes)
    }

    fn push(&mut self, proposal: crate::wire::Proposal, correlation_id: Option<shared::Uuid>) {
        // After a refusal further events are dropped, so that they take no memory.
        let Ok(append) = &mut self.append else { return };
        if let Err(refused) = append.push(proposal) {
            let asked = Some((&append.stream, append.expected));
            let result = batch_error(of_plain(&refused));
            self.append = Err(batch_response(correlation_id, asked, result));
        }
    }

    fn run(self, node: Node, correlation_id: Option<shared::Uuid>, span: &Span) -> Answer {
        let append = match self.append {
            Ok(append) => append,
            Err(response) => return Box::pin(std::future::ready(response)),
        };
        let (stream, expected) = (append.stream.clone(), append.expected);
        let wait_max = self.wait_max;
        let answer = async move {
            let outcome = tokio::time::timeout(wait_max, append.run(&node)).await;
            let result = match outcome {
                Ok(Ok(AppendOutcome::Appended { head, position })) => batch_success(head, position),
                Ok(Ok(AppendOutcome::Conflict { head })) => {
                    let head = head.map(gesta_store::Revision::new);
                    let conflict = Conflict::Stream { stream: stream.clone(), expected, head };
                    batch_error(batch_status(&StoreError::Conflict(conflict), &stream))
                }
                Ok(Err(error)) => {
                    node.log_failure(CALL, &status(&error));
                    batch_error(batch_status(&error, &stream))
                }
                Err(_) => {
                    let late = Status::deadline_exceeded("an append took longer than its deadline");
                    node.log_failure(CALL, &late);
                    batch_error(timed_out())
                }
            };
            batch_response(correlation_id, Some((&stream, expected)), result)
        };
        let mut answer: Answer = Box::pin(answer.instrument(span.clone()));
        // The first poll hands the append to the store, in the order of the messages.
        match answer.as_mut().now_or_never() {
            Some(response) => Box::pin(std::future::ready(response)),
            None => answer,
        }
    }
}
