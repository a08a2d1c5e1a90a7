//! Handlers with their documentation, and the routes that lead to them.
//!
//! Not here: the routes themselves, which applications and [`built_in`](crate::built_in) supply.

pub(crate) mod endpoint;
pub(crate) mod route;
