//! The items of a feed, whatever carries them.
//!
//! Invariants:
//! - A reader without the right to the raw feed sees no event of the framework's own streams.
//! - A reader with it sees personal data only with the right to these.
//! - The store is asked for the next page when all items of the last one were taken.
//! - A reader that goes on after the position of the last item misses nothing and sees nothing
//!   twice.

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use gesta::{
    EventType, Position, StreamName, Tag, is_internal,
    store::{
        Category, Delivery, EventQuery, Filter, QueryItem, RecordedEvent, Subscribe, Subscription,
    },
};
use tokio::sync::watch;

use crate::{GestaState, Problem, Right, queries::check_reached, requests::personal::PersonalView};

/// The requested events: of any of the streams, any of the categories and any of the types, with
/// all of the tags. An empty list selects everything.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) streams: Vec<StreamName>,
    pub(super) categories: Vec<Category>,
    pub(super) types: Vec<EventType>,
    pub(super) tags: Vec<Tag>,
}

/// The events that the reader of a feed may see.
#[derive(Clone, Debug)]
pub(super) struct FeedView {
    /// Events of the framework's own streams are shown, too.
    sees_internal: bool,
    personal: PersonalView,
}

impl FeedView {
    pub(super) fn of(state: &GestaState, request: &Parts) -> Result<Self, Problem> {
        let permit = state.permit(request)?;
        let sees_internal = permit.is_none_or(|permit| permit.sees_internal);
        // The right to the raw feed is one of operators. A reader without it is a consumer of the
        // application, which gives it the data.
        let personal = match sees_internal {
            true => PersonalView::of(state, request)?,
            false => PersonalView::default(),
        };
        Ok(Self { sees_internal, personal })
    }
}

impl<S> FromRequestParts<S> for FeedView
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Self::of(&GestaState::from_ref(state), parts)
    }
}

/// A future that is ready when the credentials of the reader have ended.
pub(super) struct CredentialsEnd(pub(super) BoxFuture<'static, Problem>);

impl CredentialsEnd {
    pub(super) fn of(state: &GestaState, request: &Parts) -> Self {
        Self(state.credentials_end(request).boxed())
    }
}

impl<S> FromRequestParts<S> for CredentialsEnd
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&GestaState::from_ref(state), parts))
    }
}

impl Selection {
    /// Returns whether a stream or a category is one of the framework.
    fn names_internal(&self) -> bool {
        let of_category = |category: &Category| {
            // A stream's name begins with its category.
            StreamName::new(format!("{}-x", category.as_str())).is_ok_and(|it| is_internal(&it))
        };
        self.streams.iter().any(is_internal) || self.categories.iter().any(of_category)
    }

    /// Returns the filter for the store, and the filters to apply to the events that it
    /// delivers: the store accepts only one.
    fn filters(self) -> (Filter, Vec<Filter>) {
        // Roughly from the most to the least selective: the store reads by the first one.
        let mut filters = Vec::new();
        if !self.streams.is_empty() {
            filters.push(Filter::Streams(self.streams));
        }
        if !self.types.is_empty() || !self.tags.is_empty() {
            let item = QueryItem::every().of_types(self.types).tagged(self.tags);
            filters.push(Filter::Query(EventQuery::of(item)));
        }
        if !self.categories.is_empty() {
            filters.push(Filter::Categories(self.categories));
        }
        if filters.is_empty() {
            return (Filter::Everything, filters);
        }
        (filters.remove(0), filters)
    }
}

/// One thing that the reader of a feed learns.
#[derive(Debug)]
pub(super) enum FeedItem {
    Event(Box<RecordedEvent>),
    /// Further events are new.
    CaughtUp(Position),
    /// Nothing further is selected up to this position.
    Passed(Position),
    /// The last item.
    Failed(Problem),
}

/// Reads a subscription.
pub(super) struct FeedReader {
    subscription: Subscription,
    /// Filters that the store does not apply.
    remaining: Vec<Filter>,
    view: FeedView,
    closing: watch::Receiver<bool>,
    ended: CredentialsEnd,
    /// Items of the current delivery.
    ready: VecDeque<FeedItem>,
    /// Nothing follows what is ready.
    has_ended: bool,
}

impl FeedReader {
    /// Begins to read after a position.
    ///
    /// # Errors
    /// A problem: 412 if the position is beyond the head of the store, 403 for a selection of
    /// streams that the reader may not see.
    pub(super) async fn begin(
        state: &GestaState,
        after: Position,
        selection: Selection,
        view: FeedView,
        ended: CredentialsEnd,
    ) -> Result<Self, Problem> {
        if !view.sees_internal && selection.names_internal() {
            let detail = "the selected streams are internal, which needs the right `raw-feed`";
            let refused = Problem::new(StatusCode::FORBIDDEN, "forbidden", detail);
            return Err(refused.missing_right(Right::RawFeed.as_str()));
        }
        // A subscription that starts beyond the head stays silent, and its reader cannot see why.
        check_reached(state.gesta(), after).await?;
        let (indexed, remaining) = selection.filters();
        let subscribe = Subscribe::to_all().after(after).filter(indexed);
        let subscription = state.gesta().store().subscribe(subscribe.into());
        let closing = state.closing();
        let (ready, has_ended) = (VecDeque::new(), false);
        Ok(Self { subscription, remaining, view, closing, ended, ready, has_ended })
    }

    /// Returns the next item, or `None` at the end of the feed.
    pub(super) async fn next(&mut self) -> Option<FeedItem> {
        while self.ready.is_empty() && !self.has_ended {
            let delivery = tokio::select! {
                // A busy store must not postpone the end of the feed.
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                problem = &mut self.ended.0 => Err(problem),
                delivery = self.subscription.next() => delivery?.map_err(Problem::from),
            };
            match delivery {
                Ok(Delivery::Events(page)) => self.select(page),
                Ok(Delivery::CaughtUp(position)) => {
                    self.ready.push_back(FeedItem::CaughtUp(position));
                }
                Ok(Delivery::Checkpoint(position)) => {
                    self.ready.push_back(FeedItem::Passed(position));
                }
                // Neither events nor progress.
                Ok(_) => {}
                Err(problem) => self.fail(problem),
            }
        }
        self.ready.pop_front()
    }

    /// Makes a problem the last item.
    fn fail(&mut self, problem: Problem) {
        self.ready.push_back(FeedItem::Failed(problem));
        self.has_ended = true;
    }

    fn select(&mut self, page: Vec<RecordedEvent>) {
        // Only regular expressions can fail, and a feed has none.
        let is_wanted = |event: &RecordedEvent| {
            let is_visible = self.view.sees_internal || !is_internal(&event.stream);
            is_visible && self.remaining.iter().all(|filter| filter.matches(event).unwrap_or(false))
        };
        let passed = page.last().filter(|last| !is_wanted(last)).map(|last| last.position);
        let wanted = page.into_iter().filter(is_wanted);
        // All of one page. The next is read only when this one is sent, so a slow reader holds up
        // nothing but its own subscription.
        let shown = |event| self.view.personal.event(&event).into_owned();
        let items = wanted.map(|event| FeedItem::Event(Box::new(shown(event))));
        self.ready = items.chain(passed.map(FeedItem::Passed)).collect();
    }
}
