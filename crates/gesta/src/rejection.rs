//! Rejections: the business says no.
//!
//! Owns: [`Rejection`], and [`AnyRejection`], one whose type is forgotten on its way through the
//! pipeline. Not here: what else can keep a command from being executed
//! ([`ExecuteError`](crate::ExecuteError)).

use std::{convert::Infallible, error::Error};

/// A refusal by the rules of the business, with a code that clients may rely on. Derive it.
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
pub trait Rejection: Error + Send + Sync + 'static {
    /// What kind of refusal it is, stable for ever.
    fn code(&self) -> &'static str;
}

/// For commands that are never rejected.
impl Rejection for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }
}

/// A rejection of some command: what layers of the pipeline see.
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
/// assert_eq!(any.downcast::<NotPaid>().expect("it was one"), NotPaid);
/// ```
#[derive(Debug)]
pub struct AnyRejection {
    code: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

impl AnyRejection {
    /// Forgets the type.
    pub fn new(rejection: impl Rejection) -> Self {
        Self { code: rejection.code(), error: Box::new(rejection) }
    }

    /// The rejection, if it is of this type.
    #[must_use]
    pub fn downcast_ref<R: Rejection>(&self) -> Option<&R> {
        self.error.downcast_ref()
    }

    /// Remembers the type.
    ///
    /// # Errors
    /// The rejection itself, when it is of another type.
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
