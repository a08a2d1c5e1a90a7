//! The keys of an issuer, by the URL of its JSON web key set.
//!
//! Invariants:
//! - At most one fetch is in flight, and unknown keys cause at most one in [`UNKNOWN_INTERVAL`]: a
//!   flood of forged tokens costs the issuer nothing.
//! - A fetch is bounded in size and time.
//! - Keys that are known are used while an issuer cannot be reached, and requests do not wait for
//!   their renewal.
//! - A URL is encrypted, unless its host is this machine.
//!
//! Not here: verification (`gesta-tokens`).

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    body::Bytes,
    http::{Request, StatusCode, Uri},
};
use gesta_tokens::KeySet;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

use crate::Problem;

/// Minimum time between two fetches that unknown keys cause.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum time between two fetches while there are no keys at all.
const FAILED_INTERVAL: Duration = Duration::from_secs(5);
/// Age of the keys at which they are fetched again.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Maximum time of a fetch.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
/// Maximum size of a key set, in bytes.
const SET_BYTES_MAX: usize = 256 << 10;

/// The error for a URL that keys cannot be fetched from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("the URL of a key set must begin with https://, or be on loopback, and name no user")]
pub struct InvalidKeySetUrl;

/// The keys behind a URL.
pub(super) struct WebKeys {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    known: Mutex<Known>,
    /// Held during a fetch.
    fetching: AsyncMutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    /// Time of the last fetch, also of one that failed.
    fetched_at: Option<SystemTime>,
}

/// The reason for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchReason {
    /// There are no keys.
    Missing,
    /// A token names a key that is not known.
    Unknown,
    /// The keys are old.
    Age,
}

impl FetchReason {
    const fn interval(self) -> Duration {
        match self {
            Self::Missing => FAILED_INTERVAL,
            Self::Unknown => UNKNOWN_INTERVAL,
            Self::Age => AGE_MAX,
        }
    }
}

impl WebKeys {
    pub(super) fn new(url: &str) -> Result<Self, InvalidKeySetUrl> {
        let parsed: Uri = url.parse().map_err(|_| InvalidKeySetUrl)?;
        let host = parsed.host().ok_or(InvalidKeySetUrl)?;
        // A password would be in the log with the URL.
        let has_user = parsed.authority().is_some_and(|it| it.as_str().contains('@'));
        let is_encrypted = parsed.scheme_str() == Some("https");
        let is_local = parsed.scheme_str() == Some("http") && is_loopback(host);
        if has_user || !is_encrypted && !is_local {
            return Err(InvalidKeySetUrl);
        }
        let client = Client::builder(TokioExecutor::new()).build(connector());
        let (known, fetching) = (Mutex::default(), AsyncMutex::default());
        Ok(Self { url: parsed, client, known, fetching })
    }

    /// Returns the keys, which are fetched first if there are none. One request waits for the
    /// renewal of old ones; others go on.
    pub(super) async fn keys(&self, now: SystemTime) -> Result<Arc<KeySet>, Problem> {
        let Some(keys) = self.known().keys else {
            self.fetch(FetchReason::Missing, now).await;
            return self.known().keys.ok_or_else(|| {
                let detail = "the keys of the issuer cannot be fetched; try again in some seconds";
                Problem::unavailable("identity-unavailable", detail).retry_after(FAILED_INTERVAL)
            });
        };
        if self.is_due(FetchReason::Age, now)
            && let Ok(_fetching) = self.fetching.try_lock()
        {
            self.fetch_now(now).await;
            return Ok(self.known().keys.unwrap_or(keys));
        }
        Ok(keys)
    }

    /// Returns the keys after a token has named one that is not among them. They are fetched again
    /// if that was not done lately.
    pub(super) async fn newer_keys(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        self.fetch(FetchReason::Unknown, now).await;
        self.known().keys
    }

    /// Fetches the keys if this is due, after a fetch that is in flight.
    async fn fetch(&self, reason: FetchReason, now: SystemTime) {
        if !self.is_due(reason, now) {
            return;
        }
        let _fetching = self.fetching.lock().await;
        // The one before may have been the fetch that this request wants.
        if self.is_due(reason, now) {
            self.fetch_now(now).await;
        }
    }

    async fn fetch_now(&self, now: SystemTime) {
        let fetched = timeout(FETCH_WITHIN, self.download()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.fetched_at = Some(now);
        match fetched {
            Ok(keys) => known.keys = Some(Arc::new(keys)),
            Err(reason) => {
                tracing::warn!(url = %self.url, reason, "cannot fetch the keys of bearer tokens");
            }
        }
    }

    async fn download(&self) -> Result<KeySet, String> {
        let request = Request::get(self.url.clone()).header("accept", "application/json");
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| chain(&error))?;
        // A redirect is none either: it could lead to an address that was not given.
        if response.status() != StatusCode::OK {
            return Err(format!("it answered with {}", response.status()));
        }
        let body = Limited::new(response.into_body(), SET_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("its answer broke off: {error}"))?;
        KeySet::from_jwks(&body.to_bytes()).map_err(|error| error.to_string())
    }

    fn is_due(&self, reason: FetchReason, now: SystemTime) -> bool {
        let fetched_at = self.known().fetched_at;
        fetched_at.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age >= reason.interval()))
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for WebKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebKeys").field("url", &self.url).finish_non_exhaustive()
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn connector() -> HttpsConnector<HttpConnector> {
    let mut authorities = RootCertStore::empty();
    // Systems have some that are no longer valid; the others count.
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let mut plain = HttpConnector::new();
    plain.set_connect_timeout(Some(FETCH_WITHIN));
    plain.enforce_http(false);
    let builder = HttpsConnectorBuilder::new().with_tls_config(config);
    builder.https_or_http().enable_http1().wrap_connector(plain)
}

/// Returns an error with its causes: a client's own text does not say why it failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
