//! A WebSocket with any number of feeds.
//!
//! Invariants:
//! - At most [`SUBSCRIPTIONS_MAX`] subscriptions run at the same time. They take turns, and the
//!   next message is made when the client has taken the last one.
//! - A subscription with a window sends no event while as many are unacknowledged.
//! - Nothing of a subscription follows its end.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    num::NonZeroU32,
    pin::pin,
};

use axum::http::StatusCode;
use futures_util::{
    StreamExt as _,
    future::{AbortHandle, Abortable},
    stream::{BoxStream, SelectAll, unfold},
};
use tokio::{select, sync::watch};

use super::{
    frames::{
        ClientFrame, RefusedFrame, SubscribeFrame, confirmation_frame, item_frame, problem_frame,
    },
    reader::{CredentialsEnd, FeedItem, FeedReader, FeedView},
};
use crate::{GestaState, Problem, SocketEnd, TextSocket};

/// Maximum number of subscriptions of one socket.
const SUBSCRIPTIONS_MAX: usize = 20;

/// The state of one socket.
struct FeedSession {
    state: GestaState,
    view: FeedView,
    running: HashMap<String, RunningFeed>,
    messages: SelectAll<BoxStream<'static, FeedMessage>>,
}

struct RunningFeed {
    /// Ends its messages.
    abort: AbortHandle,
    /// The greatest position that the client has acknowledged.
    acknowledged: watch::Sender<u64>,
}

/// A message of a subscription.
struct FeedMessage {
    id: String,
    text: String,
    is_last: bool,
}

/// Serves a socket until it ends.
pub(super) async fn run(
    mut socket: TextSocket,
    state: GestaState,
    view: FeedView,
    ended: CredentialsEnd,
) {
    let session = FeedSession { state, view, running: HashMap::new(), messages: SelectAll::new() };
    let end = session.serve(&mut socket, ended).await;
    socket.end(end).await;
}

impl FeedSession {
    async fn serve(mut self, socket: &mut TextSocket, ended: CredentialsEnd) -> SocketEnd {
        let state = self.state.clone();
        let mut closed = pin!(state.closed());
        let CredentialsEnd(mut ended) = ended;
        loop {
            let text = select! {
                // A busy store must not postpone the end.
                biased;
                () = &mut closed => {
                    return SocketEnd::told(SocketEnd::GOING_AWAY, "the server is shutting down");
                }
                _ = &mut ended => {
                    let reason = "the credentials have ended; connect with new ones";
                    return SocketEnd::told(SocketEnd::UNAUTHENTICATED, reason);
                }
                received = socket.receive() => match received {
                    Ok(text) => self.take(&text),
                    Err(end) => return end,
                },
                Some(message) = self.messages.next() => Some(self.passed(message)),
            };
            if let Some(text) = text
                && let Err(end) = socket.send(text).await
            {
                return end;
            }
        }
    }

    /// Carries out a message of the client, and returns the answer if there is one at once.
    fn take(&mut self, text: &str) -> Option<String> {
        match ClientFrame::read(text) {
            Ok(ClientFrame::Subscribe(frame)) => {
                let id = frame.id.clone();
                self.begin(frame).err().map(|problem| self.refusal(Some(&id), &problem))
            }
            Ok(ClientFrame::Acknowledge { id, position }) => match self.running.get(&id) {
                Some(running) => {
                    running.acknowledged.send_modify(|known| *known = position.max(*known));
                    None
                }
                None => Some(unknown(&id)),
            },
            Ok(ClientFrame::Unsubscribe { id }) => Some(match self.running.remove(&id) {
                Some(running) => {
                    running.abort.abort();
                    confirmation_frame(&id, "unsubscribed")
                }
                None => unknown(&id),
            }),
            Err(RefusedFrame { id, problem }) => Some(self.refusal(id.as_deref(), &problem)),
        }
    }

