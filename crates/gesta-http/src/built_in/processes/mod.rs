//! Operator routes for process managers: status, pauses, instances, and set-aside inputs.
//!
//! Invariant: every change goes through [`RequestOperator`], so the audit stream records the actor
//! and the reason. A change to an unknown instance is answered with 404; a change that the
//! instance's state does not allow, with 422.

mod details;

use gesta::{InstanceQuery, SetAside, SetAsideInput, Subject, WaitingInput};

use self::details::{ListedInstance, ProcessDetails, ShownInstance, SubjectDetails};
use crate::{
    ApiRoute, Cursor, GestaState, PageLimit, PageLinks, Paged, PathOf, Problem, QueryOf,
    RequestFields, Right,
    built_in::{
        identifiers::{EffectName, Name, StateName, SubjectName},
        leases::LeasesInForce,
        responses::{CurrentState, Done, Listed, PageOfList},
        stuck::StuckQuery,
    },
    requests::{operator::RequestOperator, personal::PersonalView},
};

/// Returns the routes under a path prefix.
pub(crate) fn routes(prefix: &str) -> [ApiRoute; 12] {
    let under = |path: &str| format!("{prefix}/processes{path}");
    let instance = |path: &str| under(&format!("/{{process}}/instances/{{id}}{path}"));
    let set_aside = |path: &str| under(&format!("/{{process}}/set-aside{path}"));
    let (retry, skip) = (set_aside("/{subject}/retry"), set_aside("/{subject}/{number}/skip"));
    let fire = instance("/timers/{timer}/fire");
    let resend = instance("/commands/{command}/resend");
    [
        ApiRoute::get(&under(""), "Lists the process managers")
            .handle(list_processes)
            .right(Right::Status),
        ApiRoute::get(
            &under("/{process}"),
            "Shows a process manager and the number of its instances",
        )
        .handle(show_process)
        .right(Right::Status),
        ApiRoute::post(&under("/{process}/pause"), "Pauses a process manager until it is resumed")
            .handle(pause_process)
            .right(Right::Operate),
        ApiRoute::post(
            &under("/{process}/resume"),
            "Resumes a process manager after a pause or halt",
        )
        .handle(resume_process)
        .right(Right::Operate),
        ApiRoute::get(&under("/{process}/instances"), "Lists instances by state and id")
            .handle(list_instances)
            .right(Right::Status),
        ApiRoute::get(&instance(""), "Shows an instance with its timers and commands")
            .handle(show_instance)
            .right(Right::Status),
        ApiRoute::get(&set_aside(""), "Lists set-aside inputs by subject")
            .handle(list_set_aside)
            .right(Right::Status),
        ApiRoute::post(&retry, "Retries the set-aside inputs of a subject")
            .handle(retry_process)
            .right(Right::Operate)
            .rejects(&["still-fails"]),
        ApiRoute::post(&skip, "Skips a set-aside input and retries the rest")
            .handle(skip_process_input)
            .right(Right::Operate),
        ApiRoute::post(&instance("/cancel"), "Cancels an instance with its timers and commands")
            .handle(cancel_process)
            .right(Right::Operate)
            .rejects(&["instance-ended"]),
        ApiRoute::post(&fire, "Fires a pending timer now")
            .handle(fire_process_timer)
            .right(Right::Operate)
            .rejects(&["instance-set-aside", "instance-unusable"]),
        ApiRoute::post(&resend, "Sends a refused command again")
            .handle(resend_process_command)
            .right(Right::Operate)
            .rejects(&["instance-unusable"]),
    ]
}

async fn list_processes(
    state: GestaState,
    view: PersonalView,
) -> Result<Listed<ProcessDetails>, Problem> {
    let leases = LeasesInForce::read(&state).await;
    let all = state.gesta().process_managers().into_iter();
    Ok(Listed {
        items: all.map(|status| ProcessDetails::of(status, &leases, None, &view)).collect(),
    })
}

/// The path of a process manager.
#[derive(RequestFields, Clone, Debug)]
struct ProcessPath {
    /// Name of the process manager.
    process: Name,
}

async fn show_process(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ProcessPath>,
) -> Result<CurrentState<ProcessDetails>, Problem> {
    let name = &path.process.0;
    // First, because it waits until a starting manager has loaded its journal; the status is then
    // complete.
    let counts = state.gesta().process_counts(name).await?;
    let status = state.gesta().process_managers().into_iter().find(|status| status.name == name);
    let status = status.expect("a manager with counts is registered");
    let leases = LeasesInForce::read(&state).await;
    Ok(CurrentState(ProcessDetails::of(status, &leases, Some(counts), &view)))
}

async fn pause_process(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<ProcessPath>,
) -> Result<Done, Problem> {
    state.gesta().pause_process(&path.process.0, &operator.0).await?;
    Ok(Done)
}

async fn resume_process(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<ProcessPath>,
) -> Result<Done, Problem> {
    state.gesta().resume_process(&path.process.0, &operator.0).await?;
    Ok(Done)
}

/// A search for instances.
#[derive(RequestFields, Clone, Debug)]
struct InstancesQuery {
    /// Select instances in this state: `running`, `troubled`, `ended` or `cancelled`.
    state: Option<StateName>,
    /// Select instances whose ids start with this text.
    prefix: Option<Name>,
    /// Maximum number of instances.
    limit: Option<PageLimit>,
    /// `next` of the previous page.
    cursor: Option<Cursor>,
}

