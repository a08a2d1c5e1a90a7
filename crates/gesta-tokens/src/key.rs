//! Keys that signatures are verified with, each with its one algorithm.
//!
//! Not here: sets of keys ([`key_set`](crate::key_set)).

use std::fmt;

use ring::{hmac, signature};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::der::{PublicKey, public_key};

/// Minimum length of a shared secret, in bytes: that of its MAC (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// A key that verifies the signatures of tokens, by one algorithm.
///
/// ```
/// use gesta_tokens::VerifyingKey;
///
/// let key = VerifyingKey::shared_secret(b"a secret of at least thirty-two bytes")?.named("k1");
/// assert_eq!(format!("{key:?}"), r#"VerifyingKey { algorithm: "HS256", id: Some("k1") }"#);
/// # Ok::<(), gesta_tokens::InvalidKey>(())
/// ```
#[derive(Clone)]
pub struct VerifyingKey {
    kind: KeyKind,
    id: Option<String>,
}

#[derive(Clone)]
enum KeyKind {
    Hs256(hmac::Key),
    Rs256(Vec<u8>),
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

/// A text that is not a key for tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The secret is too short.
    #[error("the secret has {bytes} bytes; write at least {SECRET_BYTES_MIN} random bytes")]
    ShortSecret {
        /// Length of the secret, in bytes.
        bytes: usize,
    },
    /// The PEM text has no public key of a known kind.
    #[error(
        "the PEM text has no `PUBLIC KEY` of RSA, of the curve P-256 or of Ed25519; convert the \
         key, such as with `openssl pkey -pubout`"
    )]
    UnknownPem,
    /// The text is not a JSON web key set.
    #[error("the text is no JSON web key set (RFC 7517): an object with a list `keys`")]
    NotAKeySet,
    /// The set has no key for signatures of a known algorithm.
    #[error("none of the {keys} keys of the set verifies RS256, ES256 or EdDSA")]
    NoUsableKey {
        /// Number of keys in the set.
        keys: usize,
    },
}

impl VerifyingKey {
    /// Creates the key of a public key in PEM (`PUBLIC KEY`): RS256 for RSA, ES256 for the curve
    /// P-256, EdDSA for Ed25519.
    ///
    /// # Errors
    /// [`InvalidKey::UnknownPem`] for another text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidKey> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        let key = info.ok().and_then(|info| public_key(&info));
        Ok(Self::of_public(key.ok_or(InvalidKey::UnknownPem)?))
    }

    /// Creates the key of a secret that the issuer shares (HS256). Whoever can verify such a token
    /// can also make one.
    ///
    /// # Errors
    /// [`InvalidKey::ShortSecret`] below 32 bytes.
    pub fn shared_secret(secret: &[u8]) -> Result<Self, InvalidKey> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(InvalidKey::ShortSecret { bytes: secret.len() });
        }
        Ok(Self { kind: KeyKind::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)), id: None })
    }

    pub(crate) fn of_public(key: PublicKey) -> Self {
        let kind = match key {
            PublicKey::Rsa(key) => KeyKind::Rs256(key),
            PublicKey::P256(key) => KeyKind::Es256(key),
            PublicKey::Ed25519(key) => KeyKind::EdDsa(key),
        };
        Self { kind, id: None }
    }

    /// Sets the id (`kid`). A token that names another key is not verified with this one.
    #[must_use]
    pub fn named(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) const fn algorithm(&self) -> &'static str {
        match self.kind {
            KeyKind::Hs256(_) => "HS256",
            KeyKind::Rs256(_) => "RS256",
            KeyKind::Es256(_) => "ES256",
            KeyKind::EdDsa(_) => "EdDSA",
        }
    }

    /// Returns whether this is the signature of the bytes.
    pub(crate) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&'static dyn signature::VerificationAlgorithm, _) = match &self.kind
        {
            KeyKind::Hs256(key) => return hmac::verify(key, signed, signature).is_ok(),
            KeyKind::Rs256(key) => (&signature::RSA_PKCS1_2048_8192_SHA256, key),
            KeyKind::Es256(key) => (&signature::ECDSA_P256_SHA256_FIXED, key),
            KeyKind::EdDsa(key) => (&signature::ED25519, key),
        };
        signature::UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm())
            .field("id", &self.id)
            .finish()
    }
}
