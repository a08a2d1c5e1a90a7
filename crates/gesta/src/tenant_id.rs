//! Ids of tenants.
//!
//! Owns: [`TenantId`]. Invariant: an id has letters and digits only, so a name that has an id
//! before a separator, such as a directory, a schema or the prefix of a key, is the beginning of no
//! name with another id.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The id of a tenant: 1 to 32 lower-case ASCII letters and digits, of which the first is a letter.
///
/// ```
/// use gesta::TenantId;
///
/// let acme: TenantId = "acme".parse()?;
/// assert_eq!(acme.as_str(), "acme");
/// for odd in ["", "Acme", "acme-uk", "../acme", "7up"] {
///     assert!(odd.parse::<TenantId>().is_err(), "{odd}");
/// }
/// # Ok::<(), gesta::ParseTenantIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// The error for a text that is no id of a tenant. It does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "the id of a tenant must have 1 to {} lower-case letters and digits, and begin with a letter",
    TenantId::BYTES_MAX
)]
pub struct ParseTenantIdError;

impl TenantId {
    /// Maximum length in bytes.
    pub const BYTES_MAX: usize = 32;

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = ParseTenantIdError;

    fn from_str(text: &str) -> Result<Self, ParseTenantIdError> {
        let is_short = text.len() <= Self::BYTES_MAX;
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_short && begins && is_plain { Ok(Self(text.into())) } else { Err(ParseTenantIdError) }
    }
}

impl TryFrom<String> for TenantId {
    type Error = ParseTenantIdError;

    fn try_from(text: String) -> Result<Self, ParseTenantIdError> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({self})")
    }
}
