//! Credentials of each kind, and credentials that are refused.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use gesta_http::{ApiKeys, InvalidApiKeys, NewApiKey, Principal, TrustedProxy};
use serde_json::{Value, json};

use super::{
    Guarded, Named, access, claims, log,
    signer::{Signer, mac_token, unsigned},
    tokens, with_headers,
};
use crate::{asked, send};

const OPEN: &str = "/doors/7/open";

#[tokio::test]
async fn the_subject_of_a_token_is_the_actor_of_the_events() {
    let signer = Signer::new();
    let doors = Guarded::by(access().by(tokens(&signer))).await;
    let token = format!("Bearer {}", signer.token(&claims()));
    let (status, ..) = doors.ask("POST", OPEN, &[("authorization", &token)]).await;
    assert_eq!(status, 200);
    assert_eq!(doors.actors().await, ["ann"]);
}

#[tokio::test]
async fn a_token_that_is_not_one_of_the_issuer_for_this_application_now_is_refused() {
    let (signer, other) = (Signer::new(), Signer::new());
    let doors = Guarded::by(access().by(tokens(&signer))).await;
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signer.token(&claims)
    };
    let now = super::now_of(&doors.clock);
    let none = unsigned(&json!({ "alg": "none" }), &claims());
    let signed = signer.token(&claims());
    let (_, signature) = signed.rsplit_once('.').unwrap();
    let mut bob = claims();
    bob["sub"] = json!("bob");
    let tampered = format!("{}.{signature}", unsigned(&json!({ "alg": "EdDSA" }), &bob));
    for (kind, token) in [
        ("expired", with("exp", json!(now - 31))),
        ("for another audience", with("aud", json!("windows"))),
        ("of another issuer", with("iss", json!("https://id.example.org"))),
        ("not valid yet", with("nbf", json!(now + 31))),
        ("unsigned", format!("{none}.")),
        ("unsigned with a signature", format!("{none}.{signature}")),
        ("of another algorithm", mac_token(signer.public_pem().as_bytes(), &claims())),
        ("signed by another key", other.token(&claims())),
        ("changed", tampered),
        ("of a process manager", with("sub", json!("process:porter"))),
        ("garbage", "garbage".to_owned()),
        ("empty", String::new()),
    ] {
        let header = format!("Bearer {token}");
        let (status, headers, problem) =
            doors.ask("POST", OPEN, &[("authorization", &header)]).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()), "{kind}");
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{kind}: {challenge}");
        assert_eq!(headers["content-type"], "application/problem+json", "{kind}");
        assert!(token.is_empty() || !problem.to_string().contains(&token), "{kind}");
    }
    let (status, ..) = doors.ask("GET", "/health/live", &[("authorization", "Bearer x")]).await;
    assert_eq!(status, 401, "also where no credentials are needed");
    assert_eq!(doors.actors().await, [""; 0], "nothing has happened");
}

#[tokio::test]
async fn a_token_holds_until_it_expires() {
    let signer = Signer::new();
    let doors = Guarded::by(access().by(tokens(&signer))).await;
    let token = format!("Bearer {}", signer.token(&claims()));
    let mut statuses = Vec::new();
    for seconds in [0, 89, 1] {
        doors.clock.advance(std::time::Duration::from_secs(seconds));
        statuses.push(doors.ask("POST", OPEN, &[("authorization", &token)]).await.0);
    }
    assert_eq!(statuses, [200, 200, 401], "60 s, and the leeway of 30 s");
}

#[tokio::test]
async fn an_api_key_names_its_actor_in_either_header() {
    let (key, unknown) = (NewApiKey::random(), NewApiKey::random());
    let file = format!("# doors\n\n{}\n", key.line("till-7", &["porter"]));
    let doors = Guarded::by(access().by(ApiKeys::parse(&file).unwrap())).await;
    let bearer = |key: &NewApiKey| format!("Bearer {}", key.secret());
    for headers in [("x-api-key", key.secret()), ("authorization", &bearer(&key))] {
        assert_eq!(doors.ask("POST", OPEN, &[headers]).await.0, 200, "{}", headers.0);
    }
    assert_eq!(doors.actors().await, ["till-7"; 2]);
    let half = key.secret().get(..40).unwrap();
    for wrong in [unknown.secret(), half, "gesta_", "x", &"x".repeat(1_000)] {
        let (status, _, problem) = doors.ask("POST", OPEN, &[("x-api-key", wrong)]).await;
        assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()), "{wrong}");
    }
    let (status, ..) = doors.ask("POST", OPEN, &[("authorization", &bearer(&unknown))]).await;
    assert_eq!(status, 401);
    let twice = [("x-api-key", key.secret()), ("x-api-key", unknown.secret())];
    let (status, _, problem) = doors.ask("POST", OPEN, &twice).await;
    assert_eq!((status, &problem["field"]), (400, &"X-Api-Key".into()));
}

