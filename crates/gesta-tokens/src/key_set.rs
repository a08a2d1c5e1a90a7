//! Sets of keys: those of files, and JSON web key sets (RFC 7517).
//!
//! Invariant: a JSON web key set never has a shared secret. A set that anyone may fetch must not
//! make everybody who reads it an issuer.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::{
    InvalidKey, VerifyingKey,
    der::{PublicKey, rsa_public_key},
};

/// Maximum number of keys of a JSON web key set that are used.
const KEYS_MAX: usize = 64;
/// Length of an uncompressed point of the curve P-256, without its first byte.
const P256_BYTES: usize = 64;

/// The keys of an issuer.
///
/// ```
/// use gesta_tokens::{InvalidKey, KeySet};
///
/// assert_eq!(KeySet::from_jwks(b"[]").unwrap_err(), InvalidKey::NotAKeySet);
/// assert!(KeySet::default().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

#[derive(Deserialize)]
struct WebKeys {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct WebKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    used_for: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// Creates a set of keys.
    pub fn of(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// Reads a JSON web key set. Keys of other algorithms, for other uses, and shared secrets are
    /// left out.
    ///
    /// # Errors
    /// [`InvalidKey`] for another text, and for a set without a usable key.
    pub fn from_jwks(json: &[u8]) -> Result<Self, InvalidKey> {
        let set: WebKeys = serde_json::from_slice(json).map_err(|_| InvalidKey::NotAKeySet)?;
        let found = set.keys.len();
        // A key of a form that is unknown must not make the others unusable.
        let known = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<_> = known.filter_map(WebKey::into_key).take(KEYS_MAX).collect();
        match keys.is_empty() {
            true => Err(InvalidKey::NoUsableKey { keys: found }),
            false => Ok(Self { keys }),
        }
    }

    /// Adds the keys of another set.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// Returns whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the keys that may have signed a token: the one of this id, or all keys without one.
    /// A token without an id may have been signed by any.
    pub(crate) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        let is_meant = move |key: &&VerifyingKey| match (id, key.id()) {
            (Some(wanted), Some(known)) => wanted == known,
            (None, _) | (_, None) => true,
        };
        self.keys.iter().filter(is_meant)
    }
}

impl WebKey {
    fn into_key(self) -> Option<VerifyingKey> {
        if self.used_for.as_deref().is_some_and(|used| used != "sig") {
            return None;
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => PublicKey::Rsa(rsa_public_key(
                &decoded(self.n.as_ref())?,
                &decoded(self.e.as_ref())?,
            )),
            ("EC", Some("P-256")) => {
                // An uncompressed point (SEC 1, section 2.3.3).
                let (x, y) = (decoded(self.x.as_ref())?, decoded(self.y.as_ref())?);
                let point: Vec<u8> = [4].into_iter().chain(x).chain(y).collect();
                (point.len() == P256_BYTES + 1).then_some(PublicKey::P256(point))?
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(decoded(self.x.as_ref())?),
            _ => return None,
        };
        let key = VerifyingKey::of_public(key);
        // A key that is meant for another algorithm verifies nothing here.
        if self.alg.is_some_and(|algorithm| algorithm != key.algorithm()) {
            return None;
        }
        Some(match self.kid {
            Some(id) => key.named(id),
            None => key,
        })
    }
}

fn decoded(text: Option<&String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text?).ok()
}
