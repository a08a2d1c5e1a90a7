//! The native HTTP interface, over real connections.

mod access;
mod acting;
mod appending;
mod described;
pub(crate) mod http_client;
mod odd_requests;
mod querying;
mod reading;
mod sockets;
mod subscribing;
mod unsure_store;
mod whole_streams;