async fn list_instances(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ProcessPath>,
    query: QueryOf<InstancesQuery>,
    links: PageLinks,
) -> Result<PageOfList<ListedInstance>, Problem> {
    let name = &path.process.0;
    // With the manager's name: a cursor of another manager must be refused.
    let list = format!("{name}/instances");
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let mut search = InstanceQuery::of(name).limit(limit);
    search.state = query.state.as_ref().map(|state| state.0);
    search.prefix = query.prefix.as_ref().map(|prefix| prefix.0.clone());
    search.after = query.cursor.as_ref().map(|cursor| cursor.place(&list)).transpose()?;
    let page = state.gesta().process_instances(&search).await?;
    let next = page.next.map(|id| links.next(&list, &id));
    let links = links.header(next.as_ref());
    let items = page.instances.into_iter();
    let items = items.map(|instance| ListedInstance::of(instance, &view)).collect();
    Ok(PageOfList { page: Paged { items, next }, links })
}

/// The path of an instance.
#[derive(RequestFields, Clone, Debug)]
struct InstancePath {
    /// Name of the process manager.
    process: Name,
    /// Id of the instance.
    id: Name,
}

async fn show_instance(
    state: GestaState,
    view: PersonalView,
    path: PathOf<InstancePath>,
) -> Result<CurrentState<ShownInstance>, Problem> {
    let details = state.gesta().process_instance(&path.process.0, &path.id.0).await?;
    Ok(CurrentState(ShownInstance::of(details, &view)))
}

async fn list_set_aside(
    state: GestaState,
    view: PersonalView,
    path: PathOf<ProcessPath>,
    query: QueryOf<StuckQuery>,
    links: PageLinks,
) -> Result<PageOfList<SubjectDetails>, Problem> {
    let process = &path.process.0;
    let all = state.gesta().process_set_aside(process).await?.into_iter();
    let selected = all.flat_map(|SetAside { subject, stream: own, inputs, .. }| {
        // Timers and commands were decided in the stream of the instance.
        let is_selected = |input: &SetAsideInput| match &input.input {
            WaitingInput::Event { stream, .. } => query.has(stream.as_str()),
            _ => query.has(own.as_str()),
        };
        let inputs: Vec<_> = inputs.into_iter().filter(is_selected).collect();
        inputs.into_iter().map(move |input| (subject.clone(), input))
    });
    let key = |(subject, input): &(Subject, SetAsideInput)| (subject.to_string(), input.number);
    let page = query.page(selected.collect(), key, &format!("{process}/set-aside"), &links)?;
    Ok(page.map(|inputs| SubjectDetails::group(inputs, &view)))
}

/// The path of a subject's set-aside inputs.
#[derive(RequestFields, Clone, Debug)]
struct SubjectPath {
    /// Name of the process manager.
    process: Name,
    /// `instance:ID` or `stream:NAME`.
    subject: SubjectName,
}

async fn retry_process(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<SubjectPath>,
) -> Result<Done, Problem> {
    let (process, subject) = (&path.process.0, path.subject.subject()?);
    state.gesta().retry_process(process, &subject, &operator.0).await?;
    Ok(Done)
}

/// The path of a set-aside input.
#[derive(RequestFields, Clone, Debug)]
struct InputPath {
    /// Name of the process manager.
    process: Name,
    /// `instance:ID` or `stream:NAME`.
    subject: SubjectName,
    /// Number of the input.
    #[request(example = 1)]
    number: u64,
}

async fn skip_process_input(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<InputPath>,
) -> Result<Done, Problem> {
    let (process, subject, number) = (&path.process.0, path.subject.subject()?, path.number);
    state.gesta().skip_process_input(process, &subject, number, &operator.0).await?;
    Ok(Done)
}

async fn cancel_process(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<InstancePath>,
) -> Result<Done, Problem> {
    let (process, id) = (&path.process.0, &path.id.0);
    state.gesta().cancel_process(process, id, &operator.0).await?;
    Ok(Done)
}

/// The path of a timer.
#[derive(RequestFields, Clone, Debug)]
struct TimerPath {
    /// Name of the process manager.
    process: Name,
    /// Id of the instance.
    id: Name,
    /// Id of the timer.
    timer: EffectName,
}

async fn fire_process_timer(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<TimerPath>,
) -> Result<Done, Problem> {
    let (process, id, timer) = (&path.process.0, &path.id.0, path.timer.0);
    state.gesta().fire_process_timer(process, id, timer, &operator.0).await?;
    Ok(Done)
}

/// The path of a command.
#[derive(RequestFields, Clone, Debug)]
struct CommandPath {
    /// Name of the process manager.
    process: Name,
    /// Id of the instance.
    id: Name,
    /// Id of the command.
    command: EffectName,
}

async fn resend_process_command(
    state: GestaState,
    operator: RequestOperator,
    path: PathOf<CommandPath>,
) -> Result<Done, Problem> {
    let (process, id, command) = (&path.process.0, &path.id.0, path.command.0);
    state.gesta().resend_process_command(process, id, command, &operator.0).await?;
    Ok(Done)
}
