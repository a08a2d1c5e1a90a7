//! Acts on a server in a real browser: each is carried out by its form or button, and seen in the
//! store and in the audit stream. Names and data are those that would break a careless page.

use std::sync::Arc;

use gesta_server::{Server, ServerLabels, ServerSetting};
use gesta_services::chromium::{LOOKS, PHONE, Page};
use gesta_store::memory::MemoryStore;
use serde_json::{Value, json};

use super::signing_in::sign_in;
use crate::{
    client::{Credentials, groups::read_req::nack::Action},
    group_client::{GroupConsumer, info_when, of_stream, settings},
    native::http_client::Api,
    operating::Endless,
    scene::Scene,
    secured::{Secured, basic},
    upkeep::DamagedStore,
};

const MAIL: (&str, &str) = ("order-1", "mail");
/// A reason with what markup, texts and addresses use.
const REASON: &str = "<b>\"why\"</b> & 'so' ?x=1#y %20 \\";
const MARKUP: &str = "<img src=x onerror=alert(1)>\"'&";

/// A secured server with a group that has parked three events, and a browser at its console.
struct Operated {
    scene: Secured,
    admin: Credentials,
    page: Page,
}

/// Returns a store in which a group has parked three events.
async fn parked_store() -> MemoryStore {
    let store = MemoryStore::new();
    let mut scene = Scene::beside_others(store.clone()).await;
    let api = Api::of(&scene);
    for _ in 0..3 {
        api.grow(MAIL.0, "order-placed", &[]).await;
    }
    let mut groups = scene.groups().await;
    groups.create(of_stream(MAIL.0, MAIL.1, settings())).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, MAIL, 10).await.unwrap();
    for number in 1..=3 {
        let event = consumer.next().await;
        consumer.nack(&event, Action::Park).await;
        info_when(&mut groups, MAIL, |info| info.parked_message_count == number).await;
    }
    drop((consumer, groups));
    scene.stop();
    scene.ended().await;
    store
}

/// Adds what a program that serves a store tells of itself.
fn labelled(server: Server) -> Server {
    let settings = [
        ServerSetting::new("listen", "option --listen").value("127.0.0.1:2113"),
        ServerSetting::new("environment", "environment GESTA_ENVIRONMENT").value(MARKUP),
        ServerSetting::new("client-ca", "default"),
        ServerSetting::new("log", "/etc/gesta/serve.toml").value("warn,gesta=info"),
    ];
    let labels = ServerLabels::default().environment("production").settings(settings);
    let upkeep = Arc::new(DamagedStore::at(MARKUP));
    server.labelled(labels).scavenging(Arc::new(Endless)).keeping(upkeep)
}

impl Operated {
    async fn begin() -> Option<Self> {
        let scene = Secured::made(Arc::new(parked_store().await), labelled).await;
        let server = format!("https://localhost:{}", scene.address.port());
        let page = Page::open(&server).await?;
        let admin = basic("admin", scene.passwords.admin());
        let mut operated = Self { scene, admin, page };
        let password = operated.scene.passwords.admin().to_owned();
        operated.sign_in_as("admin", &password).await;
        // The refusal of the first request, before the sign-in.
        operated.page.errors.clear();
        Some(operated)
    }

    /// Loads the console anew, and signs in.
    async fn sign_in_as(&mut self, login: &str, password: &str) {
        self.page.load("#/streams").await;
        sign_in(&mut self.page, login, password).await;
        self.page
            .until(&format!("document.querySelector('.user').innerText.startsWith('{login}')"))
            .await;
        self.page.until("document.querySelector('main').dataset.state === 'ready'").await;
    }

    /// Goes to a screen within the page, which keeps the login, and waits for a part of it.
    async fn go(&mut self, hash: &str, part: &str) {
        let hash = json!(hash);
        self.page.value(&format!("location.hash = {hash}")).await;
        self.page.until(&format!("document.querySelector({})", json!(part))).await;
        self.page.until("document.querySelector('main').dataset.state === 'ready'").await;
    }

    /// Presses a button that opens the dialog of an act.
    async fn press(&mut self, label: &str) {
        self.page.click("main button", label).await;
        self.page.until("document.querySelector('.act-dialog')?.open").await;
    }

