//! Bearer tokens: JSON web tokens that another party has signed.
//!
//! Owns: [`TokenRule`]. Invariants: the key decides the algorithm, whatever the token says; a token
//! without an expiry is refused; the time is passed in. Not here: how a server gets such tokens.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gesta_store::RecordedAt;
use ring::{hmac, signature};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde::Deserialize;

use super::{
    caller::Caller,
    der::{PublicKey, public_key},
    user::refusal_of_login,
};

/// Maximum length of a token.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Minimum length of a shared secret: that of its MAC.
const SECRET_BYTES_MIN: usize = 32;
/// Difference of clocks that is tolerated.
const LEEWAY_SECONDS: f64 = 30.0;
const GROUPS_MAX: usize = 100;

/// The key of accepted tokens, and what they must say.
///
/// ```
/// use gesta_server::TokenRule;
///
/// let rule = TokenRule::new(b"a secret of at least thirty-two bytes")?.issuer("https://id");
/// assert!(format!("{rule:?}").contains("HS256"));
/// # Ok::<(), gesta_server::InvalidTokenKey>(())
/// ```
pub struct TokenRule {
    key: Key,
    issuer: Option<String>,
    audience: Option<String>,
}

enum Key {
    Hs256(hmac::Key),
    Rs256(Vec<u8>),
    Es256(Vec<u8>),
}

/// A text that is not a key for tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTokenKey {
    /// The secret is too short.
    #[error(
        "the secret has {bytes} bytes, fewer than {SECRET_BYTES_MIN}; write more random bytes, or \
         a PEM file with a public key"
    )]
    ShortSecret {
        /// Length of the secret.
        bytes: usize,
    },
    /// The PEM text has no public key of a known kind.
    #[error("there is no `PUBLIC KEY` of RSA or of the curve P-256 in the PEM file")]
    UnknownKey,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Option<OneOrMore>,
    #[serde(default)]
    groups: Option<OneOrMore>,
    #[serde(default)]
    roles: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::More(list) => list,
        }
    }
}

impl TokenRule {
    /// Accepts tokens with the signature of this key: a public key in PEM (`RS256`, or `ES256` for
    /// the curve P-256), else a shared secret (`HS256`), whose final line break does not count.
    ///
    /// # Errors
    ///
    /// [`InvalidTokenKey`] for another kind of key, and for a secret below 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, InvalidTokenKey> {
        let key = if key.trim_ascii_start().starts_with(b"-----BEGIN") {
            let info = SubjectPublicKeyInfoDer::from_pem_slice(key);
            let info = info.map_err(|_| InvalidTokenKey::UnknownKey)?;
            match public_key(&info) {
                Some(PublicKey::Rsa(key)) => Key::Rs256(key),
                Some(PublicKey::P256(key)) => Key::Es256(key),
                None => return Err(InvalidTokenKey::UnknownKey),
            }
        } else {
            let secret = key.strip_suffix(b"\n").unwrap_or(key);
            let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
            if secret.len() < SECRET_BYTES_MIN {
                return Err(InvalidTokenKey::ShortSecret { bytes: secret.len() });
            }
            Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))
        };
        Ok(Self { key, issuer: None, audience: None })
    }

    /// Accepts only tokens with this `iss`.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        Self { issuer: Some(issuer.into()), ..self }
    }

    /// Accepts only tokens with this `aud`.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        Self { audience: Some(audience.into()), ..self }
    }

    /// Returns the user of a valid token: `sub`, in the groups of `groups` and `roles`.
    pub(super) fn caller(&self, token: &str, now_seconds: f64) -> Option<Caller> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        // An extension that is critical and unknown refuses the token.
        if header.alg != self.key.algorithm() || header.crit.is_some() {
            return None;
        }
        self.key.verify(signed.as_bytes(), &decoded(signature)?)?;
        let claims: Claims = serde_json::from_slice(&decoded(claims)?).ok()?;
        let is_now = claims.exp > now_seconds - LEEWAY_SECONDS
            && claims.nbf.is_none_or(|begin| begin <= now_seconds + LEEWAY_SECONDS);
        let is_of_issuer = self.issuer.is_none() || claims.iss == self.issuer;
        let audiences = claims.aud.map(OneOrMore::into_list).unwrap_or_default();
        let is_for_us = self.audience.as_ref().is_none_or(|audience| audiences.contains(audience));
        if !is_now || !is_of_issuer || !is_for_us || refusal_of_login(&claims.sub).is_some() {
            return None;
        }
        let mut groups = claims.groups.map(OneOrMore::into_list).unwrap_or_default();
        groups.extend(claims.roles.map(OneOrMore::into_list).unwrap_or_default());
        groups.truncate(GROUPS_MAX);
        Some(Caller::by_token(claims.sub, groups, end_of(claims.exp)))
    }
}

