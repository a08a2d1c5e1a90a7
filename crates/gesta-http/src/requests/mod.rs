//! Requests before their handlers run: extractors, and middleware that checks or refuses.
//!
//! Not here: executing a command or answering a query.

pub(crate) mod authenticate;
pub(crate) mod body_deadline;
pub(crate) mod compressed;
pub(crate) mod correlation;
pub(crate) mod cors;
pub(crate) mod cross_site;
pub(crate) mod encoding;
pub(crate) mod expect;
pub(crate) mod extract;
pub(crate) mod guard;
pub(crate) mod keys;
pub(crate) mod measure;
pub(crate) mod operator;
pub(crate) mod personal;
pub(crate) mod preconditions;
pub(crate) mod socket_token;
pub(crate) mod trace;
pub(crate) mod trace_context;
pub(crate) mod unexpected;
