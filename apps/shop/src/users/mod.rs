//! Users: people with a name and an optional e-mail address.
//!
//! Owns: the events, commands, rules and read model of users. Invariant: no two users have the same
//! address at the same time. Not here: buyers ([`orders`](crate::orders)); a customer need not be a
//! user.

mod commands;
mod details;
mod email;
mod email_owners;
mod events;
mod greeting;
mod queries;
mod read_model;
mod routes;
mod rows;
mod user;
mod welcome;
mod welcome_mail;

pub use commands::{CreateUser, DeleteUser, UpdateUser, WelcomeUser};
pub use details::UserDetails;
pub use email::{Email, InvalidEmail};
pub use email_owners::EmailOwners;
pub use events::{UserCreated, UserDeleted, UserEvent, UserUpdated, UserWelcomed};
pub use greeting::{Greeting, GreetingEvent};
pub use queries::{FindUser, ListUsers};
pub use read_model::Users;
pub(crate) use routes::routes;
pub use user::{User, UserRejection};
pub use welcome::{Welcome, WelcomeDue, WelcomeEvent};
pub use welcome_mail::WelcomeMail;