impl Key {
    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Option<()> {
        let verified = match self {
            Self::Hs256(key) => hmac::verify(key, signed, signature),
            Self::Rs256(key) => {
                let algorithm = &signature::RSA_PKCS1_2048_8192_SHA256;
                signature::UnparsedPublicKey::new(algorithm, key).verify(signed, signature)
            }
            Self::Es256(key) => {
                let algorithm = &signature::ECDSA_P256_SHA256_FIXED;
                signature::UnparsedPublicKey::new(algorithm, key).verify(signed, signature)
            }
        };
        verified.ok()
    }
}

/// Returns the time after which a token with this expiry is refused. A number outside of the range
/// becomes the nearest one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn end_of(exp: f64) -> RecordedAt {
    RecordedAt::from_micros(((exp + LEEWAY_SECONDS) * 1e6) as u64)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

impl std::fmt::Debug for TokenRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRule")
            .field("algorithm", &self.key.algorithm())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{EcdsaKeyPair, RsaKeyPair},
    };
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: f64 = 1_000_000.0;
    /// A pair of keys that protects nothing but these tests.
    const RSA_KEY: &[u8] = include_bytes!("../../tests/keys/rsa.pem");
    const RSA_PUBLIC_KEY: &[u8] = include_bytes!("../../tests/keys/rsa.public.pem");

    fn unsigned(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(header), part(claims))
    }

    fn token(claims: &Value) -> String {
        let signed = unsigned(&json!({ "alg": "HS256" }), claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let mac = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    fn rule() -> TokenRule {
        TokenRule::new(SECRET).unwrap()
    }

    #[test]
    fn a_valid_token_names_a_user_and_groups() {
        let claims = json!({ "sub": "ann", "exp": NOW + 1.0, "groups": ["a"], "roles": "$ops" });
        let caller = rule().caller(&token(&claims), NOW).unwrap();
        let groups = vec!["a".to_owned(), "$ops".to_owned()];
        assert_eq!(caller, Caller::by_token("ann", groups, end_of(NOW + 1.0)));
    }

    #[test]
    fn tokens_of_another_time_or_without_an_end_are_refused() {
        for claims in [
            json!({ "sub": "ann", "exp": NOW - 31.0 }),
            json!({ "sub": "ann", "exp": NOW + 60.0, "nbf": NOW + 31.0 }),
            json!({ "sub": "ann" }),
            json!({ "sub": "ann", "exp": "never" }),
            json!({ "sub": "$admins", "exp": NOW + 60.0 }),
        ] {
            assert_eq!(rule().caller(&token(&claims), NOW), None, "{claims}");
        }
    }

    #[test]
    fn a_token_of_another_issuer_or_audience_is_refused() {
        let rule = rule().issuer("https://id").audience("events");
        let right =
            json!({ "sub": "ann", "exp": NOW + 9.0, "iss": "https://id", "aud": ["events"] });
        assert!(rule.caller(&token(&right), NOW).is_some());
        for (claim, value) in [("iss", json!("https://other")), ("aud", json!("other"))] {
            let mut wrong = right.clone();
            wrong[claim] = value;
            assert_eq!(rule.caller(&token(&wrong), NOW), None, "{wrong}");
            wrong.as_object_mut().unwrap().remove(claim);
            assert_eq!(rule.caller(&token(&wrong), NOW), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_without_a_signature_or_with_another_one_is_refused() {
        let claims = json!({ "sub": "ann", "exp": NOW + 60.0 });
        let signed = token(&claims);
        let (body, mac) = signed.rsplit_once('.').unwrap();
        let none = unsigned(&json!({ "alg": "none" }), &claims);
        let critical = unsigned(&json!({ "alg": "HS256", "crit": ["b64"] }), &claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let critical_mac = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, critical.as_bytes()));
        for wrong in [
            format!("{body}."),
            body.to_owned(),
            format!("{none}."),
            format!("{none}.{mac}"),
            format!("{critical}.{critical_mac}"),
            format!("{}.{mac}", unsigned(&json!({ "alg": "HS256" }), &json!({ "sub": "bob" }))),
            String::new(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ] {
            assert_eq!(rule().caller(&wrong, NOW), None, "{wrong}");
        }
    }

    #[test]
    fn a_public_key_cannot_be_used_as_a_secret() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = pair.public_key_pem();
        let rule = TokenRule::new(pem.as_bytes()).unwrap();
        let claims = json!({ "sub": "ann", "exp": NOW + 60.0 });
        let forged = unsigned(&json!({ "alg": "HS256" }), &claims);
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes()), forged.as_bytes());
        let forged = format!("{forged}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac));
        assert_eq!(rule.caller(&forged, NOW), None);

        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let signer = EcdsaKeyPair::from_pkcs8(algorithm, pair.serialized_der(), &random).unwrap();
        let signed = unsigned(&json!({ "alg": "ES256" }), &claims);
        let signature = signer.sign(&random, signed.as_bytes()).unwrap();
        let signed = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(
            rule.caller(&signed, NOW),
            Some(Caller::by_token("ann", Vec::new(), end_of(NOW + 60.0)))
        );
    }

    /// A token with the signature of the RSA key.
    fn rsa_token(header: &Value, claims: &Value) -> String {
        let key = PrivatePkcs8KeyDer::from_pem_slice(RSA_KEY).unwrap();
        let signer = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let signed = unsigned(header, claims);
        let mut signature = vec![0; signer.public().modulus_len()];
        let (random, bytes) = (SystemRandom::new(), signed.as_bytes());
        signer.sign(&signature::RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn a_token_with_the_signature_of_an_rsa_key_names_a_user() {
        let rule = TokenRule::new(RSA_PUBLIC_KEY).unwrap();
        let header = json!({ "alg": "RS256" });
        let claims = json!({ "sub": "ann", "exp": NOW + 60.0, "groups": ["$ops"] });
        let token = rsa_token(&header, &claims);
        let ann = Caller::by_token("ann", vec!["$ops".to_owned()], end_of(NOW + 60.0));
        assert_eq!(rule.caller(&token, NOW), Some(ann));

        let (_, signature) = token.rsplit_once('.').unwrap();
        let bob = unsigned(&header, &json!({ "sub": "bob", "exp": NOW + 60.0 }));
        assert_eq!(rule.caller(&format!("{bob}.{signature}"), NOW), None, "another text");
        for algorithm in ["HS256", "ES256", "RS384", "none"] {
            let other = rsa_token(&json!({ "alg": algorithm }), &claims);
            assert_eq!(rule.caller(&other, NOW), None, "{algorithm}");
        }
        for end in 0..token.len() {
            assert_eq!(rule.caller(&token[..end], NOW), None, "the first {end} bytes");
        }
    }

    #[test]
    fn a_changed_public_key_verifies_nothing_or_is_refused() {
        let claims = json!({ "sub": "ann", "exp": NOW + 60.0 });
        let token = rsa_token(&json!({ "alg": "RS256" }), &claims);
        let info = SubjectPublicKeyInfoDer::from_pem_slice(RSA_PUBLIC_KEY).unwrap();
        for at in 0..info.len() {
            let mut changed = info.to_vec();
            changed[at] ^= 0x55;
            let Some(PublicKey::Rsa(key)) = public_key(&changed) else { continue };
            let rule = TokenRule { key: Key::Rs256(key), issuer: None, audience: None };
            // The parameters of the algorithm are an empty element, which is not read.
            let is_unread = (17..=18).contains(&at);
            assert_eq!(rule.caller(&token, NOW).is_some(), is_unread, "byte {at}");
        }
    }

    #[test]
    fn wrong_keys_are_refused_with_the_reason() {
        let short = TokenRule::new(b"secret\n").unwrap_err().to_string();
        assert!(short.starts_with("the secret has 6 bytes"), "{short}");
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let other = TokenRule::new(other.public_key_pem().as_bytes()).unwrap_err().to_string();
        assert!(other.contains("P-256"), "{other}");
    }
}
