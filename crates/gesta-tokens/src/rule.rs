//! The rule that a token must satisfy.
//!
//! Not here: keys and their algorithms ([`key`](crate::key)).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    KeySet,
    claims::{Claims, Header},
};

/// Maximum length of a token, in bytes.
const TOKEN_BYTES_MAX: usize = 8_192;
/// Difference of clocks that is tolerated by default.
const LEEWAY: Duration = Duration::from_secs(30);
/// Maximum difference of clocks that can be tolerated.
const LEEWAY_MAX: Duration = Duration::from_secs(3_600);
/// Maximum number of seconds since 1970 in a claim: the end of the year 9999.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// The issuer, the audience and the roles of accepted tokens.
///
/// ```
/// use std::time::Duration;
/// use gesta_tokens::TokenRule;
///
/// let rule = TokenRule::new("https://id.example", "shop");
/// let rule = rule.roles_in("realm_access.roles").leeway(Duration::from_secs(5));
/// assert!(format!("{rule:?}").contains("https://id.example"));
/// ```
#[derive(Clone, Debug)]
pub struct TokenRule {
    issuer: String,
    audience: String,
    roles: String,
    tenant: Option<String>,
    leeway: Duration,
}

/// A verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The subject (`sub`).
    pub subject: String,
    /// The roles, in the token's order.
    pub roles: Vec<String>,
    /// The tenant, if the rule names a claim for it and the token has one that is a text.
    pub tenant: Option<String>,
    /// The time from which on the token is refused, leeway included.
    pub ends: SystemTime,
}

/// The reason for which a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// The text is no signed token.
    #[error("it is no signed JSON web token")]
    Malformed,
    /// No key has the algorithm of the token. Unsigned tokens have the algorithm `none`.
    #[error("it is unsigned, or signed by an algorithm that is not accepted")]
    Algorithm,
    /// The token names a key that the set does not have.
    #[error("it is signed with a key that is not known")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("its signature is wrong")]
    Signature,
    /// The token is of another issuer, or of none.
    #[error("it is of another issuer")]
    Issuer,
    /// The token is for another audience, or for none.
    #[error("it is for another audience")]
    Audience,
    /// The token has no subject.
    #[error("it has no subject")]
    Subject,
    /// The token has expired, or never does.
    #[error("it has expired, or has no expiry")]
    Expired,
    /// The token is not valid yet.
    #[error("it is not valid yet")]
    NotYet,
}

impl TokenRule {
    /// Accepts tokens of this issuer (`iss`) for this audience (`aud`), with a leeway of 30 s and
    /// roles in the claim `roles`.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            roles: "roles".to_owned(),
            tenant: None,
            leeway: LEEWAY,
        }
    }

    /// Sets the claim of the roles, or the path of one within a claim: `realm_access.roles`.
    #[must_use]
    pub fn roles_in(self, claim: impl Into<String>) -> Self {
        Self { roles: claim.into(), ..self }
    }

    /// Sets the claim of the tenant, or the path of one within a claim. Tokens name no tenant by
    /// default.
    #[must_use]
    pub fn tenant_in(self, claim: impl Into<String>) -> Self {
        Self { tenant: Some(claim.into()), ..self }
    }

    /// Sets the difference between the clocks of the issuer and of this program that is tolerated,
    /// at most an hour.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        Self { leeway: leeway.min(LEEWAY_MAX), ..self }
    }

    /// Verifies a token. Blocks for the time of one signature with each key that may have signed
    /// it: some 30 µs for RSA.
    ///
    /// # Errors
    /// The reason for which the token is refused. [`TokenRefusal::UnknownKey`] may pass with a
    /// newer set of keys.
    pub fn verify(
        &self,
        keys: &KeySet,
        token: &str,
        now: SystemTime,
    ) -> Result<Token, TokenRefusal> {
        let claims = verified_claims(keys, token)?;
        if claims.text("iss") != Some(&self.issuer) {
            return Err(TokenRefusal::Issuer);
        }
        if !claims.is_for(&self.audience) {
            return Err(TokenRefusal::Audience);
        }
        let expiry = claims.seconds("exp").ok().flatten().and_then(time_of);
        let ends = expiry.ok_or(TokenRefusal::Expired)? + self.leeway;
        if ends <= now {
            return Err(TokenRefusal::Expired);
        }
        // A beginning that cannot be read never comes.
        let begin = claims.seconds("nbf").map_err(|_| TokenRefusal::NotYet)?;
        if begin.is_some_and(|begin| time_of(begin).is_none_or(|it| it > now + self.leeway)) {
            return Err(TokenRefusal::NotYet);
        }
        let subject = claims.text("sub").filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(TokenRefusal::Subject)?.to_owned();
        let tenant = self.tenant.as_deref().and_then(|name| claims.text_at(name));
        let tenant = tenant.map(str::to_owned);
        Ok(Token { subject, roles: claims.roles(&self.roles), tenant, ends })
    }
}

/// Returns the claims of a token whose signature is that of one of the keys.
fn verified_claims(keys: &KeySet, token: &str) -> Result<Claims, TokenRefusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenRefusal::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
    let header: Header = parsed(header)?;
    let signature = decoded(signature)?;
    // An extension that is critical is one that this code does not know (RFC 7515, section 4.1.11).
    if header.crit.is_some() {
        return Err(TokenRefusal::Malformed);
    }
    let mut refusal = match keys.candidates(None).any(|key| key.algorithm() == header.alg) {
        // The algorithm is the key's. One that no key has refuses the token, `none` among them.
        false => return Err(TokenRefusal::Algorithm),
        true => TokenRefusal::UnknownKey,
    };
    for key in keys.candidates(header.kid.as_deref()) {
        if key.algorithm() != header.alg {
            continue;
        }
        if key.verifies(signed.as_bytes(), &signature) {
            return parsed(claims);
        }
        refusal = TokenRefusal::Signature;
    }
    Err(refusal)
}

fn parsed<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenRefusal> {
    serde_json::from_slice(&decoded(part)?).map_err(|_| TokenRefusal::Malformed)
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}

/// Returns the time of a numeric date (RFC 7519, section 2), or `None` before 1970 and after 9999.
fn time_of(seconds: f64) -> Option<SystemTime> {
    let is_date = (0.0..=SECONDS_MAX).contains(&seconds);
    is_date.then(|| UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
