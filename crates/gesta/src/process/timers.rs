//! Versions of a manager's timers: their stored name, and the decoding of older ones.
//!
//! Invariant: a stored timer records its version. One without a version has version 1.
//!
//! Not here: the firing of timers.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::TypeShape;

/// The current version of a manager's timer type, and the older ones that it is decoded from.
///
/// A change of the stored form, such as a renamed variant or a new field, needs a new version. The
/// old type stays in the program, with `From<Old> for New`.
///
/// ```
/// use gesta::{TimerVersions, prelude::*};
///
/// /// Version 1.
/// #[derive(Serialize, Deserialize)]
/// enum OldDue {
///     Remind,
/// }
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum Due {
///     RemindReader { times: u8 },
/// }
///
/// impl From<OldDue> for Due {
///     fn from(OldDue::Remind: OldDue) -> Self {
///         Self::RemindReader { times: 1 }
///     }
/// }
///
/// // In the manager: fn timers() -> TimerVersions<Due> { … }
/// let timers = TimerVersions::<Due>::new().after::<OldDue>();
/// assert_eq!(timers.version(), 2, "the version of timers that are stored from now on");
/// assert_eq!(timers.read(1, r#""Remind""#)?, Due::RemindReader { times: 1 });
/// assert!(timers.read(3, "null").is_err(), "a later program has stored it");
/// # Ok::<(), gesta::UnreadableTimer>(())
/// ```
pub struct TimerVersions<T> {
    name: &'static str,
    /// Older versions, oldest first.
    older: Vec<Version<T>>,
}

struct Version<T> {
    shape: fn() -> TypeShape,
    read: fn(&str) -> Result<T, serde_json::Error>,
}

/// The reason why a stored timer cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableTimer {
    /// A later program has stored it. Deploy code that has this version.
    #[error("version {version} of timer {name} is unknown; the newest known version is {newest}")]
    UnknownVersion {
        /// Name of the timer.
        name: &'static str,
        /// Stored version.
        version: u16,
        /// Newest version that this program decodes.
        newest: u16,
    },
    /// The JSON does not match the version. Add the type that stored it with
    /// [`TimerVersions::after`].
    #[error("the stored timer is not version {version} of timer {name}: {source}")]
    BadPayload {
        /// Name of the timer.
        name: &'static str,
        /// Stored version.
        version: u16,
        /// Error of serde.
        source: serde_json::Error,
    },
}

impl<T: Serialize + DeserializeOwned> TimerVersions<T> {
    /// Default name of timers.
    pub const NAME: &'static str = "timer";

    /// Creates the versions of a type that has version 1 only, named `timer`.
    #[must_use]
    pub fn new() -> Self {
        Self { name: Self::NAME, older: Vec::new() }
    }

    /// Sets the name of the timers, for the lock file and for errors.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Adds the next older version of the timer type, in ascending order: the first call adds
    /// version 1, and the current type is the version after the last call's.
    #[must_use]
    pub fn after<Old>(mut self) -> Self
    where
        Old: DeserializeOwned + Into<T>,
    {
        let read = |json: &str| serde_json::from_str::<Old>(json).map(Into::into);
        self.older.push(Version { shape: TypeShape::of::<Old>, read });
        self
    }

    /// Returns the name of the timers.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the version in which timers are stored.
    #[must_use]
    pub fn version(&self) -> u16 {
        u16::try_from(self.older.len() + 1).expect("a type has fewer than 65,536 versions")
    }

    /// Returns each version with the shape of its type, oldest first.
    #[must_use]
    pub fn shapes(&self) -> Vec<(u16, TypeShape)> {
        let older = self.older.iter().map(|version| (version.shape)());
        (1..).zip(older.chain([TypeShape::of::<T>()])).collect()
    }

    /// Decodes a timer that was stored in a version.
    ///
    /// # Errors
    /// [`UnreadableTimer`] when the version is unknown or the JSON does not match it.
    pub fn read(&self, version: u16, json: &str) -> Result<T, UnreadableTimer> {
        let (name, newest) = (self.name, self.version());
        // Versions count from 1. A stored 0 wraps around to an index that does not exist.
        let read = match self.older.get(usize::from(version).wrapping_sub(1)) {
            Some(older) => older.read,
            None if version == newest => |json: &str| serde_json::from_str(json),
            None => return Err(UnreadableTimer::UnknownVersion { name, version, newest }),
        };
        read(json).map_err(|source| UnreadableTimer::BadPayload { name, version, source })
    }
}

impl<T: Serialize + DeserializeOwned> Default for TimerVersions<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for TimerVersions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} versions of timer {}", self.older.len() + 1, self.name)
    }
}
