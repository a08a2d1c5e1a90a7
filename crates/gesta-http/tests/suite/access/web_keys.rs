//! Keys of an issuer that are fetched by URL.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::get};
use gesta_http::BearerTokens;
use gesta_tokens::TokenRule;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Guarded, ISSUER, access, claims, signer::Signer};

const OPEN: &str = "/doors/7/open";

/// An issuer with a key set, or without an answer.
#[derive(Clone)]
struct Issuer {
    url: String,
    set: Arc<Mutex<Option<Value>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    async fn with(set: Option<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let issuer = Self { url, set: Arc::new(Mutex::new(set)), fetches: Arc::default() };
        let of_route = issuer.clone();
        let answer = move || {
            let issuer = of_route.clone();
            async move {
                issuer.fetches.fetch_add(1, Ordering::SeqCst);
                let set = issuer.set.lock().unwrap().clone();
                set.map(Json).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        let router: Router = Router::new().route("/keys", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    fn publish(&self, set: Option<Value>) {
        *self.set.lock().unwrap() = set;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    async fn guarded(&self) -> Guarded {
        let rule = TokenRule::new(ISSUER, "doors");
        Guarded::by(access().by(BearerTokens::from_url(rule, &self.url).unwrap())).await
    }
}

fn set(keys: &[(&Signer, &str)]) -> Option<Value> {
    let keys: Vec<_> = keys.iter().map(|(signer, id)| signer.web_key(id)).collect();
    Some(json!({ "keys": keys }))
}

/// Opens a door with a token of this signer. The token holds for an hour.
async fn open(doors: &Guarded, signer: &Signer, key_id: &str) -> (u16, Value) {
    let mut claims = claims();
    claims["exp"] = json!(super::now_of(&doors.clock) + 3_600);
    let token = signer.token_with(&json!({ "alg": "EdDSA", "kid": key_id }), &claims);
    let header = format!("Bearer {token}");
    let (status, _, body) = doors.ask("POST", OPEN, &[("authorization", &header)]).await;
    (status, body)
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_a_key_that_is_not_known() {
    let (old, new, forger) = (Signer::new(), Signer::new(), Signer::new());
    let issuer = Issuer::with(set(&[(&old, "old")])).await;
    let doors = issuer.guarded().await;
    assert_eq!(issuer.fetches(), 0, "nothing is fetched before the first token");
    for _ in 0..3 {
        assert_eq!(open(&doors, &old, "old").await.0, 200);
    }
    assert_eq!(issuer.fetches(), 1);
    issuer.publish(set(&[(&new, "new"), (&old, "old")]));
    doors.clock.advance(Duration::from_secs(60));
    assert_eq!(open(&doors, &new, "new").await.0, 200);
    assert_eq!(issuer.fetches(), 2);
    for number in 0..5 {
        let (status, problem) = open(&doors, &forger, &format!("forged-{number}")).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()));
    }
    assert_eq!(issuer.fetches(), 2, "unknown keys cause one fetch in a minute");
    doors.clock.advance(Duration::from_secs(60));
    for _ in 0..5 {
        assert_eq!(open(&doors, &forger, "forged").await.0, 401);
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn known_keys_count_while_the_issuer_does_not_answer() {
    let signer = Signer::new();
    let issuer = Issuer::with(None).await;
    let doors = issuer.guarded().await;
    let (status, problem) = open(&doors, &signer, "one").await;
    assert_eq!((status, &problem["code"]), (503, &"identity-unavailable".into()));
    assert_eq!(doors.ask("GET", "/health/live", &[]).await.0, 200, "others are served");
    issuer.publish(set(&[(&signer, "one")]));
    assert_eq!(open(&doors, &signer, "one").await.0, 503, "the next attempt is after 5 s");
    doors.clock.advance(Duration::from_secs(5));
    assert_eq!(open(&doors, &signer, "one").await.0, 200);
    issuer.publish(None);
    doors.clock.advance(Duration::from_secs(600));
    assert_eq!(open(&doors, &signer, "one").await.0, 200, "the keys are old, and still count");
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_counts_until_the_next_fetch() {
    let (old, new) = (Signer::new(), Signer::new());
    let issuer = Issuer::with(set(&[(&old, "old")])).await;
    let doors = issuer.guarded().await;
    assert_eq!(open(&doors, &old, "old").await.0, 200);
    issuer.publish(set(&[(&new, "new")]));
    doors.clock.advance(Duration::from_secs(599));
    assert_eq!(open(&doors, &old, "old").await.0, 200);
    doors.clock.advance(Duration::from_secs(1));
    assert_eq!(open(&doors, &old, "old").await.0, 401);
}

#[tokio::test]
async fn a_set_that_is_too_large_is_not_read() {
    let signer = Signer::new();
    let mut large = set(&[(&signer, "one")]).unwrap();
    large["padding"] = json!("x".repeat(300 << 10));
    let issuer = Issuer::with(Some(large)).await;
    let doors = issuer.guarded().await;
    assert_eq!(open(&doors, &signer, "one").await.0, 503);
}

#[test]
fn a_url_is_encrypted_or_on_loopback() {
    let of = |url| BearerTokens::from_url(TokenRule::new(ISSUER, "doors"), url);
    for url in ["https://id.example/keys", "http://127.0.0.1:80/keys", "http://[::1]/keys"] {
        assert!(of(url).is_ok(), "{url}");
    }
    for url in [
        "http://id.example/keys",
        "ftp://127.0.0.1/keys",
        "keys",
        "https://ann:secret@id.example/",
        "",
    ] {
        assert!(of(url).is_err(), "{url}");
    }
}
