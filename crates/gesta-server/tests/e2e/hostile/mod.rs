//! Hostile input: while it lasts and afterwards the server answers others, and its memory is
//! bounded.

mod connections;
mod floods;
mod fuzzed;
mod handshakes;
mod heads;
mod messages;
mod unread;
