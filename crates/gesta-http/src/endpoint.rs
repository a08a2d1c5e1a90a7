//! Endpoints: functions that handle requests, and describe what they do by their types.

use std::{any::TypeId, future::Future};

use axum::{
    extract::{FromRequest, FromRequestParts},
    middleware::from_fn,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};

use crate::{Describe, GestaState, Operation, Schemas, unexpected::no_content};

/// An async function of what requests say to what is answered, each of which [describes
/// itself](Describe). Only the last argument may read the body.
///
/// Implemented for functions of up to four arguments.
pub trait Endpoint<Arguments>: Clone + Send + Sync + 'static {
    /// Routes requests to it.
    fn on(self, method: MethodFilter) -> MethodRouter<GestaState>;

    /// Describes what it takes and what it answers.
    fn describe(operation: &mut Operation<'_>);
}

impl<F, Answering, Answer> Endpoint<()> for F
where
    F: Fn() -> Answering + Clone + Send + Sync + 'static,
    Answering: Future<Output = Answer> + Send,
    Answer: IntoResponse + Describe,
{
    fn on(self, method: MethodFilter) -> MethodRouter<GestaState> {
        without_content::<F, ()>(on(method, self))
    }

    fn describe(operation: &mut Operation<'_>) {
        Answer::describe(operation);
    }
}

/// The marker type by which axum distinguishes extractors of the head from those that may read the
/// body.
#[expect(clippy::extra_unused_type_parameters, reason = "`T` selects `Way` by inference")]
fn way_of_parts<T: FromRequest<GestaState, Way>, Way: 'static>() -> TypeId {
    TypeId::of::<Way>()
}

/// Refuses content, which an endpoint does not read.
fn without_content<E: Endpoint<A>, A>(
    router: MethodRouter<GestaState>,
) -> MethodRouter<GestaState> {
    let parameters = query_names::<E, A>().join(", ");
    router.route_layer(from_fn(move |request, next| no_content(parameters.clone(), request, next)))
}

/// The names of the parameters that the query of a request to an endpoint may have.
pub(crate) fn query_names<E: Endpoint<A>, A>() -> Vec<String> {
    let mut schemas = Schemas::default();
    let mut operation = Operation::new(&mut schemas);
    E::describe(&mut operation);
    operation.query_names().into_iter().map(str::to_owned).collect()
}

macro_rules! endpoint {
    ($($argument:ident)* | $last:ident) => {
        impl<F, Answering, Answer, Via, $($argument,)* $last>
            Endpoint<(Via, $($argument,)* $last)> for F
        where
            F: Fn($($argument,)* $last) -> Answering + Clone + Send + Sync + 'static,
            Answering: Future<Output = Answer> + Send,
            Answer: IntoResponse + Describe,
            Via: Send + 'static,
            $($argument: FromRequestParts<GestaState> + Describe + Send + 'static,)*
            $last: FromRequest<GestaState, Via> + Describe + Send + 'static,
        {
            fn on(self, method: MethodFilter) -> MethodRouter<GestaState> {
                let router = on::<_, (Via, $($argument,)* $last), _>(method, self);
                let reads_content = TypeId::of::<Via>() != way_of_parts::<GestaState, _>();
                if reads_content { router } else { without_content::<F, _>(router) }
            }

            fn describe(operation: &mut Operation<'_>) {
                $($argument::describe(operation);)*
                $last::describe(operation);
                Answer::describe(operation);
            }
        }
    };
}
endpoint!(| A);
endpoint!(A | B);
endpoint!(A B | C);
endpoint!(A B C | D);
