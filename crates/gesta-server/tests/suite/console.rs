//! The web console: its routes and headers.

mod routes;
