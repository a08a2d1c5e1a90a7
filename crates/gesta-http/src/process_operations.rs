//! Operating process managers: their state, their instances, what is set aside, and orders.
//!
//! Invariants: every order goes through [`OrderedBy`], so that the audit stream has who gave it and
//! why; an order on something that is not there is answered with 404, one that the state does not
//! allow with 422. Not here: what the orders do, which is `gesta`'s.

mod details;
mod names;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use gesta::InstanceQuery;
use serde::Serialize;

use self::{
    details::{ListedInstance, ProcessDetails, ShownInstance, SubjectDetails},
    names::{EffectName, InstanceId, ProcessName, StateName, SubjectName},
};
use crate::{
    Cursor, Describe, GestaState, Operation, PageLimit, Paged, PathOf, Problem, QueryOf, Route,
    Schema, api,
    operations::{Done, Listed},
    operator::OrderedBy,
};

/// The routes of process managers.
pub(crate) fn routes(prefix: &str) -> [Route; 10] {
    let under = |path: &str| format!("{prefix}/processes{path}");
    let instance = |path: &str| under(&format!("/{{process}}/instances/{{id}}{path}"));
    let set_aside = |path: &str| under(&format!("/{{process}}/set-aside{path}"));
    let (retry, skip) = (set_aside("/{subject}/retry"), set_aside("/{subject}/{number}/skip"));
    let fire = instance("/timers/{timer}/fire");
    let resend = instance("/commands/{command}/resend");
    [
        api::get(&under(""), list_processes, "Lists the process managers"),
        api::get(&under("/{process}"), show_process, "Shows a process manager with its counts"),
        api::get(&under("/{process}/instances"), list_instances, "Lists instances by state and id"),
        api::get(&instance(""), show_instance, "Shows an instance with timers and commands"),
        api::get(&set_aside(""), list_set_aside, "Lists what is set aside, by stream"),
        api::post(&retry, retry_process, "Handles again what is set aside of a stream")
            .rejects(&["still-fails"]),
        api::post(&skip, skip_process_input, "Leaves out a set-aside input and retries the rest"),
        api::post(&instance("/cancel"), cancel_process, "Ends an instance and its timers")
            .rejects(&["instance-ended"]),
        api::post(&fire, fire_process_timer, "Fires a pending timer now")
            .rejects(&["instance-set-aside", "instance-unusable"]),
        api::post(&resend, resend_process_command, "Sends a refused command again")
            .rejects(&["instance-unusable"]),
    ]
}

async fn list_processes(state: GestaState) -> Result<Listed<ProcessDetails>, Problem> {
    let all = state.gesta().process_managers().into_iter();
    Ok(Listed { items: all.map(|status| ProcessDetails::of(status, None)).collect() })
}

crate::request! {
    /// A process manager.
    struct ProcessPath {
        /// Its name.
        process: ProcessName,
    }
}

async fn show_process(
    state: GestaState,
    path: PathOf<ProcessPath>,
) -> Result<Shown<ProcessDetails>, Problem> {
    let name = &path.process.0;
    let counts = state.gesta().process_counts(name).await?;
    let status = state.gesta().process_managers().into_iter().find(|status| status.name == name);
    let status = status.ok_or_else(|| Problem::not_found("process manager"))?;
    Ok(Shown(ProcessDetails::of(status, Some(counts))))
}

crate::request! {
    /// A search for instances.
    struct InstancesQuery {
        /// Only instances in this state: `running`, `troubled`, `ended` or `cancelled`.
        state: Option<StateName>,
        /// Only instances whose ids begin with this text.
        prefix: Option<InstanceId>,
        /// The most instances of the page.
        limit: Option<PageLimit>,
        /// `next` of the page before.
        cursor: Option<Cursor>,
    }
}

async fn list_instances(
    state: GestaState,
    path: PathOf<ProcessPath>,
    query: QueryOf<InstancesQuery>,
) -> Result<InstancesPage, Problem> {
    let name = &path.process.0;
    let list = format!("{name}/instances");
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let mut search = InstanceQuery::of(name).limit(limit);
    search.state = query.state.as_ref().map(|state| state.0);
    search.prefix = query.prefix.as_ref().map(|prefix| prefix.0.clone());
    search.after = query.cursor.as_ref().map(|cursor| cursor.place(&list)).transpose()?;
    let page = state.gesta().process_instances(&search).await?;
    Ok(InstancesPage(Paged {
        items: page.instances.into_iter().map(ListedInstance::of).collect(),
        next: page.next.map(|id| Cursor::new(&list, &id)),
    }))
}

