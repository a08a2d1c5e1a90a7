//! Users: people whom the shop knows by name, each with an e-mail address of their own if any.
//!
//! Owns: their events, commands, rules and read model. Always holds: no two users that are there
//! have the same address at the same time. Not here: who buys ([`orders`](crate::orders)); a
//! customer need not be a user.

mod commands;
mod email;
mod events;
mod greeting;
mod queries;
mod read_model;
mod routes;
mod user;
mod welcome;

pub use commands::{CreateUser, DeleteUser, UpdateUser, WelcomeUser};
pub use email::{Email, EmailOwners, NotAnEmail};
pub use events::{UserCreated, UserDeleted, UserEvent, UserUpdated, UserWelcomed};
pub use greeting::{Greeting, GreetingEvent};
pub use queries::{FindUser, ListUsers};
pub use read_model::{UserDetails, Users};
pub(crate) use routes::routes;
pub use user::{User, UserRejection};
pub use welcome::{Welcome, WelcomeDue, WelcomeEvent};
