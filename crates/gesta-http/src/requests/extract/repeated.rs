//! Query parameters that may be given several times.
//!
//! Invariant: a parameter has at least one value and at most [`Repeated::MAX`].

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Schema, Schemas};

/// A query parameter that may be given several times, such as `?no=7&no=3`.
///
/// ```
/// use gesta_http::{Repeated, RequestFields};
///
/// /// Search for doors.
/// #[derive(RequestFields)]
/// struct DoorSearch {
///     /// Only doors with these numbers.
///     no: Option<Repeated<u8>>,
/// }
///
/// let search: DoorSearch = serde_json::from_str(r#"{ "no": [7, 3] }"#)?;
/// assert_eq!(search.no.map(Repeated::into_vec), Some(vec![7, 3]));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated<T>(Vec<T>);

impl<T> Repeated<T> {
    /// Maximum number of values.
    pub const MAX: usize = 100;

    /// Returns the values in the order in which they were given.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Returns the values in the order in which they were given.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Repeated<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The size limit of a request bounds the number of values that are read before this check.
        let values = Vec::deserialize(deserializer)?;
        let (max, count) = (Self::MAX, values.len());
        match count {
            0 => Err(D::Error::custom("must have a value")),
            _ if count > max => {
                let reason = format!("must be given at most {max} times; got {count} values");
                Err(D::Error::custom(reason))
            }
            _ => Ok(Self(values)),
        }
    }
}

impl<T: Schema> Schema for Repeated<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        let items = T::schema(schemas);
        json!({ "type": "array", "items": items, "minItems": 1, "maxItems": Self::MAX })
    }

    fn example() -> Option<Value> {
        Vec::<T>::example()
    }
}
