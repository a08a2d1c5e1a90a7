//! Feeds: which events a reader sees, and for how long.

use std::{fs, time::Duration};

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use gesta_http::{Access, AccessRole, AccessRules, ApiKeyFile, NewApiKey, Right};
use tempfile::TempDir;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::{Guarded, Named, with_headers};
use crate::asked;

/// Time for the next bytes, which is long for a machine under load only.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time within which an open feed notices that its credentials were withdrawn.
const NOTICE: Duration = Duration::from_secs(10);

fn rules() -> AccessRules {
    let reader = AccessRole::named("reader").has([Right::Feed]);
    let raw = AccessRole::named("auditor").has([Right::Feed, Right::RawFeed]);
    AccessRules::new([reader, raw, AccessRole::named("keeper").has(Right::ALL)])
}

async fn guarded() -> Guarded {
    Guarded::by(Access::new(rules()).by(Named)).await
}

async fn feed(doors: &Guarded, query: &str, who: &str) -> (u16, BodyDataStream) {
    feed_by(doors, query, ("x-test", who)).await
}

async fn feed_by(
    doors: &Guarded,
    query: &str,
    header: (&'static str, &str),
) -> (u16, BodyDataStream) {
    let request = with_headers(asked("GET", &format!("/v1/events{query}")), &[header]);
    let response = doors.router.clone().oneshot(request).await.unwrap();
    (response.status().as_u16(), response.into_body().into_data_stream())
}

/// Reads a feed until it is live.
async fn until_live(body: &mut BodyDataStream) -> String {
    let mut text = String::new();
    while !text.contains("event: caught-up") {
        let chunk = timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        text.push_str(str::from_utf8(&chunk).unwrap());
    }
    text
}

#[tokio::test]
async fn internal_streams_are_in_the_raw_feed_alone() {
    let doors = guarded().await;
    let keeper = [("x-test", "ben keeper")];
    assert_eq!(doors.ask("POST", "/doors/7/open", &keeper).await.0, 200);
    // There is no process manager here, so the test appends what one would.
    let event = || {
        let event_type = gesta::EventType::new("operation-ordered").unwrap();
        gesta::store::NewEvent::json(gesta::EventId::random(), event_type, "{}")
    };
    let expected = gesta::store::ExpectedRevision::Any;
    for stream in ["audit-operations", "process:porter-7", "processes:journal-porter"] {
        let stream = gesta::StreamName::new(stream).unwrap();
        let append = gesta::store::Append::to(stream, expected, [event()]);
        doors.gesta.store().append(append).await.unwrap();
    }
    let (status, mut public) = feed(&doors, "", "ann reader").await;
    assert_eq!(status, 200);
    let public = until_live(&mut public).await;
    assert!(public.contains("door-7") && !public.contains("operation-ordered"), "{public}");
    let (_, mut raw) = feed(&doors, "", "ann auditor").await;
    let raw = until_live(&mut raw).await;
    for stream in ["door-7", "audit-operations", "process:porter-7", "processes:journal-porter"] {
        assert!(raw.contains(stream), "{stream}: {raw}");
    }
    for query in ["?stream=audit-operations", "?category=process:porter"] {
        let (status, _) = feed(&doors, query, "ann reader").await;
        assert_eq!(status, 403, "{query}");
        assert_eq!(feed(&doors, query, "ann auditor").await.0, 200, "{query}");
    }
}

#[tokio::test]
async fn a_feed_ends_with_the_credentials_of_its_reader() {
    let doors = guarded().await;
    let (_, mut brief) = feed(&doors, "", "ann reader brief").await;
    let (_, mut long) = feed(&doors, "", "ben reader").await;
    until_live(&mut brief).await;
    until_live(&mut long).await;
    doors.clock.advance(Duration::from_secs(60));
    let problem = timeout(PATIENCE, brief.next()).await.unwrap().unwrap().unwrap();
    let problem = str::from_utf8(&problem).unwrap();
    assert!(problem.starts_with("event: problem\ndata: ") && problem.contains("401"), "{problem}");
    assert!(timeout(PATIENCE, brief.next()).await.unwrap().is_none(), "it has ended");
    doors.ask("POST", "/doors/7/open", &[("x-test", "cid keeper")]).await;
    let chunk = timeout(PATIENCE, long.next()).await.unwrap().unwrap().unwrap();
    assert!(str::from_utf8(&chunk).unwrap().contains("door-7"), "the other one goes on");
}

/// Reads the end of a feed whose credentials have ended.
async fn is_refused(body: &mut BodyDataStream) -> bool {
    let problem = timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
    let problem = str::from_utf8(&problem).unwrap();
    problem.starts_with("event: problem\ndata: ")
        && problem.contains("unauthenticated")
        && timeout(PATIENCE, body.next()).await.unwrap().is_none()
}

#[tokio::test]
async fn a_feed_ends_soon_after_its_key_is_withdrawn_or_gets_other_roles() {
    let keys = [NewApiKey::random(), NewApiKey::random(), NewApiKey::random()];
    let line = |key: &NewApiKey, role: &str| key.line("till", &[role]);
    let lines = |roles: [&str; 3]| {
        let all = keys.iter().zip(roles).filter(|(_, role)| !role.is_empty());
        all.map(|(key, role)| line(key, role)).collect::<Vec<_>>().join("\n")
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, lines(["reader"; 3])).unwrap();
    let access = Access::new(rules()).by(ApiKeyFile::open(&path).unwrap()).by(Named);
    let doors = Guarded::by(access).await;
    let mut feeds = Vec::new();
    for key in &keys {
        let (status, mut feed) = feed_by(&doors, "", ("x-api-key", key.secret())).await;
        assert_eq!(status, 200);
        until_live(&mut feed).await;
        feeds.push(feed);
    }
    let [withdrawn, changed, kept] = &mut feeds[..] else { unreachable!("three keys") };
    fs::write(&path, lines(["", "auditor", "reader"])).unwrap();
    doors.clock.advance(NOTICE);
    assert!(is_refused(withdrawn).await && is_refused(changed).await);
    doors.ask("POST", "/doors/7/open", &[("x-test", "cid keeper")]).await;
    let chunk = timeout(PATIENCE, kept.next()).await.unwrap().unwrap().unwrap();
    assert!(str::from_utf8(&chunk).unwrap().contains("door-7"), "the other one goes on");
    // It is looked at again and again.
    fs::write(&path, "").unwrap();
    let ended = async {
        loop {
            // Its next look begins when it is read.
            doors.clock.advance(NOTICE);
            tokio::select! {
                biased;
                is_refused = is_refused(kept) => return is_refused,
                () = tokio::task::yield_now() => {}
            }
        }
    };
    assert!(timeout(PATIENCE, ended).await.unwrap());
}
