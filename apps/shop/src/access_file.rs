//! The file of access: tokens, API keys, a trusted proxy and the limit of requests.
//!
//! Invariants: the file has no secrets, it names files that have them; their paths are relative to
//! its folder. The files with keys are read again when they are replaced; this file is read once.
//! Not here: the rules, which are part of the shop ([`shop::access`]).

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use gesta_http::{
    Access, AddressRange, ApiKeyFile, BearerTokens, RateLimit, TokenKeyFile, TrustedProxy,
};
use gesta_tokens::TokenRule;
use serde::Deserialize;
use shop::access::{Customers, rules};

/// The sections of the file.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AccessFile {
    tokens: Option<Tokens>,
    api_keys: Option<KeyFile>,
    proxy: Option<Proxy>,
    limit: Option<Limit>,
}

/// Bearer tokens of one issuer.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Tokens {
    issuer: String,
    audience: String,
    /// Files with public keys in PEM, or with JSON web key sets, whose names end with `.json`.
    #[serde(default)]
    keys: Vec<PathBuf>,
    /// File with a secret that the issuer shares, for HS256.
    secret: Option<PathBuf>,
    /// URL of a JSON web key set.
    jwks: Option<String>,
    /// Claim of the roles, or the path of one.
    roles: Option<String>,
    /// Claim of the tenant, or the path of one.
    tenant: Option<String>,
    leeway_seconds: Option<u64>,
}

/// The file of the hashes of API keys.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    file: PathBuf,
}

/// A proxy that authenticates.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Proxy {
    peers: Vec<String>,
    actor: String,
    roles: Option<String>,
    tenant: Option<String>,
}

/// The rate of requests of each actor.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Limit {
    requests_per_minute: u32,
    burst: Option<u32>,
}

/// Reads the file, and the files that it names.
pub(crate) fn read(path: &Path) -> Result<Access> {
    access_of(path).with_context(|| format!("cannot use the access file {}", path.display()))
}

fn access_of(path: &Path) -> Result<Access> {
    let file: AccessFile = toml_edit::de::from_str(&fs::read_to_string(path)?)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    ensure!(
        file.tokens.is_some() || file.api_keys.is_some() || file.proxy.is_some(),
        "it has none of [tokens], [api-keys] and [proxy], so nobody could use the shop",
    );
    let mut access = Access::new(rules()).ownership(Customers);
    if let Some(KeyFile { file }) = file.api_keys {
        access = access.by(ApiKeyFile::open(folder.join(file))?);
    }
    if let Some(tokens) = file.tokens {
        access = tokens.add_to(access, folder)?;
    }
    if let Some(proxy) = file.proxy {
        access = access.by(proxy.trusted()?);
    }
    Ok(match file.limit {
        Some(limit) => access.limit(limit.rate()?),
        None => access,
    })
}

impl Tokens {
    fn add_to(self, access: Access, folder: &Path) -> Result<Access> {
        let mut rule = TokenRule::new(self.issuer, self.audience);
        if let Some(claim) = self.roles {
            rule = rule.roles_in(claim);
        }
        if let Some(claim) = self.tenant {
            rule = rule.tenant_in(claim);
        }
        if let Some(seconds) = self.leeway_seconds {
            rule = rule.leeway(Duration::from_secs(seconds));
        }
        if let Some(url) = &self.jwks {
            let is_alone = self.keys.is_empty() && self.secret.is_none();
            ensure!(is_alone, "[tokens] has `jwks`, which takes the place of `keys` and `secret`");
            return Ok(access.by(by_url(rule, url)?));
        }
        let of_keys = self.keys.iter().map(|file| match file.extension() {
            Some(extension) if extension == "json" => TokenKeyFile::KeySet(folder.join(file)),
            _ => TokenKeyFile::PublicKey(folder.join(file)),
        });
        let secret = self.secret.map(|file| TokenKeyFile::Secret(folder.join(file)));
        let files: Vec<_> = of_keys.chain(secret).collect();
        ensure!(!files.is_empty(), "[tokens] has no key: give `keys`, `jwks` or `secret`");
        Ok(access.by(BearerTokens::from_files(rule, files)?))
    }
}

#[cfg(feature = "jwks")]
fn by_url(rule: TokenRule, url: &str) -> Result<BearerTokens> {
    BearerTokens::from_url(rule, url).context("[tokens] jwks")
}

#[cfg(not(feature = "jwks"))]
fn by_url(_: TokenRule, _: &str) -> Result<BearerTokens> {
    anyhow::bail!(
        "[tokens] has `jwks`, and this program was built without it; build it with `--features jwks`"
    )
}

impl Proxy {
    fn trusted(self) -> Result<TrustedProxy> {
        let peers: Result<Vec<AddressRange>, _> =
            self.peers.iter().map(|peer| peer.parse()).collect();
        let peers = peers.context("[proxy] peers")?;
        ensure!(!peers.is_empty(), "[proxy] has no peers, so its headers would never count");
        let proxy = TrustedProxy::new(&self.actor, peers).context("[proxy] actor")?;
        let proxy = match &self.roles {
            Some(roles) => proxy.roles_in(roles).context("[proxy] roles")?,
            None => proxy,
        };
        match &self.tenant {
            Some(tenant) => proxy.tenant_in(tenant).context("[proxy] tenant"),
            None => Ok(proxy),
        }
    }
}

impl Limit {
    fn rate(&self) -> Result<RateLimit> {
        let minute = Duration::from_secs(60);
        let interval = minute.checked_div(self.requests_per_minute);
        let interval = interval.context("[limit] `requests-per-minute` must be at least 1")?;
        Ok(RateLimit::every(interval).burst(self.burst.unwrap_or(self.requests_per_minute)))
    }
}
