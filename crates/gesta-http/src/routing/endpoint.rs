//! Endpoints: handler functions that are documented by their argument and return types.

use std::{any::TypeId, future::Future, sync::Arc};

use axum::{
    extract::{FromRequest, FromRequestParts},
    middleware::from_fn,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};

use crate::{Describe, GestaState, Operation, Schemas, requests::unexpected::no_content};

/// An async handler whose extractors and response [describe themselves](Describe).
///
/// Implemented for functions of up to four arguments. Only the last argument may read the body.
pub trait Endpoint<Arguments>: Clone + Send + Sync + 'static {
    /// Returns a router that calls the handler for requests with this method.
    fn on(self, method: MethodFilter) -> MethodRouter<GestaState>;

    /// Adds the documentation of the arguments and the response.
    fn describe(operation: &mut Operation<'_>);
}

impl<F, Fut, Res> Endpoint<()> for F
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Res> + Send,
    Res: IntoResponse + Describe,
{
    fn on(self, method: MethodFilter) -> MethodRouter<GestaState> {
        without_content::<F, ()>(on(method, self))
    }

    fn describe(operation: &mut Operation<'_>) {
        Res::describe(operation);
    }
}

/// Returns the marker by which axum distinguishes extractors of the head from those of the body.
#[expect(clippy::extra_unused_type_parameters, reason = "`T` selects `Way` by inference")]
fn way_of_parts<T: FromRequest<GestaState, Way>, Way: 'static>() -> TypeId {
    TypeId::of::<Way>()
}

/// Adds the refusal of bodies to the router of an endpoint that reads none.
fn without_content<E: Endpoint<A>, A>(
    router: MethodRouter<GestaState>,
) -> MethodRouter<GestaState> {
    let parameters: Arc<str> = query_names::<E, A>().join(", ").into();
    router.route_layer(from_fn(move |request, next| {
        no_content(Arc::clone(&parameters), request, next)
    }))
}

/// Returns the names of an endpoint's query parameters.
pub(crate) fn query_names<E: Endpoint<A>, A>() -> Vec<String> {
    // The documentation is the only list of parameters that an endpoint has.
    let mut schemas = Schemas::default();
    let mut operation = Operation::new(&mut schemas);
    E::describe(&mut operation);
    operation.query_names().into_iter().map(str::to_owned).collect()
}

macro_rules! endpoint {
    ($($argument:ident)* | $last:ident) => {
        impl<F, Fut, Res, Via, $($argument,)* $last>
            Endpoint<(Via, $($argument,)* $last)> for F
        where
            F: Fn($($argument,)* $last) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Res> + Send,
            Res: IntoResponse + Describe,
            Via: Send + 'static,
            $($argument: FromRequestParts<GestaState> + Describe + Send + 'static,)*
            $last: FromRequest<GestaState, Via> + Describe + Send + 'static,
        {
            fn on(self, method: MethodFilter) -> MethodRouter<GestaState> {
                let router = on::<_, (Via, $($argument,)* $last), _>(method, self);
                // axum's markers are private, so the one of a head's extractor is found by
                // inference. Another one means that the last argument reads the body.
                let reads_content = TypeId::of::<Via>() != way_of_parts::<GestaState, _>();
                if reads_content { router } else { without_content::<F, _>(router) }
            }

            fn describe(operation: &mut Operation<'_>) {
                $($argument::describe(operation);)*
                $last::describe(operation);
                Res::describe(operation);
            }
        }
    };
}
endpoint!(| A);
endpoint!(A | B);
endpoint!(A B | C);
endpoint!(A B C | D);
