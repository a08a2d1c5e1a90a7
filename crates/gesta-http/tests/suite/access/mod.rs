//! Access: who calls, and what they may do.

mod credentials;
mod feeds;
mod key_files;
mod log;
mod routes;
pub(crate) mod signer;
mod sockets;
#[cfg(feature = "jwks")]
mod web_keys;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, request::Parts},
};
use gesta::{Gesta, testing::VirtualClock};
use gesta_http::{
    Access, AccessRole, AccessRules, Authenticate, BearerTokens, GestaState, Principal, Problem,
    Right,
};
use gesta_tokens::{KeySet, TokenRule};
use serde_json::{Value, json};

use self::signer::Signer;
use crate::{api, asked, send};

const ISSUER: &str = "https://id.example";

/// An application with an access, and its clock.
struct Guarded {
    gesta: Gesta,
    clock: VirtualClock,
    router: Router,
}

impl Guarded {
    async fn by(access: Access) -> Self {
        log::collect();
        let clock = VirtualClock::new();
        let gesta = Gesta::at("memory:").clock(clock.clone()).open().await.unwrap();
        let router = api().router(GestaState::new(gesta.clone()).access(access));
        Self { gesta, clock, router }
    }

    /// Sends a request with headers.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> (u16, HeaderMap, Value) {
        send(self.router.clone(), with_headers(asked(method, path), headers)).await
    }

    /// Returns the actors of all events in the store.
    async fn actors(&self) -> Vec<String> {
        let read = gesta::store::ReadAll::forwards();
        let events = self.gesta.store().read_all(read).collect_events().await.unwrap();
        let actor = |metadata: &_| gesta::EventMetadata::from_json(metadata).actor;
        events.iter().map(|event| actor(&event.metadata).unwrap_or_default()).collect()
    }
}

fn with_headers(mut request: Request<Body>, headers: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// The rules of the doors: a porter opens them and sees histories, a keeper may do everything.
fn rules() -> AccessRules {
    let porter = AccessRole::named("porter").has([Right::Command, Right::Query]);
    AccessRules::new([porter, AccessRole::named("keeper").has(Right::ALL)])
}

fn access() -> Access {
    Access::new(rules())
}

/// The name and the roles in the header `X-Test`: a hook of the application.
pub(crate) struct Named;

impl Authenticate for Named {
    async fn authenticate(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        let Some(text) = request.headers.get("x-test") else { return Ok(None) };
        // A hook may wait, such as for a database.
        tokio::task::yield_now().await;
        let mut words = text.to_str().unwrap_or_default().split(' ');
        let actor = words.next().unwrap_or_default();
        if actor == "nobody" {
            return Err(Problem::unauthenticated("nobody may not enter"));
        }
        let principal = Principal::new(actor, words.filter(|word| *word != "brief"));
        let principal = principal.map_err(|_| Problem::unauthenticated("the name is odd"))?;
        let is_brief = text.to_str().unwrap_or_default().ends_with("brief");
        let ends = now + Duration::from_secs(60);
        Ok(Some(if is_brief { principal.until(ends) } else { principal }))
    }
}

fn tokens(signer: &Signer) -> BearerTokens {
    BearerTokens::new(TokenRule::new(ISSUER, "doors"), KeySet::of([signer.key()]))
}

/// The claims of a porter's token at the beginning of virtual time.
fn claims() -> Value {
    let end = 1_000_000_000 + 60;
    json!({ "sub": "ann", "iss": ISSUER, "aud": "doors", "exp": end, "roles": ["porter"] })
}

fn now_of(clock: &VirtualClock) -> u64 {
    gesta::Clock::now(clock).duration_since(UNIX_EPOCH).unwrap().as_secs()
}
