//! Errors of requests, sorted by what they mean for the caller.
//!
//! Owns: [`CallError`], and its translation to the errors of event stores and of derived data. A
//! request that may have reached the server without a clear answer is an unknown outcome. No text
//! is parsed: the server's codes decide. Not here: retries, which are the client's.

use std::{collections::HashMap, error::Error, io, sync::Arc};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use gesta_store::{DatabaseError, Overload, SharedError, StoreError};

use crate::worker::Ended;

/// Attributes by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The error of a request.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// The condition did not hold; nothing was written. With the item that is there.
    Condition(Option<Item>),
    /// The table or the partition is over its throughput; nothing was written.
    Throttled,
    /// Nothing was sent.
    Unreachable(String, Option<SharedError>),
    /// The request may have taken effect, or may do so later.
    Unknown(String, Option<SharedError>),
    /// The credentials are refused, or lack a right.
    Denied(String),
    /// The table is not there.
    NoTable(String),
    /// The server refuses the request as such.
    Invalid(String),
    /// The item is not what this crate writes.
    Damaged(String),
    /// The store was closed.
    Closed,
}

impl From<Ended> for CallError {
    fn from(_: Ended) -> Self {
        Self::Closed
    }
}

impl CallError {
    /// Sorts an error of the client. `taken` takes the item out of a condition that did not hold.
    pub(crate) fn of<E>(
        error: SdkError<E, HttpResponse>,
        taken: impl FnOnce(&E) -> Option<Item>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            _ if lacks_credentials(&error) => {
                let reason = format!(
                    "there are no usable credentials: {}; set them where AWS's client looks, such \
                     as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add `emulator=yes` to the \
                     URL of an emulator",
                    causes(&error)
                );
                Self::Unreachable(reason, Some(Arc::new(error)))
            }
            SdkError::ServiceError(context) => {
                let item = taken(context.err());
                Self::of_code(context.err(), item)
            }
            SdkError::ConstructionFailure(_) => {
                let reason = format!("the request could not be signed: {}", causes(&error));
                Self::Unreachable(reason, Some(Arc::new(error)))
            }
            SdkError::DispatchFailure(_) if was_refused(&error) => {
                Self::Unreachable(causes(&error), Some(Arc::new(error)))
            }
            _ => Self::Unknown(causes(&error), Some(Arc::new(error))),
        }
    }

    fn of_code(error: &impl ProvideErrorMetadata, item: Option<Item>) -> Self {
        let message = error.message().unwrap_or("its answer is none of DynamoDB");
        let code = error.code().unwrap_or_default();
        match code {
            "ConditionalCheckFailedException" => Self::Condition(item),
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "TransactionConflictException" => Self::Throttled,
            "ResourceNotFoundException" => Self::NoTable(message.to_owned()),
            "ValidationException" | "SerializationException" => Self::Invalid(message.to_owned()),
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException" => Self::Denied(format!("{code}: {message}")),
            _ => Self::Unknown(format!("{code}: {message}"), None),
        }
    }

    /// Returns the error of a call on derived data.
    pub(crate) fn into_database(self) -> DatabaseError {
        match self {
            Self::Condition(_) => {
                DatabaseError::unavailable("another process has changed the same item; retry")
            }
            Self::Throttled => DatabaseError::unavailable(
                "DynamoDB limits the rate of requests; back off, or raise the table's throughput",
            ),
            // The reason has the texts of all causes.
            Self::Unreachable(reason, _) | Self::Unknown(reason, _) => {
                DatabaseError::unavailable(reason)
            }
            Self::Closed => DatabaseError::unavailable("the store was closed"),
            // No event is at fault, and other credentials or rights end it.
            Self::Denied(reason) => DatabaseError::unavailable(format!(
                "access denied: {reason}; check credentials and rights"
            )),
            Self::NoTable(reason) => DatabaseError::Corrupt {
                reason: format!(
                    "{reason}: another program has deleted the table; rebuild the projection, \
                     which creates it again"
                ),
                source: None,
            },
            Self::Invalid(reason) => DatabaseError::rejected(reason),
            Self::Damaged(reason) => DatabaseError::Corrupt { reason, source: None },
        }
    }

    /// Returns the error of a call on the event store. A write that did not hold its condition is
    /// handled where it is made.
    pub(crate) fn into_store(self) -> StoreError {
        match self {
            Self::Throttled => Overload::Throttled { retry_after: None }.into_store(),
            Self::Unreachable(reason, _) => StoreError::unreachable(reason),
            Self::Unknown(reason, _) => StoreError::unavailable(reason),
            Self::Condition(_) => StoreError::unavailable("another process has written first"),
            Self::Closed => StoreError::closed(),
            Self::Denied(reason) => StoreError::Denied { reason },
            Self::NoTable(reason) => StoreError::Denied {
                reason: format!("the table is gone, or its name is not allowed: {reason}"),
            },
            Self::Invalid(reason) => gesta_store::Invalid::Refused { reason }.into(),
            Self::Damaged(reason) => {
                StoreError::Corrupt(gesta_store::Damage::new("DynamoDB item", 0, reason))
            }
        }
    }

    /// Returns the same error for a request that reads: an unknown outcome of a read is none.
    pub(crate) fn of_read(self) -> Self {
        match self {
            Self::Unknown(reason, source) => Self::Unreachable(reason, source),
            other => other,
        }
    }
}

trait IntoStore {
    fn into_store(self) -> StoreError;
}

impl IntoStore for Overload {
    fn into_store(self) -> StoreError {
        StoreError::Overloaded(self)
    }
}

/// Returns `true` if the server's machine refused the connection, so that nothing was sent.
fn was_refused(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
    })
}

/// Returns `true` for the error of a request that no credentials were found for.
pub(crate) fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| cause.is::<CredentialsError>())
}

/// The texts of an error and its causes. The client's first text is general, the last one specific.
fn causes(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = chain(error).map(ToString::to_string).collect();
    texts.join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let cause: &'a (dyn Error + 'static) = *cause;
        cause.source()
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::operation::get_item::GetItemError;

    use super::*;

    #[test]
    fn missing_credentials_are_named_and_are_no_silence_of_the_server() {
        let missing = CredentialsError::not_loaded("nothing in the environment");
        let error: SdkError<GetItemError, HttpResponse> = SdkError::construction_failure(missing);
        let CallError::Unreachable(reason, Some(source)) = CallError::of(error, |_| None) else {
            panic!("nothing was sent");
        };
        assert!(lacks_credentials(&*source));
        for part in ["no usable credentials", "AWS_ACCESS_KEY_ID", "emulator=yes"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
