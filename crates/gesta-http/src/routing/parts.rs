//! Parts of a request that the functions of declared routes take as arguments.
//!
//! Invariant: a part that is read is documented, and `()` stands for a part that a request does
//! not have.

use std::future::Future;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::{
    Describe, Field, Fields, GestaState, JsonBody, Operation, OptionalJsonBody, Problem, QueryOf,
    Schema,
    requests::extract::{may_be_absent, path_parameter, with_page::NoParameters},
    wire::operation::{BodyPresence, ParameterIn},
};

/// Content of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Is read by the handler.
    Read,
    /// Is refused, because nothing reads it.
    Refused,
}

impl Content {
    pub(super) fn of<B: RequestBody>() -> Self {
        if B::IS_READ { Self::Read } else { Self::Refused }
    }
}

/// The type of a path's parameter, such as the id of a resource.
///
/// ```
/// use gesta_http::{PathId, Schema, Schemas};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(transparent)]
/// struct DoorId(u8);
///
/// impl Schema for DoorId {
///     fn schema(schemas: &mut Schemas) -> serde_json::Value {
///         u8::schema(schemas)
///     }
/// }
///
/// impl PathId for DoorId {
///     const DESCRIPTION: &'static str = "Number of the door.";
/// }
/// ```
pub trait PathId: DeserializeOwned + Schema + Send + 'static {
    /// Description in the OpenAPI document.
    const DESCRIPTION: &'static str;
}

macro_rules! plain_ids {
    ($($kind:ty),+) => { $(
        impl PathId for $kind {
            const DESCRIPTION: &'static str = "Id of the resource.";
        }
    )+ };
}
plain_ids!(String, u8, u16, u32, u64, i64);

/// The parameter of a request's path: a [`PathId`], or `()` for a path without one.
pub trait RequestPath: Sized + Send + 'static {
    /// Reads the parameter `name`.
    #[doc(hidden)]
    fn read(parts: &mut Parts, name: &str) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Adds the parameter to the documentation.
    #[doc(hidden)]
    fn describe(name: &str, operation: &mut Operation<'_>);
}

impl RequestPath for () {
    async fn read(_: &mut Parts, _: &str) -> Result<(), Problem> {
        Ok(())
    }

    fn describe(_: &str, _: &mut Operation<'_>) {}
}

impl<T: PathId> RequestPath for T {
    async fn read(parts: &mut Parts, name: &str) -> Result<Self, Problem> {
        path_parameter(parts, name).await
    }

    fn describe(name: &str, operation: &mut Operation<'_>) {
        let field = Field::named::<Self>(name, Self::DESCRIPTION, operation.schemas());
        operation.parameter(ParameterIn::Path, field);
        operation.problem(400, crate::wire::problem::VALIDATION_FAILED);
    }
}

/// The body of a request: a type that derives [`RequestFields`](crate::RequestFields), or `()` for
/// a request without a body.
///
/// A body whose fields may all be absent may itself be absent.
pub trait RequestBody: Sized + Send + 'static {
    /// `false` for `()`.
    #[doc(hidden)]
    const IS_READ: bool;

    /// Reads the body.
    #[doc(hidden)]
    fn read(
        request: Request,
        state: &GestaState,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Adds the body to the documentation.
    #[doc(hidden)]
    fn describe(operation: &mut Operation<'_>);
}

impl RequestBody for () {
    const IS_READ: bool = false;

    async fn read(_: Request, _: &GestaState) -> Result<(), Problem> {
        Ok(())
    }

    fn describe(_: &mut Operation<'_>) {}
}

impl<T: DeserializeOwned + Schema + Send + 'static> RequestBody for T {
    const IS_READ: bool = true;

    async fn read(request: Request, state: &GestaState) -> Result<Self, Problem> {
        match presence::<T>() {
            BodyPresence::Optional => {
                let OptionalJsonBody(body) = OptionalJsonBody::from_request(request, state).await?;
                Ok(body)
            }
            BodyPresence::Required => {
                let JsonBody(body) = JsonBody::from_request(request, state).await?;
                Ok(body)
            }
        }
    }

    fn describe(operation: &mut Operation<'_>) {
        match presence::<T>() {
            BodyPresence::Optional => OptionalJsonBody::<T>::describe(operation),
            BodyPresence::Required => JsonBody::<T>::describe(operation),
        }
    }
}

fn presence<T: DeserializeOwned>() -> BodyPresence {
    if may_be_absent::<T>() { BodyPresence::Optional } else { BodyPresence::Required }
}

/// The query parameters of a request: a type that derives [`RequestFields`](crate::RequestFields),
/// or `()` for a request without any.
pub trait RequestQuery: Sized + Send + 'static {
    /// The type that is read.
    #[doc(hidden)]
    type Read: DeserializeOwned + Fields + Send;

    /// Converts the parameters.
    #[doc(hidden)]
    fn of(read: Self::Read) -> Self;
}

impl RequestQuery for () {
    type Read = NoParameters;

    fn of(_: NoParameters) {}
}

impl<T: DeserializeOwned + Fields + Send + 'static> RequestQuery for T {
    type Read = Self;

    fn of(read: Self) -> Self {
        read
    }
}

/// Reads query parameters.
pub(super) async fn query_of<T: DeserializeOwned + Fields>(
    parts: &mut Parts,
) -> Result<T, Problem> {
    let QueryOf(read) = QueryOf::from_request_parts(parts, &()).await?;
    Ok(read)
}
