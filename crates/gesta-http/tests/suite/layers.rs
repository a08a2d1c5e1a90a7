//! Layers of tower around an application.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
    routing::get,
};
use gesta_http::HttpRules;
use tower::{Service, ServiceBuilder, ServiceExt as _, layer::layer_fn, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer,
    set_header::SetResponseHeaderLayer, timeout::TimeoutLayer,
};

use crate::{api, asked, send, state};

const SECURED: HeaderName = HeaderName::from_static("strict-transport-security");
const MAX_AGE: HeaderValue = HeaderValue::from_static("max-age=31536000");

#[tokio::test]
async fn layers_of_others_stand_around_all_routes() {
    // Layers that change the type of the body, too.
    let router = api().router(state().await).layer(
        ServiceBuilder::new()
            .layer(SetResponseHeaderLayer::overriding(SECURED, MAX_AGE))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::GATEWAY_TIMEOUT,
                Duration::from_secs(60),
            ))
            .layer(CatchPanicLayer::new())
            .layer(CompressionLayer::new()),
    );
    for (path, status) in [("/health/live", 200), ("/bug", 500)] {
        let (answered, headers, _) = send(router.clone(), asked("GET", path)).await;
        assert_eq!(answered, status, "{path}");
        assert_eq!(headers[&SECURED], MAX_AGE, "{path}");
        assert!(headers.contains_key("x-correlation-id"), "{path}");
    }
}

#[tokio::test]
async fn a_layer_answers_in_place_of_the_application() {
    /// Closes the application on Sundays.
    async fn closed(_: Request) -> Result<Response, Infallible> {
        let mut response = Response::new(Body::from("closed"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(response)
    }
    let router = api().router(state().await);
    let closing = router.clone().layer(layer_fn(|_| service_fn(closed)));
    assert_eq!(send(closing, asked("GET", "/health/live")).await.0, 503);
    assert_eq!(send(router, asked("GET", "/health/live")).await.0, 200);
}

#[tokio::test]
async fn the_rules_stand_around_a_service_that_is_no_router() {
    async fn answer(_: Request) -> Result<Response, Infallible> {
        Ok(Response::new(Body::from("hello")))
    }
    let state = state().await;
    let mut service = ServiceBuilder::new().layer(HttpRules::new(&state)).service_fn(answer);
    let response = service.ready().await.unwrap().call(asked("GET", "/")).await.unwrap();
    assert!(response.headers().contains_key("x-correlation-id"));
    // And such a service is served as a part of a router, or as all of it.
    let router = Router::new().route("/street", get(async || "Elm")).fallback_service(service);
    let (status, headers, _) = send(router, asked("GET", "/anything")).await;
    assert_eq!(status, 200);
    assert!(headers.contains_key("x-correlation-id"));
}
