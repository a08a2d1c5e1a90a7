//! Principals by API keys.
//!
//! Owns: the form of a key, and the file of their hashes. Invariants: a key is stored as its hash
//! only; the comparison takes the same time for every key of the file. A hash without salt and
//! without cost is enough, because a key has 244 random bits.

use std::{collections::BTreeSet, fmt, time::SystemTime};

use axum::http::request::Parts;
use blake3::Hash;
use gesta::{ParseTenantIdError, TenantId};
use uuid::Uuid;

use super::authenticate::bearer;
use crate::{Authenticate, InvalidActor, Principal, Problem, wire::headers::API_KEY};

/// The beginning of every key, by which people and scanners of repositories recognize one.
pub(super) const PREFIX: &str = "gesta_";
/// Maximum length of a key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Finds the principal by an API key, in the header `X-Api-Key` or as a bearer token.
///
/// ```
/// use gesta_http::{ApiKeys, NewApiKey};
///
/// let key = NewApiKey::random();
/// let file = format!("# keys of the shop\n{}\n", key.line("till-7", &["clerk", "customer"]));
/// assert_eq!(ApiKeys::parse(&file)?.len(), 1);
/// assert!(!file.contains(key.secret()));
/// # Ok::<(), gesta_http::InvalidApiKeys>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    keys: Vec<StoredKey>,
}

#[derive(Clone, Debug)]
struct StoredKey {
    hash: Hash,
    principal: Principal,
}

/// A text that is no file of API keys. The number is that of the line, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidApiKeys {
    /// A line has another form. It may be a key itself, so it is not shown.
    #[error(
        "line {line} is not `HASH ACTOR ROLE,ROLE`, or the same with a tenant, with a hash of 64 \
         hexadecimal digits"
    )]
    Line {
        /// Number of the line.
        line: usize,
    },
    /// A line has a name that no actor can have.
    #[error("line {line}: {reason}")]
    Actor {
        /// Number of the line.
        line: usize,
        /// The rule of names.
        reason: InvalidActor,
    },
    /// A line has a tenant that is none.
    #[error("line {line}: {reason}")]
    Tenant {
        /// Number of the line.
        line: usize,
        /// The rule of ids.
        reason: ParseTenantIdError,
    },
    /// A line has the hash of an earlier line.
    #[error("line {line} repeats the key of an earlier line")]
    Repeated {
        /// Number of the line.
        line: usize,
    },
}

/// A key that was just made. Its secret is shown once and stored nowhere.
pub struct NewApiKey {
    secret: String,
}

impl NewApiKey {
    /// Creates a random key.
    #[must_use]
    pub fn random() -> Self {
        let (one, other) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self { secret: format!("{PREFIX}{one}{other}") }
    }

    /// Returns the secret, for the one who will use the key.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the line for the file of keys.
    #[must_use]
    pub fn line(&self, actor: &str, roles: &[&str]) -> String {
        format!("{} {actor} {}", hash_of(&self.secret).to_hex(), roles.join(","))
    }

    /// Returns the line of an actor of a tenant.
    #[must_use]
    pub fn line_of_tenant(&self, tenant: &TenantId, actor: &str, roles: &[&str]) -> String {
        format!("{} {tenant}", self.line(actor, roles))
    }
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// Reads the lines of a file: the BLAKE3 hash of a key, the actor, its roles with commas
    /// between them, and its tenant, if there are tenants. Empty lines, and lines that begin with
    /// `#`, are left out.
    ///
    /// # Errors
    /// [`InvalidApiKeys`] with the number of the first wrong line.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKeys> {
        let (mut keys, mut hashes) = (Vec::new(), BTreeSet::new());
        for (index, entry) in text.lines().map(str::trim).enumerate() {
            let line = index + 1;
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let mut words = entry.split_ascii_whitespace();
            let (Some(hash), Some(actor), Some(roles), tenant, None) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                return Err(InvalidApiKeys::Line { line });
            };
            let hash = Hash::from_hex(hash).map_err(|_| InvalidApiKeys::Line { line })?;
            if !hashes.insert(*hash.as_bytes()) {
                return Err(InvalidApiKeys::Repeated { line });
            }
            let roles = roles.split(',').filter(|role| !role.is_empty());
            let principal = Principal::new(actor, roles)
                .map_err(|reason| InvalidApiKeys::Actor { line, reason })?;
            let tenant: Option<TenantId> = tenant
                .map(str::parse)
                .transpose()
                .map_err(|reason| InvalidApiKeys::Tenant { line, reason })?;
            let principal = match tenant {
                Some(tenant) => principal.of_tenant(tenant),
                None => principal,
            };
            keys.push(StoredKey { hash, principal });
        }
        Ok(Self { keys })
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn find(&self, key: &str) -> Option<&Principal> {
        let hash = hash_of(key);
        // Every hash is compared, and each comparison takes the same time (`Hash` compares in
        // constant time), so an answer says nothing about the hashes in the file.
        self.keys.iter().fold(None, |found, stored| match stored.hash == hash {
            true => Some(&stored.principal),
            false => found,
        })
    }
}

impl Authenticate for ApiKeys {
    async fn authenticate(
        &self,
        request: &Parts,
        _: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        let Some(key) = key_of(request)? else { return Ok(None) };
        let found = (key.len() <= KEY_BYTES_MAX).then(|| self.find(key)).flatten();
        let refused = || Problem::unauthenticated("the API key is not known").invalid_token();
        found.cloned().map(Some).ok_or_else(refused)
    }
}

fn key_of(request: &Parts) -> Result<Option<&str>, Problem> {
    if let Some(value) = request.headers.get(&API_KEY) {
        let key = value.to_str().ok().filter(|key| !key.is_empty());
        let malformed = || Problem::unauthenticated("`X-Api-Key` must be a key in ASCII");
        return key.map(Some).ok_or_else(malformed);
    }
    let token = bearer(request)?;
    Ok(token.filter(|token| token.starts_with(PREFIX)))
}

fn hash_of(key: &str) -> Hash {
    blake3::hash(key.as_bytes())
}