    fn begin(&mut self, frame: SubscribeFrame) -> Result<(), Problem> {
        if self.running.contains_key(&frame.id) {
            let reason = format!("must be new; the subscription `{}` is running", frame.id);
            return Err(Problem::invalid("id", reason));
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            let detail = format!(
                "a WebSocket has at most {SUBSCRIPTIONS_MAX} subscriptions; end one, or open \
                 another socket"
            );
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(Problem::new(status, "too-many-subscriptions", detail));
        }
        let (acknowledged, known) = watch::channel(frame.after.number());
        let (abort, registration) = AbortHandle::new_pair();
        let running = RunningFeed { abort, acknowledged };
        self.running.insert(frame.id.clone(), running);
        let messages = feed_messages(self.state.clone(), self.view.clone(), frame, known);
        self.messages.push(Abortable::new(messages, registration).boxed());
        Ok(())
    }

    /// Returns the message of a problem. An `id` in it says that its subscription has ended, so one
    /// that goes on is not named.
    fn refusal(&self, id: Option<&str>, problem: &Problem) -> String {
        problem_frame(id.filter(|id| !self.running.contains_key(*id)), problem)
    }

    fn passed(&mut self, message: FeedMessage) -> String {
        if message.is_last {
            self.running.remove(&message.id);
        }
        message.text
    }
}

fn unknown(id: &str) -> String {
    problem_frame(
        None,
        &Problem::invalid("id", format!("`{id}` is no subscription of this socket")),
    )
}

/// Returns the messages of a subscription.
fn feed_messages(
    state: GestaState,
    view: FeedView,
    frame: SubscribeFrame,
    acknowledged: watch::Receiver<u64>,
) -> BoxStream<'static, FeedMessage> {
    let SubscribeFrame { id, after, selection, window } = frame;
    let begun = async move {
        // The socket ends with the credentials, and so do all its subscriptions.
        let never = CredentialsEnd(Box::pin(pending()));
        match FeedReader::begin(&state, after, selection, view, never).await {
            Ok(reader) => {
                let text = confirmation_frame(&id, "subscribed");
                let feed =
                    WindowedFeed { reader, window, acknowledged, unacknowledged: VecDeque::new() };
                (FeedMessage { id: id.clone(), text, is_last: false }, Some((feed, id)))
            }
            Err(problem) => {
                let text = problem_frame(Some(&id), &problem);
                (FeedMessage { id, text, is_last: true }, None)
            }
        }
    };
    let messages = futures_util::stream::once(begun).flat_map(|(first, feed)| {
        let items = unfold(feed, async |feed| {
            let (mut feed, id) = feed?;
            let item = feed.next().await?;
            let is_last = matches!(item, FeedItem::Failed(_));
            let message = FeedMessage { id: id.clone(), text: item_frame(&id, &item), is_last };
            Some((message, (!is_last).then_some((feed, id))))
        });
        futures_util::stream::once(async { first }).chain(items)
    });
    messages.boxed()
}

/// A feed that waits for acknowledgements.
struct WindowedFeed {
    reader: FeedReader,
    window: Option<NonZeroU32>,
    acknowledged: watch::Receiver<u64>,
    /// Positions of the events that are not acknowledged, in order. Empty without a window.
    unacknowledged: VecDeque<u64>,
}

impl WindowedFeed {
    async fn next(&mut self) -> Option<FeedItem> {
        let Some(window) = self.window else { return self.reader.next().await };
        let window = usize::try_from(window.get()).unwrap_or(usize::MAX);
        while self.unacknowledged.len() >= window {
            let first = self.unacknowledged.front().copied().unwrap_or(0);
            // The sender is gone only with the session.
            let known = *self.acknowledged.wait_for(|known| *known >= first).await.ok()?;
            while self.unacknowledged.front().is_some_and(|position| *position <= known) {
                self.unacknowledged.pop_front();
            }
        }
        let item = self.reader.next().await?;
        if let FeedItem::Event(event) = &item {
            self.unacknowledged.push_back(event.position.number());
        }
        Some(item)
    }
}
