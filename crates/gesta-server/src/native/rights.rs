//! Rights to streams, asked by endpoints.

use gesta_store::StreamName;

use super::problem::{Problem, ProblemCode};
use crate::{
    access::{Access, Caller, Right},
    node::Node,
};

/// The stream whose right to read is that to the whole store.
const ALL: &str = "$all";
/// The stream whose right to read is that to the names of all streams.
const STREAMS: &str = "$streams";

/// Checks the right of a caller to a stream.
pub(super) async fn check_right(
    node: &Node,
    caller: &Caller,
    stream: &StreamName,
    right: Right,
) -> Result<(), Problem> {
    if let Some(reason) = Access::refusal_to_all(stream, right) {
        let detail = format!("access to the stream `{stream}` is denied: {reason}");
        return Err(Problem::new(ProblemCode::Denied, detail).with("stream", stream.as_str()));
    }
    let may = node.access().may(caller, stream, right).await;
    match may.map_err(|error| Problem::of_read(&error))? {
        true => Ok(()),
        false if Access::forbids(stream, right) => {
            let detail = "`$all` is the whole store: it takes no events and is never deleted";
            Err(Problem::new(ProblemCode::Denied, detail).with("stream", stream.as_str()))
        }
        false if *caller == Caller::Anonymous => {
            let detail = "a valid login and password, token or client certificate is needed";
            Err(Problem::new(ProblemCode::Unauthenticated, detail))
        }
        false => {
            let meaning = meaning(stream).unwrap_or_default();
            let detail = format!("access to the stream `{stream}`{meaning} is denied");
            Err(Problem::new(ProblemCode::Denied, detail).with("stream", stream.as_str()))
        }
    }
}

/// Checks the right to read the whole store, which a condition and a query do, too.
pub(super) async fn check_all(node: &Node, caller: &Caller) -> Result<(), Problem> {
    check_right(node, caller, &of_system(ALL), Right::Read).await
}

/// Checks the right to read the names of streams.
pub(super) async fn check_names(node: &Node, caller: &Caller) -> Result<(), Problem> {
    check_right(node, caller, &of_system(STREAMS), Right::Read).await
}

/// Explains a stream that callers meet without having named it.
fn meaning(stream: &StreamName) -> Option<&'static str> {
    match stream.as_str() {
        ALL => Some(", which is the whole store,"),
        STREAMS => Some(", which has the names of all streams,"),
        _ => None,
    }
}

fn of_system(name: &str) -> StreamName {
    StreamName::new(name).expect("the name is valid")
}
