//! The rules that hold for all responses, as one tower layer.
//!
//! Owns: the order of the middleware. Not here: the middleware itself
//! ([`requests`](crate::requests)).

use std::convert::Infallible;

use axum::{
    extract::Request,
    middleware::{from_fn, from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
};
use tower::{Layer, Service, ServiceBuilder, util::BoxCloneSyncService};
use tower_http::{CompressionLevel, catch_panic::CatchPanicLayer, compression::CompressionLayer};

use crate::{
    GestaState, Problem,
    requests::{
        authenticate::authenticate,
        compressed::{finished, precompressed},
        correlation::correlate,
        cors::cross_origin,
        cross_site::same_site,
        encoding::Compressible,
        expect::expectations,
        measure::measure,
        preconditions::conditional,
        trace::trace,
    },
    wire::headers::single,
};

/// A tower layer with the rules of HTTP that every response of an [`Api`](crate::Api) follows.
///
/// - Each request is counted, for the metrics.
/// - Each request has a span, if the program [enables](gesta::SPAN_TARGET) them.
/// - Every response carries the request's `X-Correlation-Id`, or a new one.
/// - A panic is answered with a problem (500).
/// - Conditional reads are answered with 304 or 412, and entity tags name the store's incarnation.
/// - Responses of 1 KiB and more are compressed with Brotli or gzip, as the client accepts, except
///   for streams and for responses with a strong entity tag.
/// - Credentials are checked if an [`Access`](crate::Access) is in force, and wrong ones are
///   answered with 401.
/// - Repeated single-valued headers and unknown expectations are refused.
/// - Web pages of other origins may read responses, and change anything, only if the
///   [`GestaState`] [allows](GestaState::allow_origins) their origin (403 otherwise).
///
/// [`Api::router`](crate::Api::router) has this layer. A router of the application's own that uses
/// the extractors of this crate adds it with `Router::layer`:
///
/// ```
/// use axum::{Router, routing::post};
/// use gesta::Gesta;
/// use gesta_http::{Commands, GestaState, HttpRules};
///
/// async fn ring(commands: Commands) -> &'static str {
///     "ding"
/// }
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let state = GestaState::new(Gesta::at("memory:").open().await?);
/// let router = Router::new().route("/bell", post(ring)).layer(HttpRules::new(&state));
/// # let router: Router = router.with_state(state);
/// # drop(router);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone, Debug)]
pub struct HttpRules {
    state: GestaState,
}

impl HttpRules {
    /// Creates the layer.
    #[must_use]
    pub fn new(state: &GestaState) -> Self {
        Self { state: state.clone() }
    }
}

impl<S> Layer<S> for HttpRules
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxCloneSyncService<Request, Response, Infallible>;

    fn layer(&self, inner: S) -> Self::Service {
        let state = || self.state.clone();
        // The first layer is the outermost. Every response, including refusals by inner layers,
        // must carry the CORS headers and the correlation id.
        let service = ServiceBuilder::new()
            // Outermost, so that what the other layers refuse is counted, too.
            .layer(from_fn_with_state(state(), measure))
            // Around all others, whose lines in the log have its correlation id.
            .layer(from_fn(trace))
            .layer(from_fn_with_state(state(), cross_origin))
            .layer(from_fn(correlate))
            .layer(from_fn_with_state(state(), same_site))
            .layer(from_fn(single))
            .layer(from_fn(expectations))
            // After the checks of headers, before anything that reads the store for the request.
            .layer(from_fn_with_state(state(), authenticate))
            .layer(from_fn_with_state(state(), conditional))
            .layer(map_response(finished))
            .map_response(|response: Response<_>| response.map(axum::body::Body::new))
            // Responses are made for each request, so the fastest level.
            .layer(
                CompressionLayer::new()
                    .quality(CompressionLevel::Fastest)
                    .compress_when(Compressible),
            )
            .layer(from_fn(precompressed))
            // Innermost: the response to a panic passes all other layers like any response.
            .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
            .service(inner);
        BoxCloneSyncService::new(service)
    }
}

/// Response to a request whose handler panicked. Other requests are not affected.
fn panicked() -> Response {
    #[derive(Debug, thiserror::Error)]
    #[error("a handler panicked")]
    struct Panicked;

    Problem::internal(&Panicked).into_response()
}
