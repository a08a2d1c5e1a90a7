//! Tests with real servers, and of the proxy between a client and a server that this program plays.

mod client;
mod proxy;
mod servers;
