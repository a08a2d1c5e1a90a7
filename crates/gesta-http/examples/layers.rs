//! Layers of others around an application: a header of all responses, and a limit of time.
//!
//! `cargo run -p gesta-http --example layers`, then `curl -i http://127.0.0.1:3000/health/ready`.

use std::time::Duration;

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header::STRICT_TRANSPORT_SECURITY},
};
use gesta::Gesta;
use gesta_http::{Api, GestaState, serve};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::{set_header::SetResponseHeaderLayer, timeout::TimeoutLayer};

const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const TIME_MAX: Duration = Duration::from_secs(20);

/// Any layer fits around the router, which is a service of tower. The first one is the outermost.
fn layered(router: Router) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::if_not_present(STRICT_TRANSPORT_SECURITY, YEAR))
            // The time ends with the head of a response, so a feed goes on.
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, TIME_MAX)),
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gesta = Gesta::at("memory:").open().await?;
    let state = GestaState::new(gesta.clone());
    let api = Api::new("Layers", "1.0").operated_under("/v1");
    let router = layered(api.router(state.clone()));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve(listener, router, state, std::future::pending()).await?;
    gesta.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn every_response_has_the_header() {
        let gesta = Gesta::at("memory:").open().await.expect("a memory store opens");
        let router = layered(Api::new("Layers", "1.0").router(GestaState::new(gesta)));
        for path in ["/health/live", "/nowhere"] {
            let request = Request::get(path).body(Body::empty()).expect("it is well-formed");
            let response = router.clone().oneshot(request).await.expect("a router answers");
            assert_eq!(response.headers()[STRICT_TRANSPORT_SECURITY], YEAR, "{path}");
        }
    }
}
