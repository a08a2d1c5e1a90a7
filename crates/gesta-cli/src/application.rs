//! A running application, asked over HTTP: the store is locked by it, so only it can act.
//!
//! Owns the client, and how what it is answered becomes an answer or an error of the program. The
//! application is reached without TLS, which is for the same machine or a network that is trusted.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use ureq::{Agent, Body, http::Response};

use crate::exit::Refusal;

/// The time that an answer may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The running application that a verb talks to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Application {
    /// The running application: the URL under which its operations are.
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

/// A path under the application's operations; names in it are escaped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path(String);

impl Path {
    /// A path of fixed text.
    pub(crate) fn new(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Adds a segment that is a name.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.0.push('/');
        for byte in name.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte);
            if plain {
                self.0.push(char::from(byte));
            } else {
                self.0.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }

    /// Adds fixed text.
    pub(crate) fn then(mut self, text: &'static str) -> Self {
        self.0.push_str(text);
        self
    }
}

impl Application {
    /// Reads one document, in JSON.
    pub(crate) fn get(&self, path: &Path, query: &[(&str, &str)]) -> Result<String> {
        let request = self.agent().get(self.url(path)?).query_pairs(query.iter().copied());
        self.answer(request.call())
    }

    /// Reads the items of a list, each as it was written.
    pub(crate) fn items(&self, path: &Path) -> Result<Vec<Box<RawValue>>> {
        Ok(self.page(path, &[])?.items)
    }

    /// Reads the items of a list page by page, at most so many.
    pub(crate) fn paged(
        &self,
        path: &Path,
        query: &[(&str, &str)],
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>> {
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

    /// Gives an order.
    pub(crate) fn post(&self, path: &Path, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(|reason| ("reason", reason));
        let request = self.agent().post(self.url(path)?).query_pairs(reason);
        self.answer(request.send_empty()).map(drop)
    }

    /// Gives the order to remove something.
    pub(crate) fn delete(&self, path: &Path, reason: Option<&str>) -> Result<()> {
        let reason = reason.map(|reason| ("reason", reason));
        let request = self.agent().delete(self.url(path)?).query_pairs(reason);
        self.answer(request.call()).map(drop)
    }

    fn url(&self, path: &Path) -> Result<String> {
        if !self.at.starts_with("http://") {
            bail!(
                "--at {} is no URL that begins with http://, such as http://127.0.0.1:3000/v1",
                self.at
            );
        }
        Ok(format!("{}{}", self.at.trim_end_matches('/'), path.0))
    }

    /// Answers that are problems are read like others, for the sake of what they say.
    fn agent(&self) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WAIT_MAX))
            .proxy(None)
            .build();
        config.into()
    }

    fn answer(&self, answered: Result<Response<Body>, ureq::Error>) -> Result<String> {
        let mut response = answered.map_err(|error| self.silence(&error))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.with_context(|| format!("the answer of {} breaks off", self.at))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(self.refusal(status, &serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The explanation of an answer that is not as an application of this version answers.
    pub(crate) fn other_format(&self) -> String {
        format!("{} answers in another format: is it a Gesta application of this version?", self.at)
    }

    fn refusal(&self, status: u16, problem: &Value) -> anyhow::Error {
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let (code, detail) = (text("code"), text("detail"));
        if code.as_deref() == Some("no-such-route") || code.is_none() {
            let at = &self.at;
            return anyhow::anyhow!(
                "{at} has no such operation (status {status}): --at names the URL under which the \
                 application has its operations, such as http://127.0.0.1:3000/v1"
            );
        }
        let code = code.unwrap_or_default();
        let detail = detail.unwrap_or_else(|| format!("status {status}"));
        let message = format!("{detail} ({code})");
        let refusal = match status {
            404 => Refusal::absent(code, message),
            409 | 412 | 422 => Refusal::no(code, message),
            _ => Refusal::usage(code, message),
        };
        refusal.into()
    }

    fn silence(&self, error: &ureq::Error) -> Refusal {
        let message = format!(
            "no answer from {}: is the application running there? Start it, or name another place \
             with --at URL: {error}",
            self.at
        );
        Refusal::usage("no-answer", message)
    }
}

/// A part of a list.
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
