//! Commands of all instances of a process manager that are not executed yet.
//!
//! Owns: their route. Not here: the commands of one instance, with their payloads
//! ([`processes`](super::processes)).

use gesta::OutstandingCommand;
use serde::Serialize;

use super::{
    identifiers::Name,
    responses::{CurrentState, Listed},
};
use crate::{
    ApiRoute, GestaState, PageLimit, PathOf, Problem, QueryOf, RequestFields, Right, Schema,
};

/// Returns the route under a path prefix.
pub(crate) fn route(prefix: &str) -> ApiRoute {
    let path = format!("{prefix}/processes/{{process}}/commands");
    ApiRoute::get(&path, "Lists the commands of a process manager that are not executed yet")
        .handle(list_outstanding_commands)
        .right(Right::Status)
}

/// The path of a process manager's commands.
#[derive(RequestFields, Clone, Debug)]
struct CommandsPath {
    /// Name of the process manager.
    process: Name,
}

/// The query string of a list of commands.
#[derive(RequestFields, Clone, Debug)]
struct CommandsQuery {
    /// Maximum number of commands.
    limit: Option<PageLimit>,
}

/// A command that is decided and not executed yet.
#[derive(Debug, Serialize, Schema)]
struct OutstandingDetails {
    /// Id of the instance.
    instance: String,
    /// Id of the command: where it was decided in the instance's stream.
    id: String,
    /// Command name.
    name: String,
    /// The instance has inputs that are set aside, which may hold the command.
    troubled: bool,
}

impl OutstandingDetails {
    fn of(command: OutstandingCommand) -> Self {
        let OutstandingCommand { instance, command: id, name, troubled, .. } = command;
        Self { instance, id: id.to_string(), name, troubled }
    }
}

async fn list_outstanding_commands(
    state: GestaState,
    path: PathOf<CommandsPath>,
    query: QueryOf<CommandsQuery>,
) -> Result<CurrentState<Listed<OutstandingDetails>>, Problem> {
    let limit = usize::from(query.limit.unwrap_or_default().number());
    let commands = state.gesta().process_commands(&path.process.0, limit).await?;
    Ok(CurrentState(Listed { items: commands.into_iter().map(OutstandingDetails::of).collect() }))
}
