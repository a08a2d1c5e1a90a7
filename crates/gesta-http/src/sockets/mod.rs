//! WebSockets (RFC 6455) for handlers: the handshake, and the rules of an open socket.
//!
//! Owns: [`SocketRequest`], the extractor of the handshake, [`TextSocket`], the open socket, and
//! [`DescribedSocket`], its entry in the AsyncAPI document.
//!
//! Invariants:
//! - A handshake that is refused is answered with a problem.
//! - A client that answers no ping, or takes no message, for three times
//!   [`Limits::keep_alive`](crate::Limits) is ended with a code that says so.
//!
//! Not here: pages of other sites, which never reach a handler
//! ([`cross_site`](crate::requests::cross_site)); the number of connections, and their end at a
//! shutdown ([`serve`](mod@crate::serve)).

pub(crate) mod described;
pub(crate) mod handshake;
pub(crate) mod text_socket;