crate::request! {
    /// An instance.
    struct InstancePath {
        /// The name of its process manager.
        process: ProcessName,
        /// Its id.
        id: InstanceId,
    }
}

async fn show_instance(
    state: GestaState,
    path: PathOf<InstancePath>,
) -> Result<Shown<ShownInstance>, Problem> {
    let details = state.gesta().process_instance(&path.process.0, &path.id.0).await?;
    Ok(Shown(ShownInstance::of(details)))
}

async fn list_set_aside(
    state: GestaState,
    path: PathOf<ProcessPath>,
) -> Result<Shown<Listed<SubjectDetails>>, Problem> {
    let all = state.gesta().process_set_aside(&path.process.0).await?;
    Ok(Shown(Listed { items: all.into_iter().map(SubjectDetails::of).collect() }))
}

crate::request! {
    /// What is set aside of a stream.
    struct SubjectPath {
        /// The name of the process manager.
        process: ProcessName,
        /// `instance:ID` or `stream:NAME`.
        subject: SubjectName,
    }
}

async fn retry_process(
    state: GestaState,
    by: OrderedBy,
    path: PathOf<SubjectPath>,
) -> Result<Done, Problem> {
    let (process, subject) = (&path.process.0, &path.subject.0);
    state.gesta().retry_process(process, subject, &by.0).await?;
    Ok(Done)
}

crate::request! {
    /// An input that is set aside.
    struct InputPath {
        /// The name of the process manager.
        process: ProcessName,
        /// `instance:ID` or `stream:NAME`.
        subject: SubjectName,
        /// The number of the input.
        number: u64,
    }
}

async fn skip_process_input(
    state: GestaState,
    by: OrderedBy,
    path: PathOf<InputPath>,
) -> Result<Done, Problem> {
    let (process, subject, number) = (&path.process.0, &path.subject.0, path.number);
    state.gesta().skip_process_input(process, subject, number, &by.0).await?;
    Ok(Done)
}

async fn cancel_process(
    state: GestaState,
    by: OrderedBy,
    path: PathOf<InstancePath>,
) -> Result<Done, Problem> {
    let (process, id) = (&path.process.0, &path.id.0);
    state.gesta().cancel_process(process, id, &by.0).await?;
    Ok(Done)
}

crate::request! {
    /// A timer of an instance.
    struct TimerPath {
        /// The name of the process manager.
        process: ProcessName,
        /// The id of the instance.
        id: InstanceId,
        /// The id of the timer.
        timer: EffectName,
    }
}

async fn fire_process_timer(
    state: GestaState,
    by: OrderedBy,
    path: PathOf<TimerPath>,
) -> Result<Done, Problem> {
    let (process, id, timer) = (&path.process.0, &path.id.0, path.timer.0);
    state.gesta().fire_process_timer(process, id, timer, &by.0).await?;
    Ok(Done)
}

crate::request! {
    /// A command of an instance.
    struct CommandPath {
        /// The name of the process manager.
        process: ProcessName,
        /// The id of the instance.
        id: InstanceId,
        /// The id of the command.
        command: EffectName,
    }
}

async fn resend_process_command(
    state: GestaState,
    by: OrderedBy,
    path: PathOf<CommandPath>,
) -> Result<Done, Problem> {
    let (process, id, command) = (&path.process.0, &path.id.0, path.command.0);
    state.gesta().resend_process_command(process, id, command, &by.0).await?;
    Ok(Done)
}

/// One thing: 200.
#[derive(Debug)]
struct Shown<T>(T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: Schema> Describe for Shown<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<T>(StatusCode::OK, "as it is now");
        operation.problem(404, "there is no such process manager or instance");
        operation.problem(412, "If-Match: there is nothing that it could match");
    }
}

/// A page of instances: 200.
#[derive(Debug)]
struct InstancesPage(Paged<ListedInstance>);

impl IntoResponse for InstancesPage {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl Describe for InstancesPage {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Paged<ListedInstance>>(StatusCode::OK, "a page; it may be empty");
        operation.problem(404, "there is no such process manager");
        operation.problem(412, "If-Match: there is nothing that it could match");
        operation.problem(422, "rejected: unknown-cursor");
    }
}
