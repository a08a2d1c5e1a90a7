//! Queries as subscriptions: the answer now, and again whenever it has changed.
//!
//! A subscription follows the store and asks its query again at the position of new events, so it
//! sees every change of its read model that stays; changes that follow each other at once may be
//! seen as one.
//!
//! Invariants:
//! - Answers follow each other in the order of their positions, and neighbours differ.
//! - The query is asked again only when the last answer was taken. A slow client sees fewer
//!   answers, the last one in any case.
//! - A subscription ends when the server shuts down.

use std::{pin::pin, sync::Arc};

use async_graphql::Result;
use futures_util::{StreamExt as _, stream::unfold};
use gesta::store::{Delivery, Subscribe, Subscription};
use gesta_http::{GestaState, Problem};
use serde_json::Value;

use crate::{
    caller::{CallParts, Caller},
    failure::Failure,
    feed::LiveValues,
    fields::RootField,
};

struct LiveQuery {
    caller: Arc<Caller>,
    state: GestaState,
    field: Arc<RootField>,
    call: CallParts,
    subscription: Subscription,
    /// The last answer, or `None` before the first.
    last: Option<Value>,
    has_failed: bool,
}

/// Begins a subscription.
///
/// # Errors
/// The problem of a store that cannot be read.
pub(crate) async fn answers(
    caller: Arc<Caller>,
    state: GestaState,
    field: Arc<RootField>,
    call: CallParts,
) -> Result<LiveValues, Failure> {
    let store = state.gesta().store().clone();
    // The head is read first, so each later event leads to another look.
    let head = store.head().await.map_err(Problem::from)?.position;
    let subscription = store.subscribe(Subscribe::to_all().after(head).into());
    let (last, has_failed) = (None, false);
    let query = LiveQuery { caller, state, field, call, subscription, last, has_failed };
    Ok(unfold(query, LiveQuery::next).boxed())
}

impl LiveQuery {
    /// Returns the next answer, or `None` at the end.
    async fn next(mut self) -> Option<(Result<Value>, Self)> {
        if self.has_failed {
            return None;
        }
        loop {
            if self.last.is_some() {
                match self.next_position().await? {
                    Ok(position) => self.call.at_least = self.call.at_least.max(Some(position)),
                    Err(failure) => return Some(self.failed(failure)),
                }
            }
            self.caller.forget_positions();
            let value = match self.field.ask(&self.caller, self.call.clone()).await {
                Ok(outcome) => outcome.value,
                Err(failure) => return Some(self.failed(failure)),
            };
            if self.last.as_ref() != Some(&value) {
                self.last = Some(value.clone());
                return Some((Ok(value), self));
            }
        }
    }

    fn failed(mut self, failure: Failure) -> (Result<Value>, Self) {
        self.has_failed = true;
        (Err(failure.into_error()), self)
    }

    /// Waits for events and returns the position of the last one, or `None` at the end.
    async fn next_position(&mut self) -> Option<Result<u64, Failure>> {
        let mut closed = pin!(self.state.closed());
        loop {
            let delivery = tokio::select! {
                biased;
                () = &mut closed => return None,
                delivery = self.subscription.next() => delivery?,
            };
            match delivery {
                Ok(Delivery::Events(page)) => {
                    if let Some(last) = page.last() {
                        return Some(Ok(last.position.number()));
                    }
                }
                Ok(_) => {}
                Err(error) => return Some(Err(Problem::from(error).into())),
            }
        }
    }
}
