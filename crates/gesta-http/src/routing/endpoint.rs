//! Endpoints: handler functions that are documented by their argument and return types.

use std::{any::TypeId, future::Future};

use axum::{
    extract::{FromRequest, FromRequestParts},
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, on},
};

use super::parts::Content;
use crate::{Describe, GestaState, Operation};

/// An async handler whose extractors and response [describe themselves](Describe).
///
/// Implemented for functions of up to five arguments. Only the last argument may read the body.
pub trait Endpoint<Arguments>: Clone + Send + Sync + 'static {
    /// Returns a router that calls the handler for requests with this method.
    fn on(self, method: MethodFilter) -> MethodRouter<GestaState>;

    /// Returns whether the handler reads a body.
    #[doc(hidden)]
    fn content() -> Content;

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
        on(method, self)
    }

    fn content() -> Content {
        Content::Refused
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
                on::<_, (Via, $($argument,)* $last), _>(method, self)
            }

            fn content() -> Content {
                // axum's markers are private, so the one of a head's extractor is found by
                // inference. Another one means that the last argument reads the body.
                let of_head = TypeId::of::<Via>() == way_of_parts::<GestaState, _>();
                if of_head { Content::Refused } else { Content::Read }
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
endpoint!(A B C D | E);
