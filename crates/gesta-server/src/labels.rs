//! The names by which people tell servers apart, and the settings by which one was started.
//!
//! Invariant: they are shown and mean nothing to the server.

use serde::Serialize;

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
    pub(crate) settings: Vec<ServerSetting>,
}

/// A setting by which a server was started, as operators read it in the console.
///
/// ```
/// use gesta_server::{ServerLabels, ServerSetting};
///
/// let listen = ServerSetting::new("listen", "option --listen").value("127.0.0.1:2113");
/// let labels = ServerLabels::default().settings([listen]);
/// assert_ne!(labels, ServerLabels::default());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSetting {
    name: String,
    values: Vec<String>,
    source: String,
}

impl ServerSetting {
    /// Names a setting without a value, and the source that decides on it, such as `default`.
    pub fn new(name: impl Into<String>, source: impl Into<String>) -> Self {
        Self { name: name.into(), values: Vec::new(), source: source.into() }
    }

    /// Adds a value. Members of `$ops` read it, so it must have no password.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.values.push(value.into());
        self
    }
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

    /// Sets the settings in force, in the order in which they are shown.
    #[must_use]
    pub fn settings(self, settings: impl IntoIterator<Item = ServerSetting>) -> Self {
        Self { settings: settings.into_iter().collect(), ..self }
    }
}
