//! Queries as subscriptions: the answer now, and again whenever it has changed.
//!
//! A subscription follows the store and asks its query again at the position of new events, so it
//! sees every change of its read model that stays; changes that follow each other at once may be
//! seen as one.
//!
//! Invariants:
//! - Answers follow each other in the order of their positions, and neighbours differ. With links,
//!   the whole answers are compared, because what is linked may change alone.
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
    loader::Loader,
};

/// A query of a subscription.
pub(crate) struct Live {
    pub(crate) caller: Arc<Caller>,
    pub(crate) loader: Arc<Loader>,
    pub(crate) field: Arc<RootField>,
    pub(crate) call: CallParts,
}

struct LiveQuery {
    live: Live,
    state: GestaState,
    subscription: Subscription,
    /// The last answer, or `None` before the first.
    last: Option<Value>,
    has_failed: bool,
}

/// Begins a subscription.
///
/// # Errors
/// The problem of a store that cannot be read.
pub(crate) async fn answers(live: Live, state: GestaState) -> Result<LiveValues, Failure> {
    let store = state.gesta().store().clone();
    // The head is read first, so each later event leads to another look.
    let head = store.head().await.map_err(Problem::from)?.position;
    let subscription = store.subscribe(Subscribe::to_all().after(head).into());
    if live.loader.has_links() {
        live.loader.compare_answers();
    }
    let (last, has_failed) = (None, false);
    let query = LiveQuery { live, state, subscription, last, has_failed };
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
                let next = self.next_position().await?;
                let at_least = &mut self.live.call.at_least;
                match next {
                    Ok(position) => *at_least = (*at_least).max(Some(i128::from(position))),
                    Err(failure) => return Some(self.failed(failure)),
                }
            }
            let Live { caller, loader, field, call } = &self.live;
            loader.begin_answer(call.floor());
            let value = match field.ask(caller, call.clone()).await {
                Ok(outcome) => outcome.value,
                Err(failure) => return Some(self.failed(failure)),
            };
            if loader.compares() || self.last.as_ref() != Some(&value) {
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
