//! Verification of JSON web tokens (RFC 7519, RFC 7515).
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use gesta_tokens::{KeySet, TokenRefusal, TokenRule, VerifyingKey};
//!
//! let key = VerifyingKey::shared_secret(b"a secret of at least thirty-two bytes")?;
//! let rule = TokenRule::new("https://id.example", "shop");
//! let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
//! let refused = rule.verify(&KeySet::of([key]), "garbage", now);
//! assert!(matches!(refused, Err(TokenRefusal::Malformed)));
//! # Ok::<(), gesta_tokens::InvalidKey>(())
//! ```
//!
//! Owns: keys and their algorithms ([`VerifyingKey`]), sets of keys ([`KeySet`]), and the rule that
//! a token must satisfy ([`TokenRule`]).
//!
//! Invariants:
//! - The key decides the algorithm. What a token says about its algorithm can only refuse it.
//! - Nothing in a token is believed before its signature is verified, except for the id of its key.
//! - A token without an expiry, an issuer, an audience or a subject is refused.
//! - No error and no `Debug` form shows a token or a secret.
//!
//! Not here: signing tokens, fetching keys, and the rights of a subject. The time is passed in.

mod claims;
mod der;
mod key;
mod key_set;
mod rule;

pub use key::{InvalidKey, VerifyingKey};
pub use key_set::KeySet;
pub use rule::{Token, TokenRefusal, TokenRule};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
