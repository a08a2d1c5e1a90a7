//! Stores and read models of an earlier version, opened by this one.
//!
//! The directories under `tests/golden` were written on 2026-11-29, by the last version whose
//! process managers stopped at an unreadable event. They are never written again: a version that
//! cannot open them must convert them by one verb, which its error names.

use std::{fs, path::Path, time::Duration};

use gesta::{
    Gesta,
    sqlite::Sqlite,
    testing::{VirtualClock, drain},
};
use serde_json::{Value, json};
use shop::{
    processes::{self, ProcessDelays},
    read_side,
};
use tempfile::TempDir;

use crate::http::Client;

/// A time after all events of the golden stores.
const AFTER_ALL: Duration = Duration::from_secs(1_796_000_000);

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Copies a golden store, because opening one writes to it.
fn copy_of(name: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&golden(name), copy.path());
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Opens the shop on a copy, with its processes, at a time when all timers are due.
async fn open(directory: &Path) -> Gesta {
    let clock = VirtualClock::new();
    clock.advance(AFTER_ALL);
    let read_models = Sqlite::open(directory.join("read-models")).await.unwrap().into();
    let builder = Gesta::at(format!("gesta:{}", directory.display())).clock(clock);
    let builder = read_side::project_all(builder, &read_models);
    processes::run_all(builder, ProcessDelays::default()).open().await.unwrap()
}

#[tokio::test]
async fn an_earlier_versions_store_and_read_models_answer_as_they_did() {
    let directory = copy_of("healthy");
    let shop = open(directory.path()).await;
    drain(&shop).await;
    let client = Client::over(shop.clone());
    let expected = fs::read_to_string(golden("healthy.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    for (path, expected) in expected.as_object().unwrap() {
        let answer = client.get(path).send().await;
        assert_eq!(u64::from(answer.status), expected["status"], "{path}");
        if let Some(body) = expected.get("body") {
            let (mut shown, mut body) = (answer.json.clone(), body.clone());
            // Cursors have another form since; those of then are still taken.
            let next = [&mut shown, &mut body]
                .map(|page| page.as_object_mut().and_then(|page| page.remove("next")));
            if let [Some(now), Some(then)] = next {
                assert_eq!(now.is_null(), then.is_null(), "{path}");
                if let Some(cursor) = then.as_str() {
                    let joint = if path.contains('?') { '&' } else { '?' };
                    client.get(&format!("{path}{joint}cursor={cursor}")).ok().await;
                }
            }
            assert_eq!(shown, body, "{path}");
        }
    }
    shop.close().await;
}

#[tokio::test]
async fn a_timer_that_an_earlier_version_set_fires() {
    let directory = copy_of("healthy");
    let shop = open(directory.path()).await;
    drain(&shop).await;
    let client = Client::over(shop.clone());
    assert_eq!(client.get("/v1/users/dora").ok().await.json["welcomed"], true);
    shop.close().await;
}

#[tokio::test]
async fn an_etag_from_a_users_creation_is_good_after_the_welcome() {
    let directory = copy_of("healthy");
    let shop = open(directory.path()).await;
    drain(&shop).await;
    let client = Client::over(shop.clone());
    let change = json!({ "firstName": "Dora", "lastName": "June" });
    let changed = client.put("/v1/users/dora", change).header("If-Match", "\"0\"").ok().await;
    assert_eq!(changed.json["revision"], 1);
    shop.close().await;
}

/// The earlier version stopped its welcome process at an unreadable event, before that of `eve`.
#[tokio::test]
async fn a_process_that_stood_still_in_an_earlier_version_goes_on() {
    let directory = copy_of("stuck");
    let shop = open(directory.path()).await;
    drain(&shop).await;
    let client = Client::over(shop.clone());
    assert_eq!(client.get("/v1/users/eve").ok().await.json["welcomed"], true);
    let letters = client.get("/v1/dead-letters").ok().await.json;
    assert_eq!(letters["items"][0]["stream"], "user-poison");
    shop.close().await;
}

#[tokio::test]
async fn a_command_of_an_earlier_version_is_known_when_it_is_given_again() {
    let directory = copy_of("healthy");
    let shop = open(directory.path()).await;
    drain(&shop).await;
    let client = Client::over(shop.clone());
    let deposit = json!({ "amount": "100.50", "source": "till", "reference": "d1" });
    let again = client.post("/v1/accounts/a1/deposit", deposit);
    again.header("Idempotency-Key", "deposit-1").ok().await;
    let transfer = json!({ "from": "a1", "to": "a2", "amount": "40.25", "reference": "t1" });
    let again = client.post("/v1/transfers", transfer);
    again.header("Idempotency-Key", "transfer-1").ok().await;
    drain(&shop).await;
    assert_eq!(client.get("/v1/accounts/a1").ok().await.json["balance"], "55.25");
    assert_eq!(client.get("/v1/accounts/a2").ok().await.json["balance"], "40.25");
    shop.close().await;
}

#[tokio::test]
async fn every_event_of_an_earlier_versions_store_is_sound() {
    for name in ["healthy", "stuck"] {
        let directory = copy_of(name);
        let verified = gesta_log::verify(directory.path(), &mut |_| {}).unwrap();
        assert_eq!(verified.damage, [], "{name}");
        assert_eq!(verified.index_damage, Vec::<String>::new(), "{name}");
    }
}
