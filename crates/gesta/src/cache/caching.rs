//! The opt-in of a query to the cache.

use std::{any::TypeId, fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::RowGroups;
use crate::{
    TypeShape,
    json::{self, JsonError},
};

/// The rules by which answers to a query are cached.
///
/// [`Query::caching`](crate::Query::caching) returns it for a query that opts in. The key of an
/// answer is the JSON form of the query, its type, and the build of the read model. An answer is
/// kept as JSON; it must have everything in that form, because a caller cannot tell a cached answer
/// from a fresh one.
///
/// ```
/// use std::time::Duration;
/// use gesta::{Caching, RowGroups, prelude::*};
///
/// #[derive(Serialize)]
/// struct FindStatistics {
///     customer: u32,
/// }
///
/// let query = FindStatistics { customer: 7 };
/// let caching: Caching<Option<u64>> = Caching::of(&query)
///     .ttl(Duration::from_secs(60))
///     .depends_on(RowGroups::named([format!("customer {}", query.customer)]));
/// assert_eq!(caching.time_to_live(), Duration::from_secs(60));
/// assert_eq!(Caching::<Option<u64>>::of(&query).time_to_live(), Caching::<()>::TTL);
/// ```
#[must_use = "a query opts in by returning it"]
pub struct Caching<A> {
    /// Type of the query.
    pub(super) query: &'static str,
    /// JSON of the query.
    pub(super) value: Result<Vec<u8>, JsonError>,
    pub(super) version: u32,
    pub(super) ttl: Duration,
    pub(super) groups: RowGroups,
    pub(super) codec: AnswerCodec<A>,
}

/// The functions that encode and decode answers of one type.
pub(super) struct AnswerCodec<A> {
    /// The type of the answer.
    pub(super) of: TypeId,
    /// Returns the shape of the type.
    pub(super) shape: fn() -> String,
    pub(super) encode: fn(&A) -> Result<Vec<u8>, JsonError>,
    pub(super) decode: fn(&[u8]) -> serde_json::Result<A>,
}

impl<A> Caching<A> {
    /// Default time for which an answer is kept.
    pub const TTL: Duration = Duration::from_secs(300);

    /// Sets the time for which an answer is kept at most. Default: [`TTL`](Self::TTL).
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Sets the groups of rows that the answer depends on. Default: all rows of the read model, so
    /// that every event that the projection applies makes the answer invalid.
    ///
    /// The projection names the groups that its events change, in
    /// [`Projection::changes`](crate::Projection::changes). An answer that depends on a group which
    /// the projection fails to name is returned for up to its time to live, except to callers that
    /// ask for a later position.
    pub fn depends_on(self, groups: RowGroups) -> Self {
        Self { groups, ..self }
    }

    /// Sets the version of the query's code: raise it when the same rows lead to another answer.
    /// Default: 1. Changes of the answer's shape and of the projection's version need no new one.
    pub fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Returns the time for which an answer is kept at most.
    #[must_use]
    pub const fn time_to_live(&self) -> Duration {
        self.ttl
    }
}

impl<A: Serialize + DeserializeOwned + 'static> Caching<A> {
    /// Caches the answers to a query by its JSON form.
    pub fn of<Q: Serialize>(query: &Q) -> Self {
        let name = std::any::type_name::<Q>();
        Self {
            query: name,
            value: json::write(name, query),
            version: 1,
            ttl: Self::TTL,
            groups: RowGroups::all(),
            codec: AnswerCodec {
                of: TypeId::of::<A>(),
                shape: || TypeShape::of::<A>().to_string(),
                encode: |answer| json::to_json(std::any::type_name::<A>(), answer),
                decode: |bytes| serde_json::from_slice(bytes),
            },
        }
    }
}

impl<A> fmt::Debug for Caching<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, version, ttl, groups, .. } = self;
        write!(f, "Caching of {query} version {version} for {ttl:?}, depends on {groups:?}")
    }
}
