//! HTTP client for the operations API of a running application.
//!
//! The application holds the store's lock, so operations on its processes and projections go
//! through it. Connections use plain HTTP, for the same machine or a trusted network.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use ureq::{Agent, Body, http::Response};

use crate::exit::Refusal;

/// Timeout of one request. Longer than the default time limit of an effect, which a retry waits
/// for.
const RESPONSE_WAIT_MAX: Duration = Duration::from_secs(90);

/// Limit on the size of a response body.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// Base URL of the running application.
#[derive(Args, Clone, Debug)]
pub(crate) struct Application {
    /// Base URL of the application's HTTP API for operations
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GESTA_AT",
        hide_env_values = true,
        default_value = "http://127.0.0.1:3000/v1"
    )]
    at: String,
}

/// A path below the base URL; dynamic segments are percent-encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(String);

impl Path {
    pub(crate) fn new(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Appends a percent-encoded segment.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.0.push('/');
        for byte in name.bytes() {
            // The unreserved characters of RFC 3986, and `:` and `@`, which a path may have too.
            // Everything else is escaped, above all `/` and `%`.
            let plain = byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte);
            if plain {
                self.0.push(char::from(byte));
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }

    /// Appends literal text.
    pub(crate) fn then(mut self, text: &'static str) -> Self {
        self.0.push_str(text);
        self
    }
}

impl Application {
    /// Fetches a JSON document.
    pub(crate) fn get(&self, path: &Path, query: &[(&str, &str)]) -> Result<String> {
        let request = self.agent().get(self.url(path)?).query_pairs(query.iter().copied());
        self.response(request.call())
    }

    /// Fetches the items of a list as raw JSON, page by page if it has some.
    pub(crate) fn items(&self, path: &Path) -> Result<Vec<Box<RawValue>>> {
        self.paged(path, &[], usize::MAX)
    }

    /// Fetches the items of a paginated list, up to `limit`.
    pub(crate) fn paged(
        &self,
        path: &Path,
        query: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>> {
        // Follow the cursors: the application limits the size of a page, not of the list.
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        while all.len() < limit {
            let next = cursor.as_deref().map(|cursor| ("cursor", cursor));
            let query: Vec<_> = query.iter().copied().chain(next).collect();
            let page = self.page(path, &query)?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        all.truncate(limit);
        Ok(all)
    }

    fn page(&self, path: &Path, query: &[(&str, &str)]) -> Result<Page> {
        let body = self.get(path, query)?;
        serde_json::from_str(&body).with_context(|| self.other_format())
    }

    /// Sends a POST request that changes the application's state.
    pub(crate) fn post(&self, path: &Path, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(|reason| ("reason", reason));
        let request = self.agent().post(self.url(path)?).query_pairs(reason);
        self.response(request.send_empty()).map(drop)
    }

    /// Sends a POST request that changes nothing, and returns the JSON document of its answer.
    pub(crate) fn ask(&self, path: &Path) -> Result<String> {
        let request = self.agent().post(self.url(path)?);
        self.response(request.send_empty())
    }

    /// Sends a DELETE request.
    pub(crate) fn delete(&self, path: &Path, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(|reason| ("reason", reason));
        let request = self.agent().delete(self.url(path)?).query_pairs(reason);
        self.response(request.call()).map(drop)
    }

    fn url(&self, path: &Path) -> Result<String> {
        // There is no TLS in this client, so https:// would fail later with a vaguer message.
        if !self.at.starts_with("http://") {
            bail!("--at must be an http:// URL, such as http://127.0.0.1:3000/v1; got {}", self.at);
        }
        Ok(format!("{}{}", self.at.trim_end_matches('/'), path.0))
    }

    /// An HTTP client that reads the bodies of error responses too: they hold problem details.
    fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(RESPONSE_WAIT_MAX))
            // A proxy for the web must not receive operations of a local application.
            .proxy(None)
            .build();
        config.into()
    }

    fn response(&self, answered: Result<Response<Body>, ureq::Error>) -> Result<String> {
        let mut response = answered.map_err(|error| self.no_response(&error))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_string();
        let body = body.with_context(|| format!("the response of {} is incomplete", self.at))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(self.refusal(status, &serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The error text for a response body that this version cannot parse.
    pub(crate) fn other_format(&self) -> String {
        format!(
            "unexpected response from {}: --at must be the URL of a Gesta application whose version \
             matches this program",
            self.at
        )
    }

    fn refusal(&self, status: u16, problem: &Value) -> anyhow::Error {
        // Problem details (RFC 9457) of a Gesta application have a `code`. Any other server, or a
        // wrong base path, answers without one.
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let (code, detail) = (text("code"), text("detail"));
        if code.as_deref() == Some("no-such-route") || code.is_none() {
            let at = &self.at;
            return anyhow::anyhow!(
                "{at} does not offer this operation (HTTP status {status}); --at must be the base \
                 URL of the application's operations, such as http://127.0.0.1:3000/v1"
            );
        }
        let code = code.unwrap_or_default();
        let detail = detail.unwrap_or_else(|| format!("HTTP status {status}"));
        let message = format!("{detail} ({code})");
        // The same exit codes as for commands on the store itself: 3 not found, 1 refused.
        let refusal = match status {
            404 => Refusal::not_found(code, message),
            409 | 412 | 422 => Refusal::refused(code, message),
            _ => Refusal::usage(code, message),
        };
        refusal.into()
    }

    fn no_response(&self, error: &ureq::Error) -> Refusal {
        let message = format!(
            "no response from {}: {error}. Start the application, or pass its URL with --at",
            self.at
        );
        Refusal::usage("no-answer", message)
    }
}

/// One page of a list.
#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_escaped() {
        let path = Path::new("/processes").name("welcome").then("/instances").name("a/b c%ä");
        assert_eq!(path.0, "/processes/welcome/instances/a%2Fb%20c%25%C3%A4");
        assert_eq!(Path::default().name("instance:ann@x").0, "/instance:ann@x");
    }
}
