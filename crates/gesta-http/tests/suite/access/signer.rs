//! Signers of tokens by Ed25519 and by a shared secret.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use gesta_tokens::VerifyingKey;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// The beginning of a `SubjectPublicKeyInfo` of Ed25519 (RFC 8410).
const ED25519: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A signer of tokens.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub(super) fn public_pem(&self) -> String {
        let info = [&ED25519, self.0.public_key().as_ref()].concat();
        let info = BASE64_STANDARD.encode(info);
        format!("-----BEGIN PUBLIC KEY-----\n{info}\n-----END PUBLIC KEY-----\n")
    }

    pub(crate) fn key(&self) -> VerifyingKey {
        VerifyingKey::from_pem(self.public_pem().as_bytes()).unwrap()
    }

    /// The key as one of a JSON web key set.
    #[cfg(feature = "jwks")]
    pub(super) fn web_key(&self, id: &str) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x })
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": "EdDSA" }), claims)
    }

    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token of a shared secret (HS256).
pub(super) fn mac_token(secret: &[u8], claims: &Value) -> String {
    let signed = unsigned(&json!({ "alg": "HS256" }), claims);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
}

/// The header and the claims of a token.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