#[test]
fn a_file_of_api_keys_is_refused_by_line_without_showing_it() {
    let key = NewApiKey::random();
    let line = key.line("ann", &["porter"]);
    let plain = format!("{} ann porter", key.secret());
    let (hash, _) = line.split_once(' ').unwrap();
    for (file, error) in [
        (plain.clone(), InvalidApiKeys::Line { line: 1 }),
        (format!("\n{hash} ann"), InvalidApiKeys::Line { line: 2 }),
        (format!("{line}\n{hash} bob porter"), InvalidApiKeys::Repeated { line: 2 }),
    ] {
        let refused = ApiKeys::parse(&file).unwrap_err();
        assert_eq!(refused, error);
        assert!(!refused.to_string().contains(key.secret()));
    }
    let odd = ApiKeys::parse(&format!("{hash} reactor:mail porter")).unwrap_err();
    assert!(matches!(odd, InvalidApiKeys::Actor { line: 1, .. }), "{odd}");
}

#[tokio::test]
async fn a_proxys_headers_count_from_its_addresses_only() {
    let proxy = TrustedProxy::new("X-User", ["10.1.0.0/16".parse().unwrap()]).unwrap();
    let proxy = proxy.roles_in("X-Roles").unwrap();
    let doors = Guarded::by(access().by(proxy)).await;
    for (peer, status) in [
        (Some("10.1.2.3:4000"), 200),
        (Some("[::ffff:10.1.2.3]:4000"), 200),
        (Some("10.2.0.1:4000"), 401),
        (Some("127.0.0.1:4000"), 401),
        (Some("[::1]:4000"), 401),
        (None, 401),
    ] {
        let headers = [("x-user", "ann"), ("x-roles", "porter, visitor")];
        let mut request = with_headers(asked("POST", OPEN), &headers);
        if let Some(peer) = peer {
            let peer: SocketAddr = peer.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let (answered, _, problem) = send(doors.router.clone(), request).await;
        assert_eq!(answered, status, "{peer:?}: {problem}");
    }
    assert_eq!(doors.actors().await, ["ann"; 2]);
}

#[tokio::test]
async fn a_hook_of_the_application_finds_the_principal_or_refuses() {
    let signer = Signer::new();
    let doors = Guarded::by(access().by(Named).by(tokens(&signer))).await;
    assert_eq!(doors.ask("POST", OPEN, &[("x-test", "ben porter")]).await.0, 200);
    let token = format!("Bearer {}", signer.token(&claims()));
    assert_eq!(doors.ask("POST", OPEN, &[("authorization", &token)]).await.0, 200);
    assert_eq!(doors.actors().await, ["ben", "ann"]);
    let (status, _, problem) = doors.ask("POST", OPEN, &[("x-test", "nobody")]).await;
    assert_eq!((status, &problem["detail"]), (401, &"nobody may not enter".into()));
}

#[test]
fn a_name_of_the_frameworks_own_is_no_actor() {
    let long = "x".repeat(256);
    for odd in ["", "anonymous", "process:x", "reactor:x", "a\nb", &long] {
        assert!(Principal::new(odd, ["porter"]).is_err(), "{odd}");
    }
    assert!(Principal::new("Ann Lee <ann@example.org>", [""; 0]).is_ok());
}

#[tokio::test]
async fn no_secret_is_in_the_log() {
    let (signer, key) = (Signer::new(), NewApiKey::random());
    let keys = ApiKeys::parse(&key.line("till-7", &["keeper"])).unwrap();
    let doors = Guarded::by(access().by(keys).by(tokens(&signer))).await;
    let mut bank = claims();
    bank["aud"] = json!("bank");
    let tokens = [signer.token(&claims()), signer.token(&bank)];
    let unknown = NewApiKey::random();
    let secrets = [&*tokens[0], &*tokens[1], key.secret(), unknown.secret()];
    for secret in secrets {
        for (method, path) in [("POST", OPEN), ("GET", "/bug"), ("GET", "/v1/projections")] {
            let bearer = format!("Bearer {secret}");
            doors.ask(method, path, &[("authorization", &bearer)]).await;
        }
    }
    doors.ask("GET", "/bug", &[("x-api-key", key.secret())]).await;
    let log = log::text();
    assert!(log.contains("a request failed"), "the bug of a handler is in the log");
    for secret in secrets {
        // The signature alone is as secret as the token.
        let part = secret.rsplit('.').next().unwrap();
        assert!(!log.contains(part), "{part}");
    }
}
