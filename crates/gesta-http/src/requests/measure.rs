//! The layer that counts requests, with their times until the head of the response.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::GestaState;

/// Marks a request that is counted already: a router with these rules may contain another one.
#[derive(Clone, Copy, Debug)]
struct IsMeasured;

/// Middleware that counts a request when its response is there, or its client has given up.
pub(crate) async fn measure(
    State(state): State<GestaState>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.extensions_mut().insert(IsMeasured).is_some() {
        return next.run(request).await;
    }
    let measured = state.http_counters().begin(&request, state.gesta().clock());
    let response = next.run(request).await;
    measured.end(response.status());
    response
}
