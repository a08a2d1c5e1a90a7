//! Endpoints: functions that handle requests, and describe what they do by their types.

use std::future::Future;

use axum::{
    extract::{FromRequest, FromRequestParts},
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};

use crate::{Describe, Edge, Operation};

/// An async function of what requests say to what is answered, each of which [describes
/// itself](Describe). Only the last argument may read the body.
///
/// Implemented for functions of up to four arguments.
pub trait Endpoint<Arguments>: Clone + Send + Sync + 'static {
    /// Routes requests to it.
    fn on(self, method: MethodFilter) -> MethodRouter<Edge>;

    /// Describes what it takes and what it answers.
    fn describe(operation: &mut Operation<'_>);
}

impl<F, Answering, Answer> Endpoint<()> for F
where
    F: Fn() -> Answering + Clone + Send + Sync + 'static,
    Answering: Future<Output = Answer> + Send,
    Answer: IntoResponse + Describe,
{
    fn on(self, method: MethodFilter) -> MethodRouter<Edge> {
        on(method, self)
    }

    fn describe(operation: &mut Operation<'_>) {
        Answer::describe(operation);
    }
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
            $($argument: FromRequestParts<Edge> + Describe + Send + 'static,)*
            $last: FromRequest<Edge, Via> + Describe + Send + 'static,
        {
            fn on(self, method: MethodFilter) -> MethodRouter<Edge> {
                on::<_, (Via, $($argument,)* $last), _>(method, self)
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
