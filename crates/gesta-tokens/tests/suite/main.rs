//! Tokens that are accepted, and tokens that are refused for each reason.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod signer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gesta_tokens::{InvalidKey, KeySet, Token, TokenRefusal, TokenRule, VerifyingKey};
use serde_json::{Value, json};

use self::signer::{Signer, part};

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://id.example";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn rule() -> TokenRule {
    TokenRule::new(ISSUER, "shop")
}

fn claims() -> Value {
    json!({ "sub": "ann", "iss": ISSUER, "aud": "shop", "exp": NOW + 60, "roles": ["clerk"] })
}

/// The claims with another value of one, or without it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn verified(signer: &Signer, token: &str) -> Result<Token, TokenRefusal> {
    rule().verify(&KeySet::of([signer.key()]), token, now())
}

#[test]
fn a_token_of_each_algorithm_names_its_subject_roles_and_end() {
    for signer in Signer::all() {
        let token = verified(&signer, &signer.token(&claims())).unwrap();
        assert_eq!(token.subject, "ann");
        assert_eq!(token.roles, ["clerk"]);
        assert_eq!(token.ends, now() + Duration::from_secs(90), "with the leeway");
    }
}

#[test]
fn a_claim_with_a_wrong_value_and_one_that_is_missing_refuse_a_token() {
    let signer = Signer::ed25519();
    for (name, value, refusal) in [
        ("exp", json!(NOW - 30), TokenRefusal::Expired),
        ("exp", json!("never"), TokenRefusal::Expired),
        ("exp", json!(1e300), TokenRefusal::Expired),
        ("exp", json!(-1), TokenRefusal::Expired),
        ("exp", Value::Null, TokenRefusal::Expired),
        ("nbf", json!(NOW + 31), TokenRefusal::NotYet),
        ("nbf", json!("soon"), TokenRefusal::NotYet),
        ("iss", json!("https://id.example.org"), TokenRefusal::Issuer),
        ("iss", json!([ISSUER]), TokenRefusal::Issuer),
        ("iss", Value::Null, TokenRefusal::Issuer),
        ("aud", json!("bank"), TokenRefusal::Audience),
        ("aud", json!(["bank", "post"]), TokenRefusal::Audience),
        ("aud", Value::Null, TokenRefusal::Audience),
        ("sub", json!(""), TokenRefusal::Subject),
        ("sub", json!(7), TokenRefusal::Subject),
        ("sub", Value::Null, TokenRefusal::Subject),
    ] {
        let token = signer.token(&with(name, value.clone()));
        assert_eq!(verified(&signer, &token), Err(refusal), "{name}: {value}");
    }
    for (name, value) in [
        ("exp", json!(NOW - 29)),
        ("nbf", json!(NOW + 30)),
        ("aud", json!(["bank", "shop"])),
        ("exp", json!(NOW as f64 + 0.5)),
    ] {
        let token = signer.token(&with(name, value.clone()));
        assert!(verified(&signer, &token).is_ok(), "{name}: {value}");
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let signer = Signer::es256();
    for algorithm in ["none", "None", "NONE", ""] {
        let unsigned = format!("{}.{}.", part(&json!({ "alg": algorithm })), part(&claims()));
        assert_eq!(verified(&signer, &unsigned), Err(TokenRefusal::Algorithm), "{algorithm}");
    }
    let signed = signer.token(&claims());
    let (body, signature) = signed.rsplit_once('.').unwrap();
    assert_eq!(verified(&signer, &format!("{body}.")), Err(TokenRefusal::Signature));
    let other =
        format!("{}.{}.{signature}", part(&signer.header()), part(&with("sub", "bob".into())));
    assert_eq!(verified(&signer, &other), Err(TokenRefusal::Signature));
}

#[test]
fn the_key_decides_the_algorithm() {
    for signer in Signer::all() {
        for other in ["HS256", "HS384", "RS256", "RS384", "PS256", "ES256", "ES384", "EdDSA"] {
            let token = signer.token_with(&json!({ "alg": other }), &claims());
            let expected = other == signer.algorithm();
            assert_eq!(
                verified(&signer, &token).is_ok(),
                expected,
                "{other} {}",
                signer.algorithm()
            );
        }
    }
}

#[test]
fn a_public_key_cannot_be_used_as_a_shared_secret() {
    let signer = Signer::ed25519();
    let forger = Signer::secret(signer.public_pem().as_bytes());
    let forged = forger.token(&claims());
    assert_eq!(verified(&signer, &forged), Err(TokenRefusal::Algorithm));
    assert!(verified(&forger, &forged).is_ok(), "the forged token is one of its own key");
}

#[test]
fn garbage_and_every_prefix_of_a_token_are_refused() {
    let signer = Signer::ed25519();
    let token = signer.token(&claims());
    for garbage in ["", ".", "..", "...", "a.b.c", "{}.{}.{}", "ä.ö.ü", &"x".repeat(9_000)] {
        assert_eq!(verified(&signer, garbage), Err(TokenRefusal::Malformed), "{garbage}");
    }
    for end in 0..token.len() {
        assert!(verified(&signer, token.get(..end).unwrap()).is_err(), "the first {end} bytes");
    }
    let long = signer.token(&with("sub", "x".repeat(8_192).into()));
    assert_eq!(verified(&signer, &long), Err(TokenRefusal::Malformed), "too long");
}

#[test]
fn a_critical_extension_refuses_a_token() {
    let signer = Signer::es256();
    let header = json!({ "alg": "ES256", "crit": ["b64"], "b64": false });
    let token = signer.token_with(&header, &claims());
    assert_eq!(verified(&signer, &token), Err(TokenRefusal::Malformed));
}

#[test]
fn roles_are_a_list_or_words_or_within_another_claim() {
    let signer = Signer::ed25519();
    let mut claims = claims();
    claims["realm_access"] = json!({ "roles": ["operator", 7] });
    claims["https://shop.example/roles"] = json!("clerk  customer");
    let token = signer.token(&claims);
    for (claim, roles) in [
        ("roles", vec!["clerk"]),
        ("realm_access.roles", vec!["operator"]),
        ("https://shop.example/roles", vec!["clerk", "customer"]),
        ("exp", vec![]),
        ("realm_access.groups", vec![]),
        ("none", vec![]),
    ] {
        let token = rule().roles_in(claim).verify(&KeySet::of([signer.key()]), &token, now());
        assert_eq!(token.unwrap().roles, roles, "{claim}");
    }
}

#[test]
fn a_token_is_verified_with_the_key_that_it_names() {
    let (old, new) = (Signer::ed25519(), Signer::ed25519());
    let keys = KeySet::of([old.key().named("old"), new.key().named("new")]);
    let token = |signer: &Signer, id: &str| {
        signer.token_with(&json!({ "alg": "EdDSA", "kid": id }), &claims())
    };
    let verify = |token: &str| rule().verify(&keys, token, now()).map(|token| token.subject);
    assert_eq!(verify(&token(&new, "new")), Ok("ann".to_owned()));
    assert_eq!(verify(&token(&new, "old")), Err(TokenRefusal::Signature));
    assert_eq!(verify(&token(&new, "newer")), Err(TokenRefusal::UnknownKey));
    assert_eq!(verify(&new.token(&claims())), Ok("ann".to_owned()), "it names no key");
}

#[test]
fn a_key_set_has_the_public_keys_for_signatures() {
    let signers = [Signer::rs256(), Signer::es256(), Signer::ed25519()];
    let mut keys: Vec<_> = signers.iter().map(Signer::web_key).collect();
    let secret = BASE64_URL_SAFE_NO_PAD.encode(signer::SECRET);
    keys.push(json!({ "kty": "oct", "k": secret }));
    keys.push(json!({ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" }));
    keys.push(json!("no key"));
    let set = KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    for signer in &signers {
        let verified = rule().verify(&set, &signer.token(&claims()), now());
        assert!(verified.is_ok(), "{}: {verified:?}", signer.algorithm());
    }
    let forged = Signer::secret(signer::SECRET).token(&claims());
    let refused = rule().verify(&set, &forged, now());
    assert_eq!(refused, Err(TokenRefusal::Algorithm), "a set has no shared secrets");
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    let short = VerifyingKey::shared_secret(b"secret").unwrap_err();
    assert_eq!(short, InvalidKey::ShortSecret { bytes: 6 });
    for text in ["", "secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert_eq!(VerifyingKey::from_pem(text.as_bytes()).unwrap_err(), InvalidKey::UnknownPem);
    }
    for (json, error) in [
        ("", InvalidKey::NotAKeySet),
        (r#"{"keys": {}}"#, InvalidKey::NotAKeySet),
        (r#"{"keys": []}"#, InvalidKey::NoUsableKey { keys: 0 }),
        (r#"{"keys": [{"kty": "EC", "crv": "P-521"}]}"#, InvalidKey::NoUsableKey { keys: 1 }),
    ] {
        assert_eq!(KeySet::from_jwks(json.as_bytes()).unwrap_err(), error, "{json}");
    }
}

#[test]
fn no_form_of_a_key_or_a_refusal_shows_a_secret() {
    let signer = Signer::secret(signer::SECRET);
    let secret = str::from_utf8(signer::SECRET).unwrap();
    let token = signer.token(&with("aud", "bank".into()));
    let refusal = verified(&signer, &token).unwrap_err();
    for text in [format!("{:?}", signer.key()), format!("{refusal:?}"), refusal.to_string()] {
        assert!(!text.contains(secret) && !text.contains(&token), "{text}");
    }
}
