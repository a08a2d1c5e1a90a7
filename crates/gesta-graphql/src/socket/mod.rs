//! WebSockets: `/graphql/ws`, with the subprotocol `graphql-transport-ws`.
//!
//! Owns: the handshake. The messages are [`messages`], their [`credentials`] are those of browsers,
//! and an open socket is a [`session`].
//!
//! Invariants:
//! - The headers of the handshake, and the credentials of `connection_init`, hold for each
//!   operation, so each has the same actor.
//! - A header that only one command can have is refused in the handshake.
//!
//! Not here: the execution, which is that of `POST /graphql` ([`edge`](crate::edge)); pings, and
//! clients that take nothing ([`TextSocket`](gesta_http::TextSocket)).

mod credentials;
mod described;
mod messages;
mod session;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use gesta_http::{HandOver, Problem, SocketRequest};

pub(crate) use self::described::described;
use crate::{edge::Edge, socket::session::Session};

/// The subprotocol of the library `graphql-ws`, whose name is not that of the protocol before it.
const PROTOCOL: &str = "graphql-transport-ws";
/// Headers of one command, with the arguments that take their place.
const OF_ONE_COMMAND: [(&str, &str); 2] =
    [("idempotency-key", "idempotencyKey"), ("if-match", "expectedRevision")];

/// Opens a socket.
pub(crate) async fn open_socket(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _) = request.into_parts();
    if parts.extensions.get::<HandOver>().is_some() {
        // An open socket of another tenant's application asks, with the credentials of this one.
        let mut handed_over = StatusCode::NO_CONTENT.into_response();
        handed_over.extensions_mut().insert(edge);
        return Ok(handed_over);
    }
    let request = SocketRequest::from_request_parts(&mut parts, &edge.state).await?;
    let request = request.protocol(PROTOCOL)?;
    check_headers(&parts.headers)?;
    Ok(request.open(move |socket| Session::new(edge, parts).run(socket)))
}

fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let given = OF_ONE_COMMAND.into_iter().find(|(name, _)| headers.contains_key(*name));
    let Some((name, argument)) = given else { return Ok(()) };
    let reason = format!("cannot be the header of a WebSocket; give each command its `{argument}`");
    Err(Problem::invalid(name, reason))
}
