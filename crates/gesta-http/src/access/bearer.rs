//! Principals by bearer tokens (RFC 6750) that are JSON web tokens.
//!
//! Not here: the verification of a token (`gesta-tokens`).

use std::{sync::Arc, time::SystemTime};

use axum::http::request::Parts;
use gesta::ParseTenantIdError;
use gesta_tokens::{KeySet, Token, TokenRefusal, TokenRule};

#[cfg(feature = "jwks")]
use super::web_keys::{InvalidKeySetUrl, WebKeys};
use super::{
    TokenKeyFile, UnusableKeyFile,
    api_keys::PREFIX,
    authenticate::bearer,
    key_files::{KeyFiles, token_keys},
};
use crate::{Authenticate, Principal, Problem};

/// Finds the principal in a bearer token: the subject is the actor.
///
/// ```
/// use gesta_http::{Access, AccessRules, BearerTokens};
/// use gesta_tokens::{KeySet, TokenRule, VerifyingKey};
///
/// # let pem = b"-----BEGIN PUBLIC KEY-----\n\
/// #     MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
/// #     -----END PUBLIC KEY-----\n";
/// let keys = KeySet::of([VerifyingKey::from_pem(pem)?]);
/// let tokens = BearerTokens::new(TokenRule::new("https://id.example", "shop"), keys);
/// let access = Access::new(AccessRules::default()).by(tokens);
/// # drop(access);
/// # Ok::<(), gesta_tokens::InvalidKey>(())
/// ```
#[derive(Clone, Debug)]
pub struct BearerTokens {
    rule: TokenRule,
    keys: KeySource,
}

#[derive(Clone, Debug)]
enum KeySource {
    Fixed(Arc<KeySet>),
    Files(Arc<KeyFiles<KeySet>>),
    #[cfg(feature = "jwks")]
    Web(Arc<WebKeys>),
}

impl BearerTokens {
    /// Accepts tokens that satisfy a rule, and are signed with one of these keys.
    #[must_use]
    pub fn new(rule: TokenRule, keys: KeySet) -> Self {
        Self { rule, keys: KeySource::Fixed(Arc::new(keys)) }
    }

    /// Accepts tokens that satisfy a rule, and are signed with a key in one of these files. Blocks.
    ///
    /// Files that are replaced are taken up within a second. While one of them cannot be read or
    /// used, the keys from before count.
    ///
    /// # Errors
    /// [`UnusableKeyFile`] for the first file that cannot be read or used.
    pub fn from_files(
        rule: TokenRule,
        files: impl IntoIterator<Item = TokenKeyFile>,
    ) -> Result<Self, UnusableKeyFile> {
        let keys = token_keys(files.into_iter().collect())?;
        Ok(Self { rule, keys: KeySource::Files(Arc::new(keys)) })
    }

    /// Accepts tokens that satisfy a rule, and are signed with a key of the JSON web key set at a
    /// URL.
    ///
    /// The set is fetched for the first token, every ten minutes, and for a token that names a key
    /// which is not known, at most once a minute. A fetch takes at most 5 s and 256 KiB. While the
    /// issuer cannot be reached, the keys that are known count; without any, tokens are answered
    /// with 503 (`identity-unavailable`).
    ///
    /// # Errors
    /// [`InvalidKeySetUrl`] for a URL that is not encrypted, unless its host is this machine.
    #[cfg(feature = "jwks")]
    pub fn from_url(rule: TokenRule, url: &str) -> Result<Self, InvalidKeySetUrl> {
        Ok(Self { rule, keys: KeySource::Web(Arc::new(WebKeys::new(url)?)) })
    }

    async fn verify(&self, token: &str, now: SystemTime) -> Result<Token, Problem> {
        let verified = match &self.keys {
            KeySource::Fixed(keys) => self.rule.verify(keys, token, now),
            KeySource::Files(files) => self.rule.verify(&*files.at(now).await, token, now),
            #[cfg(feature = "jwks")]
            KeySource::Web(web) => {
                match self.rule.verify(&*web.keys(now).await?, token, now) {
                    // The issuer may have a new key.
                    Err(TokenRefusal::UnknownKey) => match web.newer_keys(now).await {
                        Some(keys) => self.rule.verify(&keys, token, now),
                        None => Err(TokenRefusal::UnknownKey),
                    },
                    verified => verified,
                }
            }
        };
        verified.map_err(|refusal: TokenRefusal| {
            let detail = format!("the bearer token is refused: {refusal}");
            Problem::unauthenticated(detail).invalid_token()
        })
    }
}

impl Authenticate for BearerTokens {
    async fn authenticate(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        // API keys may come in the same header. No token begins like one.
        let token = bearer(request)?.filter(|token| !token.starts_with(PREFIX));
        let Some(token) = token else { return Ok(None) };
        let Token { subject, roles, tenant, ends, .. } = self.verify(token, now).await?;
        let principal = Principal::new(subject, roles).map_err(|invalid| {
            let detail = format!("the subject of the bearer token is refused: {invalid}");
            Problem::unauthenticated(detail).invalid_token()
        })?;
        let principal = principal.until(ends);
        let Some(tenant) = tenant else { return Ok(Some(principal)) };
        // The claim is not repeated: it may be long.
        let tenant = tenant.parse().map_err(|invalid: ParseTenantIdError| {
            let detail = format!("the tenant of the bearer token is refused: {invalid}");
            Problem::unauthenticated(detail).invalid_token()
        })?;
        Ok(Some(principal.of_tenant(tenant)))
    }
}
