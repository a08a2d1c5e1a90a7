//! Operator routes for reactors: status, pauses and dead letters.
//!
//! Invariant: every change goes through [`RequestOperator`], so the audit stream records the actor
//! and the optional `?reason=`. An unknown reactor or dead letter is answered with 404; an effect
//! that fails again, with 422.

use gesta::{EffectDeadLetter, ReactorError, ReactorState, ReactorStatus};
use serde::Serialize;

use super::{
    identifiers::{EventName, Name},
    leases::{LeaseDetails, LeasesInForce},
    responses::{CurrentState, Done, Listed, PageOfList},
    stuck::StuckQuery,
};
use crate::{
    ApiRoute, GestaState, PageLinks, PathOf, Problem, QueryOf, RequestFields, Right, Schema,
    requests::{operator::RequestOperator, personal::PersonalView},
    wire::event::recorded_at,
};

/// Returns the routes under a path prefix.
pub(crate) fn routes(prefix: &str) -> [ApiRoute; 7] {
    let under = |path: &str| format!("{prefix}/reactors{path}");
    let letters = |path: &str| under(&format!("/{{reactor}}/dead-letters{path}"));
    [
        ApiRoute::get(&under(""), "Lists the reactors").handle(list_reactors).right(Right::Status),
        ApiRoute::get(&under("/{reactor}"), "Shows a reactor")
            .handle(show_reactor)
            .right(Right::Status),
        ApiRoute::post(&under("/{reactor}/pause"), "Pauses a reactor until it is resumed")
            .handle(pause_reactor)
            .right(Right::Operate),
        ApiRoute::post(&under("/{reactor}/resume"), "Resumes a reactor after a pause or halt")
            .handle(resume_reactor)
            .right(Right::Operate),
        ApiRoute::get(&letters(""), "Lists the dead letters of a reactor by stream")
            .handle(list_reactor_dead_letters)
            .right(Right::Status),
        ApiRoute::post(&letters("/{event}/retry"), "Attempts the effect of a dead letter again")
            .handle(retry_effect)
            .right(Right::Operate)
            .rejects(&["still-fails"]),
        ApiRoute::delete(&letters("/{event}"), "Discards a dead letter without its effect")
            .handle(discard_effect)
            .right(Right::Operate),
    ]
}

/// A reactor and its status.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct ReactorDetails {
    /// Name.
    name: &'static str,
    /// State: `starting`, `running`, `paused`, `halted`, or `waiting` while another node runs it.
    state: &'static str,
    /// Position up to which all events are handled or wait behind a dead letter.
    position: u64,
    /// Lag in events, if the store can count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_events: Option<u64>,
    /// Lag in seconds.
    lag_seconds: f64,
    /// Number of streams whose effect failed and is attempted again after a pause.
    retrying: u64,
    /// Number of dead letters. The later events of their streams wait.
    dead_letters: u64,
    /// Error that is being retried, or the reason of the halt.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Node that runs it, if several nodes share the work and one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// Lease under which it runs, if it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseDetails>,
}

impl ReactorDetails {
    fn of(status: ReactorStatus, leases: &LeasesInForce, view: &PersonalView) -> Self {
        Self {
            name: status.name,
            state: match status.state {
                ReactorState::Starting => "starting",
                ReactorState::Waiting => "waiting",
                ReactorState::Running => "running",
                ReactorState::Paused => "paused",
                ReactorState::Halted => "halted",
                // `ReactorState` is non-exhaustive.
                _ => "other",
            },
            position: status.position.number(),
            lag_events: status.lag.events,
            lag_seconds: status.lag.time.as_secs_f64(),
            retrying: status.retrying as u64,
            dead_letters: status.dead_letters as u64,
            trouble: status.trouble.map(|error| view.error(error)),
            node: status.runs_on.map(|node| node.to_string()),
            lease: leases.of(status.lease.as_ref()),
        }
    }
}

/// An event whose effect failed at every attempt.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct EffectDetails {
    /// Id of the event, for retry and discard.
    id: String,
    /// Event type.
    #[serde(rename = "type")]
    event_type: String,
    /// Stream of the event. Its later events wait.
    stream: String,
    /// Revision of the event in its stream.
    revision: u64,
    /// Position of the event when it was set aside.
    position: u64,
    /// Error of the last attempt.
    error: String,
    /// Number of attempts.
    attempts: u32,
    /// Time at which it was set aside (RFC 3339).
    since: String,
}

impl EffectDetails {
    fn of(letter: EffectDeadLetter, view: &PersonalView) -> Self {
        Self {
            id: letter.id.to_string(),
            event_type: letter.event_type.to_string(),
            stream: letter.stream.to_string(),
            revision: letter.revision.number(),
            position: letter.position.number(),
            error: view.error_of(&letter.event_type, letter.error),
            attempts: letter.attempts,
            since: recorded_at(letter.since),
        }
    }
}

async fn list_reactors(
    state: GestaState,
    view: PersonalView,
) -> Result<Listed<ReactorDetails>, Problem> {
    let all = state.gesta().reactors().await?;
    let leases = LeasesInForce::read(&state).await;
    let details = all.into_iter().map(|status| ReactorDetails::of(status, &leases, &view));
    Ok(Listed { items: details.collect() })
}

/// The path of a reactor.
#[derive(RequestFields, Clone, Debug)]
struct ReactorPath {
    /// Name of the reactor.
    reactor: Name,
}

async fn show_reactor(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ReactorPath>,
) -> Result<CurrentState<ReactorDetails>, Problem> {
    let all = state.gesta().reactors().await?;
    let named = all.into_iter().find(|status| status.name == path.reactor.0);
    let status =
        named.ok_or_else(|| ReactorError::NotRegistered { reactor: path.reactor.0.clone() })?;
    let leases = LeasesInForce::read(&state).await;
    Ok(CurrentState(ReactorDetails::of(status, &leases, &view)))
}

async fn pause_reactor(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<ReactorPath>,
) -> Result<Done, Problem> {
    state.gesta().pause_reactor(&path.reactor.0, &operator.0).await?;
    Ok(Done)
}

async fn resume_reactor(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<ReactorPath>,
) -> Result<Done, Problem> {
    state.gesta().resume_reactor(&path.reactor.0, &operator.0).await?;
    Ok(Done)
}

async fn list_reactor_dead_letters(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ReactorPath>,
    query: QueryOf<StuckQuery>,
    links: PageLinks,
) -> Result<PageOfList<EffectDetails>, Problem> {
    let reactor = &path.reactor.0;
    let all = state.gesta().reactor_dead_letters(reactor).await?.into_iter();
    let selected = all.filter(|letter| query.has(letter.stream.as_str()));
    let key = |letter: &EffectDeadLetter| (letter.stream.to_string(), letter.revision.number());
    let list = format!("{reactor}/reactor-dead-letters");
    let page = query.page(selected.collect(), key, &list, &links)?;
    let details = |letter| EffectDetails::of(letter, &view);
    Ok(page.map(|letters| letters.into_iter().map(details).collect()))
}

/// The path of a reactor's dead letter.
#[derive(RequestFields, Clone, Debug)]
struct EffectPath {
    /// Name of the reactor.
    reactor: Name,
    /// Id of the event.
    event: EventName,
}

async fn retry_effect(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<EffectPath>,
) -> Result<Done, Problem> {
    state.gesta().retry_effect(&path.reactor.0, path.event.0, &operator.0).await?;
    Ok(Done)
}

async fn discard_effect(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<EffectPath>,
) -> Result<Done, Problem> {
    state.gesta().discard_effect(&path.reactor.0, path.event.0, &operator.0).await?;
    Ok(Done)
}
