//! The web console: its routes and headers, and its screens in a real browser.

mod acting;
mod hostile;
mod newcomer;
mod routes;
mod screens;
mod signing_in;
mod states;
mod store;
