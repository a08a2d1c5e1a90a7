//! Routes with their documentation: declared ones, and those with handlers of their own.
//!
//! Not here: the routes themselves, which applications and [`built_in`](crate::built_in) supply.

pub(crate) mod declared;
pub(crate) mod endpoint;
pub(crate) mod links;
pub(crate) mod parts;
pub(crate) mod route;
