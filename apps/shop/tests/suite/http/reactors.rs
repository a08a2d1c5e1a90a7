//! Operation of reactors over HTTP: list, retry and discard dead letters.

use std::{fs, time::Duration};

use axum::http::Method;
use gesta::{
    Gesta, Recorded,
    audit::{self, AuditEvent, OperationFailed, OperationOrdered},
    sqlite::Sqlite,
    store::ReadStream,
    testing::{VirtualClock, drain},
};
use serde_json::{Value, json};
use shop::{
    outbox::Outbox,
    processes::{self, ProcessDelays},
    reactors, read_side,
};
use tempfile::TempDir;

use super::{Answer, Client, ann, statuses::put_by_hand};

const LETTERS: &str = "/v1/reactors/welcome-mail/dead-letters";

/// A shop with an outbox, which is a directory of its own.
struct Post {
    client: Client,
    clock: VirtualClock,
    outbox: TempDir,
}

impl Post {
    async fn open() -> Self {
        let (outbox, clock) = (tempfile::tempdir().unwrap(), VirtualClock::new());
        let models = Sqlite::temporary().await.unwrap().into();
        let builder = read_side::project_all(Gesta::at("memory:").clock(clock.clone()), &models);
        let delays = ProcessDelays { welcome: Duration::ZERO, payment: Duration::ZERO };
        let builder = processes::run_all(builder, delays);
        let builder = reactors::run_all(builder, Outbox::open(outbox.path()).unwrap());
        Self { client: Client::over(builder.open().await.unwrap()), clock, outbox }
    }

    async fn settled(&self) {
        drain(&self.client.shop).await;
    }

    /// Creates a user while no mail can be written, until the effect is a dead letter.
    async fn fail(&self, user: Value) {
        fs::remove_dir(self.outbox.path()).unwrap();
        self.client.post("/v1/users", user).ok().await;
        // The greatest pause between attempts is shorter than a minute.
        for _ in 0..10 {
            self.settled().await;
            self.clock.advance(Duration::from_secs(60));
        }
        self.settled().await;
    }

    async fn letters(&self) -> Vec<Value> {
        let listed = self.client.get(LETTERS).ok().await.json;
        listed["items"].as_array().unwrap().clone()
    }

    async fn retry(&self, letter: &Value) -> Answer {
        let path = format!("{LETTERS}/{}/retry?reason=mended", letter["id"].as_str().unwrap());
        self.client.ask(Method::POST, &path).send().await
    }

    async fn discard(&self, letter: &Value) -> Answer {
        let path = format!("{LETTERS}/{}", letter["id"].as_str().unwrap());
        self.client.delete(&path).send().await
    }

    /// The operations in the audit stream, with their reasons or errors.
    async fn audited(&self) -> Vec<(String, Option<String>)> {
        let read = ReadStream::forwards(audit::stream());
        let events = self.client.shop.store().read_stream(read).collect_events().await.unwrap();
        let ordered =
            events.iter().map(|event| match Recorded::<AuditEvent>::read(event).unwrap().event {
                AuditEvent::Ordered(OperationOrdered { operation, reason, .. }) => {
                    (operation, reason)
                }
                AuditEvent::Failed(OperationFailed { operation, error, .. }) => {
                    (operation, Some(error))
                }
                other => panic!("no operation: {other:?}"),
            });
        ordered.collect()
    }
}

/// Calls the operations until each of their own responses occurred.
pub(super) async fn operate_everything() -> Client {
    let post = Post::open().await;
    let other = post.client.get(&format!("{LETTERS}?cursor=00")).send().await;
    assert_eq!(other.problem(), (422, "unknown-cursor"));
    let shown = post.client.get("/v1/reactors/welcome-mail").ok().await.json;
    assert_eq!((&shown["state"], &shown["deadLetters"]), (&json!("running"), &json!(0)));
    for (verb, state) in [("pause", "paused"), ("resume", "running")] {
        let path = format!("/v1/reactors/welcome-mail/{verb}");
        assert_eq!(post.client.ask(Method::POST, &path).send().await.status, 204);
        let shown = post.client.get("/v1/reactors/welcome-mail").ok().await.json;
        assert_eq!(shown["state"], state);
    }
    post.fail(ann()).await;
    let letter = post.letters().await.remove(0);
    assert_eq!(post.retry(&letter).await.problem(), (422, "still-fails"));
    fs::create_dir(post.outbox.path()).unwrap();
    assert_eq!(post.retry(&letter).await.status, 204);
    assert_eq!(post.retry(&letter).await.problem(), (404, "not-found"));
    put_by_hand(&post.client, "welcome-poison", "user-welcomed", "{}").await;
    post.settled().await;
    let letter = post.letters().await.remove(0);
    assert_eq!(post.discard(&letter).await.status, 204);
    assert_eq!(post.discard(&letter).await.problem(), (404, "not-found"));
    post.client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_cannot_be_written_is_listed_retried_and_in_the_audit() {
    let post = Post::open().await;
    post.fail(ann()).await;
    let letter = post.letters().await.remove(0);
    let told = (&letter["type"], &letter["stream"], &letter["revision"], &letter["attempts"]);
    assert_eq!(told, (&json!("user-welcomed"), &json!("welcome-ann"), &json!(0), &json!(10)));
    assert!(letter["error"].as_str().unwrap().contains("No such file"), "it says why: {letter}");
    let listed = post.client.get("/v1/reactors").ok().await.json;
    let listed = &listed["items"][0];
    assert_eq!((&listed["name"], &listed["deadLetters"]), (&json!("welcome-mail"), &json!(1)));
    let health = post.client.get("/health/ready").ok().await.json;
    assert_eq!(health["status"], "degraded");
    let causes = health["causes"].as_array().unwrap().iter();
    let mut causes = causes.filter(|it| it["component"] == "reactor");
    let cause = causes.next().unwrap();
    let told = (&cause["name"], &cause["state"]);
    assert_eq!(told, (&json!("welcome-mail"), &json!("dead-letters")));

    fs::create_dir(post.outbox.path()).unwrap();
    assert_eq!(post.retry(&letter).await.status, 204);
    assert_eq!(fs::read_dir(post.outbox.path()).unwrap().count(), 1);
    assert_eq!(post.letters().await, [Value::Null; 0]);
    assert_eq!(post.audited().await, [("retry-effect".to_owned(), Some("mended".to_owned()))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_effect_never_happens_and_the_audit_has_it() {
    let post = Post::open().await;
    put_by_hand(&post.client, "welcome-poison", "user-welcomed", "{}").await;
    post.client.post("/v1/users", ann()).ok().await;
    post.settled().await;
    assert_eq!(fs::read_dir(post.outbox.path()).unwrap().count(), 1, "other users get their mail");
    let letter = post.letters().await.remove(0);
    assert!(letter["error"].as_str().unwrap().contains("userId"), "it says why: {letter}");
    assert_eq!(post.discard(&letter).await.status, 204);
    assert_eq!(post.letters().await, [Value::Null; 0]);
    assert_eq!(post.audited().await, [("discard-effect".to_owned(), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_that_is_none_is_named() {
    let client = Client::new().await;
    let retry = format!("{LETTERS}/7/retry");
    let refused = client.ask(Method::POST, &retry).send().await;
    assert_eq!(refused.field(), (400, "event"));
}
