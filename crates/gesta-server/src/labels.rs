//! The names by which people tell servers apart.
//!
//! Invariant: they are shown and mean nothing to the server.

/// The names of a server and of what it serves, which the console shows.
///
/// ```
/// use gesta_server::ServerLabels;
///
/// let labels = ServerLabels::default().environment("production").store("gesta:./things");
/// assert_ne!(labels, ServerLabels::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerLabels {
    pub(crate) environment: Option<String>,
    pub(crate) store: Option<String>,
}

impl ServerLabels {
    /// Names the environment, such as `production`: the console has the name on every screen.
    #[must_use]
    pub fn environment(self, name: impl Into<String>) -> Self {
        Self { environment: Some(name.into()), ..self }
    }

    /// Names the store. Every user reads it, so a URL must have no password.
    #[must_use]
    pub fn store(self, name: impl Into<String>) -> Self {
        Self { store: Some(name.into()), ..self }
    }
}
