//! Rejections: the business says no.
//!
//! Owns: [`Rejection`], and [`AnyRejection`], a type-erased rejection on its way through the
//! pipeline. Not here: other errors of a command ([`ExecuteError`](crate::ExecuteError)).

use std::{convert::Infallible, error::Error};

/// A refusal by the rules of the business, with a code that clients may rely on. Usually derived.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Debug, thiserror::Error, Rejection)]
/// enum NotShipped {
///     #[error("the order is not paid, {missing} are missing")]
///     #[rejection(code = "not-paid")]
///     NotPaid { missing: u32 },
///     #[error("the order was cancelled")]
///     #[rejection(code = "cancelled")]
///     Cancelled,
/// }
///
/// assert_eq!(NotShipped::NotPaid { missing: 3 }.code(), "not-paid");
/// assert_eq!(NotShipped::Cancelled.code(), "cancelled");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a rejection",
    note = "derive it: `#[derive(Rejection, thiserror::Error, Debug)]` with \
            `#[rejection(code = \"…\")]` on each variant"
)]
pub trait Rejection: Error + Send + Sync + 'static {
    /// Returns the machine-readable code of the refusal. Must never change.
    fn code(&self) -> &'static str;
}

/// The rejection of commands that are never rejected.
impl Rejection for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }
}

/// A type-erased rejection, as layers of the pipeline see it.
///
/// ```
/// use gesta::{AnyRejection, Rejection as _, prelude::*};
///
/// #[derive(Debug, PartialEq, thiserror::Error, Rejection)]
/// #[error("not paid")]
/// #[rejection(code = "not-paid")]
/// struct NotPaid;
///
/// let any = AnyRejection::new(NotPaid);
/// assert_eq!((any.code(), any.to_string().as_str()), ("not-paid", "not paid"));
/// assert_eq!(any.downcast::<NotPaid>().expect("the rejection is `NotPaid`"), NotPaid);
/// ```
#[derive(Debug)]
pub struct AnyRejection {
    code: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

impl AnyRejection {
    /// Erases the type.
    pub fn new(rejection: impl Rejection) -> Self {
        Self { code: rejection.code(), error: Box::new(rejection) }
    }

    /// Returns the rejection if it has this type.
    #[must_use]
    pub fn downcast_ref<R: Rejection>(&self) -> Option<&R> {
        self.error.downcast_ref()
    }

    /// Restores the type.
    ///
    /// # Errors
    /// The rejection itself if it has another type.
    pub fn downcast<R: Rejection>(self) -> Result<R, Self> {
        let code = self.code;
        self.error.downcast().map(|rejection| *rejection).map_err(|error| Self { code, error })
    }
}

impl Rejection for AnyRejection {
    fn code(&self) -> &'static str {
        self.code
    }
}

impl std::fmt::Display for AnyRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for AnyRejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
