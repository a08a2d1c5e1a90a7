//! The connection: the vendor's client with this crate's limits of time and retries.
//!
//! Owns: how it is built from a URL, and the count of consumed units. Credentials come from the
//! standard chain and appear in no message. Not here: requests (`table.rs`).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Builder, Region, retry::RetryConfig, timeout::TimeoutConfig},
    types::ConsumedCapacity,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::url::DynamoUrl;

/// Time in which a connection has to be there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Time of one attempt of a request, and of all its attempts.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// Attempts of a request that is safe to repeat.
const ATTEMPTS_MAX: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Retries of a request that is safe to repeat: after throttling, errors of the server and lost
/// connections, with pauses that double and vary.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(PAUSE_MAX)
}

/// Builds the client. Makes no request besides those that find credentials.
pub(crate) async fn connect(url: &DynamoUrl) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let region = Region::new(url.region().to_owned());
    let builder = if url.is_emulator() {
        let fixed = Credentials::new("emulator", "emulator", None, None, "emulator=yes");
        Builder::new().behavior_version(BehaviorVersion::latest()).credentials_provider(fixed)
    } else {
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(region.clone());
        Builder::from(&loader.http_client(http.clone()).load().await)
    };
    let times = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME_MAX)
        .operation_attempt_timeout(ATTEMPT_TIME_MAX)
        .operation_timeout(REQUEST_TIME_MAX)
        .build();
    let mut builder =
        builder.region(region).http_client(http).timeout_config(times).retry_config(retries());
    if let Some(endpoint) = url.endpoint() {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}

/// Capacity units that requests have consumed.
///
/// A read unit is a consistent read of up to 4 KB, a write unit a write of up to 1 KB, as the
/// server counts them. On-demand tables are billed by them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ConsumedUnits {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub written: f64,
}

/// The count of consumed units, in thousandths.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
}

/// The kind of a request, for servers that do not tell read from write units.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Meter {
    pub(crate) fn add(&self, access: Access, consumed: Option<&ConsumedCapacity>) {
        let Some(units) = consumed.and_then(ConsumedCapacity::capacity_units) else { return };
        let counter = match access {
            Access::Read => &self.read,
            Access::Write => &self.written,
        };
        // The server counts halves.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "units of one request are few and not negative"
        )]
        counter.fetch_add((units * 1_000.0).round() as u64, Ordering::Relaxed);
    }

    pub(crate) fn consumed(&self) -> ConsumedUnits {
        #[expect(clippy::cast_precision_loss, reason = "a report for people")]
        let units = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 1_000.0;
        ConsumedUnits { read: units(&self.read), written: units(&self.written) }
    }
}
