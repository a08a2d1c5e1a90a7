//! Signers of tokens, one for each algorithm.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use gesta_tokens::VerifyingKey;
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents as RsaParts,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RsaKeyPair,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// A pair of keys that protects nothing but these tests.
const RSA_KEY: &[u8] = include_bytes!("../keys/rsa.pem");
const RSA_PUBLIC_KEY: &str = include_str!("../keys/rsa.public.pem");
/// The beginnings of a `SubjectPublicKeyInfo` (RFC 5480, RFC 8410).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A,
    0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED25519: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A signer of tokens.
pub(crate) enum Signer {
    Hs256(Vec<u8>),
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn all() -> [Self; 4] {
        [Self::secret(SECRET), Self::rs256(), Self::es256(), Self::ed25519()]
    }

    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self::Hs256(secret.to_vec())
    }

    pub(crate) fn rs256() -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(RSA_KEY).unwrap();
        Self::Rs256(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap())
    }

    pub(crate) fn es256() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Es256(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::EdDsa(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm() })
    }

    /// The key that verifies the signer's tokens.
    pub(crate) fn key(&self) -> VerifyingKey {
        match self {
            Self::Hs256(secret) => VerifyingKey::shared_secret(secret).unwrap(),
            public => VerifyingKey::from_pem(public.public_pem().as_bytes()).unwrap(),
        }
    }

    pub(crate) fn public_pem(&self) -> String {
        let info = match self {
            Self::Hs256(_) => panic!("a secret is not public"),
            Self::Rs256(_) => return RSA_PUBLIC_KEY.to_owned(),
            Self::Es256(pair) => [&P256, pair.public_key().as_ref()].concat(),
            Self::EdDsa(pair) => [&ED25519, pair.public_key().as_ref()].concat(),
        };
        let info = BASE64_STANDARD.encode(info);
        format!("-----BEGIN PUBLIC KEY-----\n{info}\n-----END PUBLIC KEY-----\n")
    }

    /// The key as one of a JSON web key set.
    pub(crate) fn web_key(&self) -> Value {
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Hs256(secret) => json!({ "kty": "oct", "k": number(secret) }),
            Self::Rs256(pair) => {
                let RsaParts { n, e } = RsaParts::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "use": "sig", "n": number(&n), "e": number(&e) })
            }
            Self::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref().get(1..).unwrap().split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": number(x), "y": number(y) })
            }
            Self::EdDsa(pair) => {
                let x = number(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x })
            }
        }
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Es256(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A part of a token.
pub(crate) fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}