    /// Gives the reason, and a name that has to be typed, and carries the act out.
    async fn confirm(&mut self, typed: Option<&str>) {
        self.page.until("document.querySelector('.act-dialog')?.open").await;
        let is_closed = "document.querySelector('.act-form .buttons button').disabled";
        assert_eq!(self.page.value(is_closed).await, true, "an act needs a reason");
        self.page.write(".act-dialog [name=reason]", REASON).await;
        if let Some(name) = typed {
            assert_eq!(self.page.value(is_closed).await, true, "an act needs the name");
            self.page.write(".act-dialog [name=name]", name).await;
        }
        assert_eq!(self.page.value(is_closed).await, false, "the act may be carried out");
        self.page.value("document.querySelector('.act-form .buttons button').click()").await;
    }

    /// The same, for an act that succeeds.
    async fn confirm_and_see(&mut self, typed: Option<&str>, then: &str) {
        self.confirm(typed).await;
        self.page.until("!document.querySelector('.act-dialog')").await;
        self.page.until(then).await;
    }

    async fn fill(&mut self, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            self.page.write(&format!("main [name={}]", json!(name)), value).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.scene.send(&format!("GET {path}"), &self.admin, &Value::Null).await.done()
    }

    /// Returns acts with what they were about, their outcome and whether they have the reason.
    async fn acts(&self, about: &str) -> Vec<(String, String, String, bool)> {
        let audit = self.get("/v1/streams/$audit").await;
        let events = audit["events"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .filter(|event| event["data"][about].is_string())
            .map(|event| {
                let data = &event["data"];
                let what = match &data["operation"] {
                    Value::String(operation) => operation.clone(),
                    _ => text(&event["type"]),
                };
                assert!(data["by"] == "admin" || data["by"] == "ann", "{data}");
                (what, text(&data[about]), text(&data["outcome"]), data["reason"] == REASON)
            })
            .collect()
    }

    async fn group(&self, name: &str) -> Value {
        let listed = self.get("/v1/groups").await;
        let groups = listed["groups"].as_array().unwrap();
        groups.iter().find(|group| group["name"] == name).cloned().unwrap_or_default()
    }

    async fn projection(&self, name: &str) -> Value {
        let listed = self.get("/v1/projections").await;
        let projections = listed["projections"].as_array().unwrap();
        projections.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
    }

    /// Checks that stored texts are texts.
    async fn assert_no_markup(&mut self) {
        let found = "document.querySelectorAll('main img, main script, main b, dialog img').length";
        assert_eq!(self.page.value(found).await, 0);
    }
}

/// Returns a done act with its reason.
fn done(what: &str, about: &str) -> (String, String, String, bool) {
    (what.to_owned(), about.to_owned(), "done".to_owned(), true)
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn groups_are_made_changed_and_deleted() {
    let Some(mut at) = Operated::begin().await else { return };
    at.go("#/groups", "a.button[href='#/group-form']").await;
    at.go("#/group-form", "main [name=source]").await;
    at.fill(&[("source", "order-1"), ("name", MARKUP), ("startFrom", "at")]).await;
    at.page.click("main button", "Create the group").await;
    at.page
        .until("document.querySelector('.form-state')?.innerText.includes('Give the place')")
        .await;
    at.fill(&[("place", "1"), ("strategy", "Pinned"), ("readBatchSize", "500")]).await;
    at.press("Create the group").await;
    at.assert_no_markup().await;
    // A refusal is in the dialog, and the form keeps what was typed.
    at.confirm(None).await;
    at.page
        .until("document.querySelector('.act-state')?.innerText.includes('readBatchSize')")
        .await;
    at.page.click(".act-form button", "Close").await;
    at.fill(&[("readBatchSize", "30")]).await;
    at.press("Create the group").await;
    at.confirm_and_see(None, "document.querySelector('h1.name')?.innerText.startsWith('<img')")
        .await;
    at.assert_no_markup().await;
    let kept = at.group(MARKUP).await["settings"].clone();
    assert_eq!((&kept["startFrom"], &kept["strategy"]), (&json!(1), &json!("Pinned")));
    assert_eq!((&kept["readBatchSize"], &kept["maxRetryCount"]), (&json!(30), &json!(10)));

    at.page.click("main a.button", "Change settings").await;
    at.page.until("document.querySelector('main [name=maxRetryCount]')").await;
    at.fill(&[("maxRetryCount", "3"), ("strategy", "PinnedByCorrelation")]).await;
    at.press("Change the settings").await;
    at.confirm_and_see(
        None,
        "document.querySelector('main')?.innerText.includes('PinnedByCorrelation')",
    )
    .await;
    let kept = at.group(MARKUP).await["settings"].clone();
    assert_eq!((&kept["maxRetryCount"], &kept["startFrom"]), (&json!(3), &json!(1)));

    at.press("Delete the group").await;
    at.confirm_and_see(
        Some(MARKUP),
        "document.querySelector('h1')?.innerText === 'Consumer groups'",
    )
    .await;
    assert_eq!(at.group(MARKUP).await, Value::Null);
    let id = format!("order-1::{MARKUP}");
    let refused = ("create consumer groups".to_owned(), id.clone());
    let acts = at.acts("group").await;
    let acts: Vec<_> = acts
        .into_iter()
        .filter(|act| (&act.0, &act.1) != (&refused.0, &refused.1) || act.2 == "done")
        .collect();
    assert_eq!(
        acts,
        [
            done("create consumer groups", &id),
            done("update consumer groups", &id),
            done("delete consumer groups", &id)
        ]
    );
    let refusals = at.page.errors.iter().filter(|error| error.contains("400")).count();
    assert_eq!((refusals, at.page.errors.len()), (1, 1), "{:#?}", at.page.errors);
}

#[tokio::test]
async fn parked_events_are_tried_again_and_discarded() {
    let Some(mut at) = Operated::begin().await else { return };
    at.go("#/group?source=order-1&name=mail", "td.acts button").await;
    // The oldest one is the last row: a group takes parked events in their order.
    let discard = "[...document.querySelectorAll('td.acts button')].at(-1)";
    assert_eq!(at.page.value(&format!("{discard}.innerText")).await, "Discard to here");
    at.page.value(&format!("{discard}.click()")).await;
    at.confirm_and_see(Some("mail"), "document.querySelectorAll('td.acts').length === 2").await;
    assert_eq!(at.group("mail").await["parked"], 2);
    let retry = "[...document.querySelectorAll('td.acts button')].at(-2)";
    assert_eq!(at.page.value(&format!("{retry}.innerText")).await, "Retry to here");
    at.page.value(&format!("{retry}.click()")).await;
    at.confirm_and_see(None, "document.querySelector('h1.name')").await;
    at.press("Retry all").await;
    at.confirm_and_see(
        None,
        "document.querySelector('main').innerText.includes('once a consumer connects')",
    )
    .await;
    at.press("Discard all").await;
    at.confirm_and_see(
        Some("mail"),
        "document.querySelector('main').innerText.includes('No event is parked')",
    )
    .await;
    assert_eq!(at.group("mail").await["parked"], 0);
    let id = "order-1::mail";
    assert_eq!(
        at.acts("group").await,
        [
            done("truncate parked events of consumer groups", id),
            done("replay parked events of consumer groups", id),
            done("replay parked events of consumer groups", id),
            done("truncate parked events of consumer groups", id)
        ]
    );
    at.page.assert_clean();
}

#[tokio::test]
async fn projections_are_made_stopped_changed_begun_again_and_deleted() {
    const QUERY: &str = "fromStream('order-1').partitionBy(e => '<i>\"p').when({\n\
        $init: () => ({ n: 0, big: '<b>x</b>' }), 'order-placed'(s) { s.n += 1; } })";
    let Some(mut at) = Operated::begin().await else { return };
    at.go("#/projection-form", "main [name=query]").await;
    at.fill(&[("name", MARKUP), ("query", QUERY)]).await;
    at.press("Create the projection").await;
    at.confirm_and_see(None, "document.querySelector('h1.name')?.innerText.startsWith('<img')")
        .await;
    assert_eq!(at.projection(MARKUP).await["query"], QUERY);
    let address = format!("#/projection?name={}", percent(MARKUP));
    // The state of a partition appears with its first event.
    let with_partition = format!("{address}&partition={}", percent("<i>\"p"));
    let state =
        format!("/v1/projections/{}/state?partition={}", percent(MARKUP), percent("<i>\"p"));
    while at.scene.send(&format!("GET {state}"), &at.admin, &Value::Null).await.json()["state"]["n"]
        != 3
    {
        tokio::task::yield_now().await;
    }
    at.go(&with_partition, "main .payload .tree").await;
    at.assert_no_markup().await;
    let text = at.page.text().await;
    assert!(text.contains("n: 3") && text.contains("<b>x</b>"), "{text}");

    at.press("Stop").await;
    at.confirm_and_see(None, "document.querySelector('main').innerText.includes('Stopped')").await;
    assert_eq!(at.projection(MARKUP).await["status"], "Stopped");
    at.press("Start").await;
    at.confirm_and_see(None, "document.querySelector('dd')?.innerText === 'Running'").await;
    at.press("Stop without a checkpoint").await;
    at.confirm_and_see(None, "document.querySelector('main').innerText.includes('Aborted')").await;
    assert_eq!(at.projection(MARKUP).await["status"], "Aborted/Stopped");
    at.page.click("main a.button", "Change the script").await;
    at.page.until("document.querySelector('main [name=query]')").await;
    let better = QUERY.replace("+= 1", "+= 2");
    at.fill(&[("query", &better)]).await;
    at.press("Change the script").await;
    at.confirm_and_see(None, "document.querySelector('pre.script')?.innerText.includes('+= 2')")
        .await;
    assert_eq!(at.projection(MARKUP).await["query"], better);
    at.press("Reset").await;
    at.confirm_and_see(Some(MARKUP), "document.querySelector('h1.name')").await;
    if at.projection(MARKUP).await["status"] == "Running" {
        at.page.until("document.querySelector('dd')?.innerText === 'Running'").await;
        at.press("Stop").await;
        at.confirm_and_see(None, "document.querySelector('main').innerText.includes('Stopped')")
            .await;
    }
    at.page.value("document.querySelector('[name=checkpoints]').click()").await;
    at.press("Delete").await;
    at.confirm_and_see(Some(MARKUP), "document.querySelector('h1')?.innerText === 'Projections'")
        .await;
    assert_eq!(at.projection(MARKUP).await, Value::Null);
    let acts = at.acts("projection").await;
    let verbs: Vec<_> = acts.iter().map(|act| act.0.as_str()).collect();
    let expected = [
        "create projections",
        "disable projections",
        "enable projections",
        "disable projections",
        "update projections",
        "reset projections",
    ];
    assert_eq!(&verbs[..6], expected, "{verbs:?}");
    assert_eq!(verbs.last(), Some(&"delete projections"));
    assert!(acts.iter().all(|act| act.1 == MARKUP && act.2 == "done" && act.3), "{acts:?}");
    at.page.assert_clean();
}

#[tokio::test]
async fn users_are_made_changed_disabled_and_deleted_and_change_their_password() {
    let Some(mut at) = Operated::begin().await else { return };
    let long = format!("{MARKUP}{}", "x".repeat(160));
    at.go("#/user-form", "main [name=login]").await;
    at.fill(&[("login", "ann"), ("fullName", &long), ("groups", "sales, $ops")]).await;
    at.fill(&[("password", "a long secret"), ("repeated", "another secret")]).await;
    at.page.click("main button", "Create the user").await;
    at.page
        .until("document.querySelector('.form-state')?.innerText.includes('passwords differ')")
        .await;
    at.fill(&[("repeated", "a long secret")]).await;
    at.press("Create the user").await;
    at.confirm_and_see(None, "document.querySelector('h1.name')?.innerText === 'ann'").await;
    at.assert_no_markup().await;
    let ann = at.get("/v1/users/ann").await;
    assert_eq!((&ann["fullName"], &ann["groups"]), (&json!(long), &json!(["sales", "$ops"])));

    at.fill(&[("fullName", "Ann"), ("groups", "[\"a, b\"]")]).await;
    at.press("Change name and groups").await;
    at.confirm_and_see(None, "document.querySelector('dd')?.innerText === 'Ann'").await;
    assert_eq!(at.get("/v1/users/ann").await["groups"], json!(["a, b"]));
    at.press("Disable").await;
    at.confirm_and_see(None, "document.querySelector('main').innerText.includes('disabled')").await;
    assert_eq!(at.get("/v1/users/ann").await["disabled"], true);
    at.press("Enable").await;
    at.confirm_and_see(None, "document.querySelector('main').innerText.includes('enabled')").await;
    at.fill(&[("password", "a second secret"), ("repeated", "a second secret")]).await;
    at.press("Reset the password").await;
    at.confirm_and_see(None, "document.querySelector('main [name=password]')?.value === ''").await;

    at.sign_in_as("ann", "a second secret").await;
    at.page.errors.clear();
    let places = at.page.value("document.querySelector('header nav').innerText").await;
    assert!(!places.as_str().unwrap().contains("Users"), "{places}");
    at.page.click(".user a", "ann").await;
    at.page.until("document.querySelector('main [name=currentPassword]')").await;
    let buttons = at.page.value("document.querySelectorAll('main button.act').length").await;
    assert_eq!(buttons, 0, "a user without rights has no acts");
    at.fill(&[("currentPassword", "a second secret")]).await;
    at.fill(&[("password", "a third secret"), ("repeated", "a third secret")]).await;
    at.press("Change your password").await;
    at.confirm_and_see(None, "document.querySelector('main').dataset.state === 'sign-in'").await;
    let own = basic("ann", "a third secret");
    at.scene.send("GET /v1/head", &own, &Value::Null).await.done();

    let password = at.scene.passwords.admin().to_owned();
    at.sign_in_as("admin", &password).await;
    at.go("#/user?login=ann", "main button.destructive").await;
    at.press("Delete the user").await;
    at.confirm_and_see(Some("ann"), "document.querySelector('h1')?.innerText === 'Users'").await;
    let gone = at.scene.send("GET /v1/users/ann", &at.admin, &Value::Null).await;
    gone.refused(404, "not-found");
    let acts: Vec<_> = at.acts("user").await.into_iter().map(|act| (act.0, act.1, act.3)).collect();
    let by_console = acts.iter().filter(|(_, user, _)| user == "ann");
    let kinds: Vec<_> = by_console.clone().map(|(kind, ..)| kind.as_str()).collect();
    let expected = [
        "$user-created",
        "$user-updated",
        "$user-disabled",
        "$user-enabled",
        "$password-reset",
        "$password-changed",
        "$user-deleted",
    ];
    assert_eq!(kinds, expected);
    assert!(by_console.clone().all(|(.., has_reason)| *has_reason), "{acts:?}");
}

#[tokio::test]
async fn events_are_appended_as_they_were_typed() {
    let Some(mut at) = Operated::begin().await else { return };
    let stream = format!("evil-{MARKUP}");
    let data = r#"{ "big": 12345678901234567890, "same": 1, "same": 2, "markup": "<b>x</b>" }"#;
    at.go(&format!("#/append?stream={}", percent(&stream)), "main [name=data]").await;
    at.fill(&[("type", MARKUP), ("data", "{ nonsense"), ("tags", "customer:1\n<b>:2")]).await;
    at.page.click("main button", "Append the event").await;
    at.page
        .until("document.querySelector('.form-state')?.innerText.includes('Data must be JSON')")
        .await;
    at.fill(&[("data", data), ("metadata", r#"{ "actor": "<i>" }"#)]).await;
    at.fill(&[("expected", "exact"), ("revision", "7")]).await;
    at.press("Append the event").await;
    at.confirm(None).await;
    at.page
        .until("document.querySelector('.act-state')?.innerText.includes('expected revision 7')")
        .await;
    at.page.click(".act-form button", "Close").await;
    at.fill(&[("expected", "no-stream")]).await;
    at.press("Append the event").await;
    at.confirm_and_see(None, "document.querySelector('main td')").await;
    at.assert_no_markup().await;
    let path = format!("/v1/streams/{}", percent(&stream));
    let line = format!("GET {path}");
    let raw = at.scene.send(&line, &at.admin, &Value::Null).await;
    assert!(raw.body.contains(data), "stored as it was typed: {raw:?}");
    let event = &raw.json()["events"][0];
    assert_eq!((&event["type"], &event["tags"]), (&json!(MARKUP), &json!(["customer:1", "<b>:2"])));
    assert_eq!(event["metadata"]["actor"], "<i>");

    let acts = at.acts("stream").await;
    let expected = ("append to streams".to_owned(), "refused: 409 Conflict".to_owned());
    assert_eq!((acts[0].0.clone(), acts[0].2.clone()), expected);
    assert_eq!(acts[1..], [done("append to streams", &stream)]);
}

#[tokio::test]
async fn streams_are_described_deleted_and_tombstoned() {
    let Some(mut at) = Operated::begin().await else { return };
    let stream = format!("evil-{MARKUP}");
    let append = json!({ "streams": [{ "stream": stream, "events": [{ "type": "a" }] }] });
    at.scene.send("POST /v1/append", &at.admin, &append).await.done();
    let shown = format!("#/stream?name={}", percent(&stream));
    let path = format!("/v1/streams/{}", percent(&stream));
    at.go(&shown, "main button.destructive").await;
    at.page.click("main a.button", "Change the metadata").await;
    at.page.until("document.querySelector('main [name=\"$maxCount\"]')").await;
    let others = r#"{ "team": "<b>sales</b>", "big": 12345678901234567890 }"#;
    at.fill(&[("$maxCount", "10"), ("$r", "ann, $ops"), ("$w", "$admins"), ("others", others)])
        .await;
    at.press("Change the metadata").await;
    at.confirm_and_see(None, "document.querySelector('main .payload')").await;
    at.assert_no_markup().await;
    let line = format!("GET {path}/metadata");
    let described = at.scene.send(&line, &at.admin, &Value::Null).await;
    assert!(described.body.contains("12345678901234567890"), "{described:?}");
    let metadata = described.json()["metadata"].clone();
    assert_eq!((&metadata["$maxCount"], &metadata["team"]), (&json!(10), &json!("<b>sales</b>")));
    assert_eq!(metadata["$acl"], json!({ "$r": ["ann", "$ops"], "$w": ["$admins"] }));
    // The form is filled with what is there.
    at.page.click("main a.button", "Change the metadata").await;
    at.page.until("document.querySelector('main [name=\"$w\"]')?.value === '$admins'").await;
    let readers = at.page.value("document.querySelector('main [name=\"$r\"]').value").await;
    assert_eq!(readers, "ann, $ops");

    at.go(&shown, "main button.destructive").await;
    at.press("Delete").await;
    at.confirm_and_see(
        Some(&stream),
        "document.querySelector('main').innerText.includes('deleted')",
    )
    .await;
    let state = at.scene.send(&line, &at.admin, &Value::Null).await.json()["state"].clone();
    assert_eq!(state, "deleted");
    at.press("Tombstone").await;
    at.confirm_and_see(
        Some(&stream),
        "document.querySelector('main').innerText.includes('tombstoned')",
    )
    .await;
    let state = at.scene.send(&line, &at.admin, &Value::Null).await.json()["state"].clone();
    assert_eq!(state, "tombstoned");
    let acts = at.acts("stream").await;
    let kinds: Vec<_> = acts.iter().map(|act| (act.0.as_str(), act.2.as_str())).collect();
    let expected = [
        ("$rights-changed", ""),
        ("set metadata of streams", "done"),
        ("delete streams", "done"),
        ("delete streams", "done"),
    ];
    assert_eq!(kinds, expected);
    assert!(acts.iter().all(|act| act.1.ends_with(&stream)), "{acts:?}");
}

#[tokio::test]
async fn a_scavenge_is_started_followed_and_stopped_beside_the_settings() {
    let Some(mut at) = Operated::begin().await else { return };
    at.go("#/operations", "main td").await;
    at.assert_no_markup().await;
    let text = at.page.text().await;
    for expected in ["option --listen", MARKUP, "/etc/gesta/serve.toml", "not set"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    at.page.write("main [name=threshold]", "50").await;
    at.press("Start a scavenge").await;
    at.confirm_and_see(None, "document.querySelector('main progress')").await;
    assert_eq!(at.get("/v1/scavenge").await["last"]["state"], "running");
    at.page.picture("scavenge-running").await;
    at.press("Stop the scavenge").await;
    at.confirm_and_see(None, "document.querySelector('main dd')?.innerText === 'stopped'").await;
    let last = at.get("/v1/scavenge").await["last"].clone();
    assert_eq!(last["state"], "stopped");
    let id = last["scavengeId"].as_str().unwrap();
    assert_eq!(at.acts("scavenge").await, [done("stop scavenges of the store", id)]);
    at.go("#/audit", "main td").await;
    at.assert_no_markup().await;
    let text = at.page.text().await;
    for expected in ["scavenge the store", "stop scavenges of the store", REASON, "admin", id] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    at.page.assert_clean();
}

#[tokio::test]
async fn a_store_is_verified_and_backed_up_and_its_damage_is_shown() {
    let Some(mut at) = Operated::begin().await else { return };
    at.go("#/operations", "main [name=backup]").await;
    at.press("Verify the store").await;
    at.confirm_and_see(None, "document.querySelector('main').innerText.includes('DAMAGED')").await;
    at.assert_no_markup().await;
    assert!(at.page.text().await.contains(MARKUP));
    at.page.write("main [name=backup]", "monday").await;
    at.press("Start a backup").await;
    let is_listed =
        "[...document.querySelectorAll('main td')].some(td => td.innerText === 'monday')";
    at.confirm_and_see(None, is_listed).await;
    at.page.picture("verification-and-backups").await;
    assert_eq!(at.acts("backup").await, [done("back up the store", "monday")]);
    at.page.assert_clean();
}

#[tokio::test]
async fn buttons_are_there_for_those_who_have_the_right() {
    let Some(mut at) = Operated::begin().await else { return };
    let metadata = json!({ "metadata": { "$acl": { "$w": [], "$d": [], "$mw": [] } } });
    at.scene.send("PUT /v1/streams/order-1/metadata", &at.admin, &metadata).await.done();
    let count = json!({ "name": "count", "query": "fromAll().when({ $any: s => s })" });
    at.scene.send("POST /v1/projections", &at.admin, &count).await;
    let acts =
        "[...document.querySelectorAll('main .act, main a.button')].map((one) => one.innerText)";
    let password = at.scene.passwords.ops().to_owned();
    at.sign_in_as("ops", &password).await;
    for (hash, part, expected) in [
        (
            "#/projection?name=count",
            "h1.name",
            json!(["Stop", "Stop without a checkpoint", "Reset"]),
        ),
        ("#/stream?name=order-1", "h1.name", json!([])),
        ("#/groups", "main td", json!(["New group"])),
    ] {
        at.go(hash, part).await;
        assert_eq!(at.page.value(acts).await, expected, "{hash}");
    }
    at.scene.create_user("ann", &[]).await;
    at.sign_in_as("ann", "changeit").await;
    at.page.errors.clear();
    for (hash, part) in [("#/group?source=order-1&name=mail", "h1.name"), ("#/groups", "main td")] {
        at.go(hash, part).await;
        assert_eq!(at.page.value(acts).await, json!([]), "{hash}");
    }
}

#[tokio::test]
async fn a_server_without_users_asks_for_no_reason_that_would_be_lost() {
    let scene = Scene::of_memory().await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    page.load("#/append?stream=order-1").await;
    page.write("main [name=type]", "order-placed").await;
    page.click("main button", "Append the event").await;
    page.until(
        "document.querySelector('.act-dialog')?.innerText.includes('keeps no audit stream')",
    )
    .await;
    page.value("document.querySelector('.act-form .buttons button').click()").await;
    page.until("document.querySelector('main td')?.innerText === '0'").await;
    let read = Api::of(&scene).get("/v1/streams/order-1").await.done();
    assert_eq!(read["events"][0]["type"], "order-placed");
    page.load("#/users").await;
    assert!(page.text().await.contains("has no users"));
    page.assert_clean();
}

fn long_name() -> String {
    format!("long-{}", "name".repeat(60))
}

/// The screens of acts, each with a part that it has.
fn screens() -> Vec<(&'static str, String, &'static str)> {
    let long = percent(&long_name());
    vec![
        ("group-acts", "#/group?source=order-1&name=mail".to_owned(), "td.acts"),
        ("group-new", "#/group-form".to_owned(), "main [name=source]"),
        (
            "group-change",
            "#/group-form?source=order-1&name=mail".to_owned(),
            "main [name=strategy]",
        ),
        ("projection-acts", "#/projection?name=count".to_owned(), "main .payload"),
        ("projection-new", "#/projection-form".to_owned(), "main [name=query]"),
        ("users", "#/users".to_owned(), "main td"),
        ("user", "#/user?login=ann".to_owned(), "main [name=groups]"),
        ("user-self", "#/user?login=admin".to_owned(), "main [name=currentPassword]"),
        ("user-new", "#/user-form".to_owned(), "main [name=login]"),
        ("append", "#/append?stream=order-1".to_owned(), "main [name=data]"),
        ("metadata", "#/stream-metadata?name=order-1".to_owned(), "main [name=others]"),
        ("stream-acts", "#/stream?name=order-1".to_owned(), "main button.destructive"),
        ("stream-long", format!("#/stream?name={long}"), "main a.button"),
        ("operations", "#/operations".to_owned(), "main td"),
        ("audit", "#/audit".to_owned(), "main td"),
    ]
}

#[tokio::test]
async fn every_screen_of_acts_is_readable_in_both_themes_and_widths() {
    let Some(mut at) = Operated::begin().await else { return };
    let query = "fromAll().when({ $init: () => ({ n: 0 }), $any(s) { s.n += 1; } })";
    let count = json!({ "name": "count", "query": query });
    at.scene.send("POST /v1/projections?reason=asked%20by%20sales", &at.admin, &count).await;
    let ann = json!({ "login": "ann", "fullName": format!("{MARKUP} of Sales"),
        "groups": ["$ops", "sales"], "password": "a long secret" });
    at.scene.send("POST /v1/users?reason=new%20in%20sales", &at.admin, &ann).await;
    let metadata = json!({ "metadata": { "$maxCount": 1000, "$acl": { "$r": ["ann", "$all"] },
        "team": "sales" } });
    let line = format!("PUT /v1/streams/order-1/metadata?reason={}", percent(&"long ".repeat(100)));
    at.scene.send(&line, &at.admin, &metadata).await.done();
    let named = json!({ "streams": [{ "stream": long_name(), "events": [{ "type": "a" }] }] });
    at.scene.send("POST /v1/append", &at.admin, &named).await.done();
    at.scene
        .send("POST /v1/groups/order-1/none/replay-parked?reason=mended", &at.admin, &Value::Null)
        .await;
    for (width, theme) in LOOKS.into_iter().chain([PHONE]) {
        at.page.look(width, theme).await;
        for (name, address, part) in screens() {
            at.go("#/none", "main").await;
            at.go(&address, part).await;
            at.page.assert_readable(name).await;
        }
        at.go("#/stream?name=order-1", "main button.destructive").await;
        at.press("Tombstone").await;
        at.page.assert_readable("dialog").await;
        at.page.click(".act-form button", "Close").await;
    }
    at.page.assert_clean();
}

#[tokio::test]
async fn screens_of_acts_are_reached_by_keys_and_a_dialog_keeps_its_own() {
    let Some(mut at) = Operated::begin().await else { return };
    for (key, heading) in [("u", "Users"), ("o", "Operations"), ("a", "Audit")] {
        at.page.press("g").await;
        at.page.press(key).await;
        at.page.until(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
    }
    at.go("#/stream?name=order-1", "main button.destructive").await;
    at.press("Delete").await;
    let focused = "document.activeElement?.name === 'reason'";
    at.page.until(focused).await;
    // Keys of the console are texts while the dialog is open.
    at.page.press("g").await;
    at.page.press("u").await;
    at.page.until("document.querySelector('.act-dialog [name=reason]').value === 'gu'").await;
    at.page.click(".act-form button", "Close").await;
    at.page.until("!document.querySelector('.act-dialog')").await;
    assert_eq!(at.get("/v1/streams/order-1/metadata").await["state"], "live");
    at.page.assert_clean();
}
