//! The access check: a layer over all routes that follows the table.
//!
//! Invariants: a path that the table lacks does not reach its service; a service sees a caller who
//! was authenticated; a call that changes something must say that it is gRPC, which no page of
//! another site can do with the credentials of a browser.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tonic::{Code, Status};

use super::refusals::{is_grpc, unknown};
use crate::{
    access::{
        AuditRecord, CallSubject, Caller, Decision, Guard, Peer, Recorded, Row, has_row, row_of,
    },
    call_log::FailureReason,
    console, http, native,
    node::{Node, wall_now},
    wire::access_denied,
};

/// Lets a request pass if the table permits it to its caller.
pub(super) async fn check_access(
    State(node): State<Node>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(guard) = node.access().guard() else { return next.run(request).await };
    let path = table_path(&request);
    let Some(row) = row_of(request.method().as_str(), &path) else {
        // Only another method of the path has a row, and the route refuses this one.
        return if has_row(&path) { next.run(request).await } else { unknown(request).await };
    };
    let is_call = is_grpc(request.headers());
    if row.is_grpc() != is_call {
        return unknown(request).await;
    }
    let peer = request.extensions().get::<Peer>().cloned();
    let caller = match admitted(guard, row, request.headers(), peer.as_ref()).await {
        Ok(caller) => caller,
        Err(refused) if native::is_native(&path) => return native::refusal(&refused),
        Err(refused) => return refusal(refused, is_call),
    };
    request.extensions_mut().insert(caller.clone());
    let subject = CallSubject::default();
    if row.recorded != Recorded::No {
        request.extensions_mut().insert(subject.clone());
    }
    let response = next.run(request).await;
    if is_recorded(row, &subject) {
        let record = AuditRecord::new("$call", &caller, peer.as_ref());
        let record = subject.add_to(record.with("path", row.path).with("operation", row.act()));
        guard.record(record.with("outcome", outcome(&response))).await;
    }
    response
}

fn is_recorded(row: &Row, subject: &CallSubject) -> bool {
    match row.recorded {
        Recorded::No => false,
        Recorded::IfExplained => subject.is_explained(),
        Recorded::Yes => true,
    }
}

/// Returns the path by which the table knows a request: the pattern of its route, if it has one.
pub(super) fn table_path(request: &Request) -> String {
    let path = request.uri().path();
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let has_pattern = |pattern: &&str| {
        native::is_native(pattern)
            || http::is_administration(pattern)
            || console::is_console(pattern)
    };
    matched.filter(has_pattern).unwrap_or(path).to_owned()
}

/// Returns the code of a call that was refused.
fn outcome(response: &Response) -> String {
    let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
    match code {
        None if !response.status().is_success() => {
            format!("refused: {}", response.status())
        }
        None | Some("0") => "done".to_owned(),
        Some(code) => match Code::from_bytes(code.as_bytes()) {
            // The exception of the protocol tells more than the code.
            Code::Unknown => match response.headers().get("exception") {
                Some(exception) => {
                    format!("refused: {}", String::from_utf8_lossy(exception.as_bytes()))
                }
                None => "refused: Unknown".to_owned(),
            },
            code => format!("refused: {code:?}"),
        },
    }
}

async fn admitted(
    guard: &Guard,
    row: &Row,
    headers: &HeaderMap,
    peer: Option<&Peer>,
) -> Result<Caller, Status> {
    if row.decide(&Caller::Anonymous) == Decision::Granted {
        return Ok(Caller::Anonymous);
    }
    let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
    let caller = guard.authenticate(headers, peer, wall_now()).await?;
    match row.decide(&caller) {
        Decision::Granted => Ok(caller),
        Decision::NeedsUser => {
            let reason = "a login and password, token or certificate is needed";
            // The protocol tells callers without credentials from those with wrong ones.
            Err(if row.is_grpc() { access_denied(reason) } else { Status::unauthenticated(reason) })
        }
        Decision::Denied => {
            let Row { operation, resource, .. } = row;
            let login = caller.login().unwrap_or_default();
            Err(access_denied(format!("`{login}` may not {operation} {resource}")))
        }
    }
}

/// Returns the refusal in the form of its protocol.
fn refusal(refused: Status, is_call: bool) -> Response {
    if is_call {
        return refused.into_http();
    }
    let reason = FailureReason(refused.message().to_owned());
    let text = format!("{}\n", refused.message());
    let mut response = match refused.code() {
        Code::Unauthenticated => {
            let challenge =
                [(header::WWW_AUTHENTICATE, "Basic realm=\"gesta\", charset=\"UTF-8\"")];
            (StatusCode::UNAUTHORIZED, challenge, text).into_response()
        }
        Code::PermissionDenied => (StatusCode::FORBIDDEN, text).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    };
    response.extensions_mut().insert(reason);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{access::ROWS, proto::METHODS};

    #[test]
    fn every_call_and_every_path_has_one_row_and_every_row_is_served() {
        let paths = METHODS
            .iter()
            .copied()
            .chain(http::paths())
            .chain(console::PATHS)
            .map(|path| (None, path));
        let methods = native::methods().into_iter().chain(http::methods());
        let methods = methods.map(|(method, path)| (Some(method), path));
        let served: Vec<_> = paths.chain(methods).collect();
        let rows: Vec<_> = ROWS.iter().map(|row| (row.method, row.path)).collect();
        let unique: HashSet<_> = rows.iter().collect();
        assert_eq!(unique.len(), rows.len(), "a path has two rows");
        for path in &served {
            assert!(rows.contains(path), "{path:?} has no row in the table of access");
        }
        for path in &rows {
            assert!(served.contains(path), "{path:?} has a row and is not served");
        }
    }
}
