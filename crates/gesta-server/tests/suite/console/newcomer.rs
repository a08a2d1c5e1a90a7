//! The way of a newcomer through every screen of the console of a secured server, whose store is in
//! a directory: what happened and why, what is stuck, who may do what, and the care of the store.
//!
//! A test without Chromium says so on standard error, and fails under `CI=true`.

use std::{fs, path::PathBuf, sync::Arc, sync::mpsc};

use gesta_log::{IndexedIds, LogStore, Options};
use gesta_server::{Server, ServerLabels, ServerSetting};
use gesta_services::chromium::{LOOKS, PHONE, Page};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;

use super::{signing_in::sign_in, store};
use crate::{
    client::{
        Credentials,
        groups::{
            persistent_subscriptions_client::PersistentSubscriptionsClient, read_req::nack::Action,
        },
    },
    group_client::{GroupConsumer, of_stream, place, settings},
    operating::OfLog,
    secured::{Secured, basic},
    upkeep::{Held, OfDirectory},
};

/// The group that has parked the event of an order.
const MAIL: (&str, &str) = ("order-1", "mail");
/// A projection that looks for a member that no event has.
const BROKEN: &str = "fromCategory('payment').foreachStream().when({\n  \
    $init: () => ({ paid: 0 }),\n  \
    'payment-received'(state, event) { state.paid += event.data.sum.value; },\n});";

/// A secured server, and a page that looks at it. Dropping it ends the server.
struct Newcomer {
    scene: Secured,
    page: Page,
    /// Lets a verification or a backup go on.
    proceed: mpsc::Sender<()>,
    directories: TempDir,
}

fn labelled(server: Server) -> Server {
    let settings = [
        ServerSetting::new("listen", "option --listen").value("0.0.0.0:2113"),
        ServerSetting::new("environment", "environment GESTA_ENVIRONMENT").value("production"),
        ServerSetting::new("backups", "/etc/gesta/serve.toml").value("/mnt/backups"),
        ServerSetting::new("client-ca", "default"),
    ];
    server.labelled(ServerLabels::default().environment("production").settings(settings))
}

impl Newcomer {
    /// Opens the console of a server with a conversation, an event that a group has parked, and
    /// events that are hidden.
    async fn begin() -> Option<Self> {
        let directories = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { directories.path().join(name) };
        fs::create_dir(path("backups")).unwrap();
        let ids = "event-id,correlation,causation,streams".parse::<IndexedIds>().unwrap();
        let options = Options::default().index(ids);
        let store = LogStore::open_async(path("things"), options).await.unwrap();
        let directory = OfDirectory { store: path("things"), backups: path("backups") };
        let (upkeep, proceed) = Held::of(directory);
        let scene = Secured::made(Arc::new(store.clone()), |server| {
            let server = labelled(server).scavenging(Arc::new(OfLog(store)));
            server.keeping(Arc::new(upkeep))
        })
        .await;
        let server = format!("https://localhost:{}", scene.address.port());
        let page = Page::open(&server).await?;
        let mut newcomer = Self { scene, page, proceed, directories };
        newcomer.fill_the_store().await;
        newcomer.page.look(1_400, "light").await;
        Some(newcomer)
    }

    fn admin(&self) -> Credentials {
        basic("admin", self.scene.passwords.admin())
    }

    async fn send(&self, line: &str, body: &Value) -> Value {
        self.scene.send(line, &self.admin(), body).await.done()
    }

    async fn fill_the_store(&mut self) {
        for append in store::conversation() {
            self.send("POST /v1/append", &append).await;
        }
        let old = [json!({ "type": "was" }), json!({ "type": "was" }), json!({ "type": "is" })];
        let append = json!({ "streams": [{ "stream": "price-1", "events": old }] });
        self.send("POST /v1/append", &append).await;
        let metadata = json!({ "metadata": { "$maxCount": 1 } });
        self.send("PUT /v1/streams/price-1/metadata", &metadata).await;
        self.groups().await.create(of_stream(MAIL.0, MAIL.1, settings())).await.unwrap();
        let mut consumer = self.consumer().await;
        let (placed, confirmed) = (consumer.next().await, consumer.next().await);
        consumer.nack_because(&placed, Action::Park, "the address has no postcode").await;
        consumer.ack(&[&confirmed]).await;
        self.until_parked(1).await;
    }

    async fn groups(
        &self,
    ) -> PersistentSubscriptionsClient<InterceptedService<tonic::transport::Channel, Credentials>>
    {
        let channel = self.scene.channel().await;
        PersistentSubscriptionsClient::with_interceptor(channel, self.admin())
    }

    async fn consumer(&self) -> GroupConsumer {
        let (answers, asked) = GroupConsumer::asking(MAIL, 10).await;
        let messages = self.groups().await.read(asked).await.unwrap().into_inner();
        GroupConsumer::confirmed(answers, messages, MAIL).await.unwrap()
    }

    async fn until_parked(&self, number: u64) {
        while self.send("GET /v1/groups", &Value::Null).await["groups"][0]["parked"] != number {
            tokio::task::yield_now().await;
        }
    }

    /// Signs in, in place of the user who is signed in.
    async fn sign_in_as(&mut self, login: &str, password: &str) {
        if self.page.value("document.querySelector('.user button') !== null").await == true {
            self.page.click(".user button", "Sign out").await;
        }
        self.page.until("document.querySelector('main').dataset.state === 'sign-in'").await;
        sign_in(&mut self.page, login, password).await;
        let is_in = format!("document.querySelector('.user').innerText.startsWith('{login}')");
        self.page.until(&is_in).await;
        self.page.until("document.querySelector('main').dataset.state === 'ready'").await;
    }

    async fn sign_in_as_admin(&mut self) {
        let password = self.scene.passwords.admin().to_owned();
        self.sign_in_as("admin", &password).await;
    }

    /// Takes refusals from the errors of the browser's console, which must have no others.
    fn expect_refusals(&mut self, statuses: &[&str]) {
        assert!(!self.page.errors.is_empty(), "nothing was refused");
        let is_other = |error: &&String| !statuses.iter().any(|status| error.contains(status));
        assert_eq!(self.page.errors.iter().find(is_other), None, "none of {statuses:?}");
        self.page.errors.clear();
    }

    async fn signs_in(&mut self) {
        self.page.load("#/start").await;
        self.page.assert_readable("sign-in").await;
        sign_in(&mut self.page, "admin", "wrong").await;
        self.page.until("document.querySelector('.sign-in [role=alert]')").await;
        self.page.assert_readable("sign-in-refused").await;
        self.sign_in_as_admin().await;
        self.expect_refusals(&["401"]);
        self.page.sees("start", &["1 problem", "Group mail of order-1", "TLS and users"]).await;
    }

    /// The events of a customer, the causes of one, and its conversation.
    async fn understands_an_order(&mut self) {
        self.page.go("q", "Query").await;
        self.page.until("document.querySelector('[name=tag]')").await;
        self.page.write("[name=tag]", "customer:17850").await;
        self.page.follow("main form button", "Find").await;
        self.page.sees("query", &["5 events on this page", "order-placed"]).await;
        self.page.follow("main a", "order-1").await;
        self.page.sees("stream", &["order-placed", "order-confirmed", "live"]).await;
        self.page.follow("main td a", "0").await;
        self.page.sees("event", &["check-out-7", "cart-checked-out", "payment-received"]).await;
        self.page.follow("main .causes-tree a", "payment-received").await;
        self.page.sees("effect", &["payment-9", "order-confirmed", "12.5"]).await;
        self.page.follow("main a", "The whole conversation over time").await;
        self.page.sees("timeline", &["5 events in 3 streams", "payment-requested"]).await;
    }

    /// An event that a consumer could not handle, until it can.
    async fn frees_a_group(&mut self) {
        self.page.go("g", "Consumer groups").await;
        self.page.sees("groups", &["mail", "order-1", "1 parked event"]).await;
        self.page.go("h", "Start").await;
        self.page.follow("main .notice a", "Group mail of order-1").await;
        self.page.sees("group", &["0@order-1", "the address has no postcode"]).await;
        let mut consumer = self.consumer().await;
        self.page.act("Retry all", "the address is complete now").await;
        let placed = consumer.next().await;
        assert_eq!(place(&placed), "0@order-1");
        consumer.ack(&[&placed]).await;
        self.until_parked(0).await;
        self.page.until_shown("No event is parked").await;
        self.page.sees("group-freed", &["admin", "No event is parked"]).await;
        // The screen may have read the parked events just after the last one was finished.
        self.page.errors.retain(|error| !(error.contains("404") && error.contains("mail-parked")));
        self.page.follow("main a", "Change settings").await;
        self.page.sees("group-change", &["Retries"]).await;
        self.page.show("#/group-form").await;
        self.page.sees("group-new", &["Retries"]).await;
    }

    /// A script that fails, and its state once it is mended.
    async fn mends_a_projection(&mut self) {
        self.page.go("p", "Projections").await;
        self.page.follow("main a", "New projection").await;
        self.page.write("main [name=name]", "payments").await;
        self.page.write("main [name=query]", BROKEN).await;
        self.page.sees("projection-new", &["Script"]).await;
        self.page.submit("Create the projection", "the sales report").await;
        self.page.until_shown("Faulted").await;
        self.page.sees("projection-faulted", &["Faulted", "event.data.sum.value"]).await;
        self.page.go("h", "Start").await;
        self.page.follow("main .notice a", "Projection payments").await;
        self.page.until_shown("Change the script").await;
        self.page.follow("main a", "Change the script").await;
        let mended = BROKEN.replace("event.data.sum.value", "event.data.amount");
        self.page.until("document.querySelector('main [name=query]')").await;
        self.page.write("main [name=query]", &mended).await;
        self.page.sees("projection-form", &["The script of the projection"]).await;
        self.page.submit("Change the script", "the member is called amount").await;
        self.page.until_shown("event.data.amount").await;
        if self.page.text().await.contains("Faulted") {
            self.page.act("Start", "it is mended").await;
        }
        self.page.until_shown("Running").await;
        let state = "GET /v1/projections/payments/state?partition=payment-9";
        while self.scene.send(state, &self.admin(), &Value::Null).await.json()["state"]["paid"]
            != json!(12.5)
        {
            tokio::task::yield_now().await;
        }
        self.page.show("#/projection?name=payments").await;
        self.page.until("document.querySelector('main [name=partition]')").await;
        self.page.write("main [name=partition]", "payment-9").await;
        self.page.follow("main form button", "Show").await;
        self.page.sees("projection", &["Running", "paid: 12.5"]).await;
        self.page.go("p", "Projections").await;
        self.page.sees("projections", &["payments", "Running"]).await;
    }

    /// A user who may not read a stream, until they may.
    async fn opens_a_stream_to_a_user(&mut self) {
        self.page.go("u", "Users").await;
        self.page.follow("main a", "New user").await;
        for (field, value) in [
            ("login", "ann"),
            ("fullName", "Ann of Sales"),
            ("groups", "sales"),
            ("password", "a long secret"),
            ("repeated", "a long secret"),
        ] {
            self.page.write(&format!("main [name={field}]"), value).await;
        }
        self.page.sees("user-new", &["Full name"]).await;
        self.page.submit("Create the user", "Ann is new in Sales").await;
        self.page.until_shown("Ann of Sales").await;
        self.page.sees("user", &["Ann of Sales", "sales"]).await;
        self.page.go("u", "Users").await;
        self.page.sees("users", &["ann", "admin", "ops"]).await;
        self.sets_readers("$admins", "payments are for Finance").await;
        self.page.sees("metadata", &["$admins"]).await;

        // The screen that was open is refused, too.
        self.sign_in_as("ann", "a long secret").await;
        self.expect_refusals(&["401", "403"]);
        self.page.show("#/stream?name=payment-9").await;
        let refusal = "access to the stream `payment-9` is denied";
        self.page.until_shown(refusal).await;
        self.page.assert_readable("refused").await;
        self.expect_refusals(&["403"]);
        self.sign_in_as_admin().await;
        self.sets_readers("$admins, sales", "Sales asks for them").await;
        self.sign_in_as("ann", "a long secret").await;
        self.page.show("#/stream?name=payment-9").await;
        self.page.until_shown("payment-received").await;
        self.page.assert_readable("permitted").await;
        assert!(!self.page.text().await.contains(refusal));
        self.sign_in_as_admin().await;
        self.expect_refusals(&["401"]);
    }

    async fn sets_readers(&mut self, readers: &str, reason: &str) {
        self.page.show("#/stream?name=payment-9").await;
        self.page.follow("main a", "Change the metadata").await;
        self.page.until("document.querySelector('main [name=\"$r\"]')").await;
        self.page.write("main [name=\"$r\"]", readers).await;
        self.page.assert_readable("metadata-form").await;
        self.page.submit("Change the metadata", reason).await;
        self.page.until("document.querySelector('main td')").await;
        self.page.until_shown("$admins").await;
    }

    async fn takes_care_of_the_store(&mut self) {
        self.page.go("o", "Operations").await;
        let settings = ["option --listen", "GESTA_ENVIRONMENT", "/etc/gesta/serve.toml", "not set"];
        self.page.sees("operations", &settings).await;
        self.page.act("Verify the store", "weekly").await;
        self.page.until_shown("25 %").await;
        self.page.sees("verifying", &["Stop the verification"]).await;
        self.proceed.send(()).unwrap();
        self.page.until_shown("sound").await;
        self.page.write("main [name=backup]", "monday").await;
        self.page.act("Start a backup", "before the move").await;
        self.page.until_shown("25 %").await;
        self.page.sees("backing-up", &["Stop the backup", "monday"]).await;
        self.proceed.send(()).unwrap();
        let is_listed =
            "[...document.querySelectorAll('main td')].some((cell) => cell.innerText === 'monday')";
        self.page.until(is_listed).await;
        assert!(self.directories.path().join("backups/monday").is_dir());
        self.page.act("Start a scavenge", "the disk").await;
        self.page.until_shown("Events removed").await;
        self.page.sees("cared-for", &["sound", "monday", "Events removed"]).await;
    }

    async fn watches_and_exports(&mut self) {
        self.page.go("l", "Live").await;
        self.page.until_shown("Waiting for events").await;
        self.page.assert_readable("live-waiting").await;
        let shipped =
            json!({ "type": "order-shipped", "data": { "by": "post, \"fast\"" }, "tags": ["x:1"] });
        let append = json!({ "streams": [{ "stream": "order-1", "events": [shipped] }] });
        self.send("POST /v1/append", &append).await;
        self.page.until("document.querySelectorAll('main tbody td').length > 1").await;
        self.page.sees("live", &["order-shipped"]).await;
        self.page.show("#/query?type=order-shipped").await;
        self.page.sees("found", &["1 event on this page", "order-shipped"]).await;
        let keep = "globalThis.saved = []; const make = URL.createObjectURL; \
             URL.createObjectURL = (blob) => { saved.push(blob.text()); return make.call(URL, blob); }";
        self.page.value(&format!("{{ {keep}; true; }}")).await;
        for (number, kind) in [(1, "CSV"), (2, "JSON")] {
            self.page.click("main button", kind).await;
            self.page.until(&format!("saved.length === {number}")).await;
        }
        let saved = self.page.value("Promise.all(saved)").await;
        let (csv, json) = (saved[0].as_str().unwrap(), saved[1].as_str().unwrap());
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(lines.len(), 2, "{csv}");
        assert!(
            lines[0].starts_with("position,stream,revision,") && lines[1].contains(",order-1,2,")
        );
        assert!(lines[1].contains(r#""post, \""fast\""""#), "{csv}");
        let events: Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            (&events[0]["type"], &events[0]["revision"]),
            (&json!("order-shipped"), &json!(2))
        );
        assert_eq!(events[0]["data"]["by"], "post, \"fast\"");
    }

    async fn looks_around(&mut self) {
        self.page.go("s", "Streams").await;
        self.page.sees("streams", &["cart-7", "payment-9"]).await;
        self.page.follow("main a", "Append an event").await;
        self.page.sees("append", &["Data"]).await;
        self.page.go("t", "Timeline").await;
        self.page.sees("timeline-empty", &["Name a conversation"]).await;
        self.page.show("#/user?login=admin").await;
        self.page.sees("user-self", &["Your password"]).await;
        self.page.go("a", "Audit").await;
        let reasons = [
            "the address is complete now",
            "the member is called amount",
            "Ann is new in Sales",
            "Sales asks for them",
            "before the move",
            "the disk",
        ];
        self.page.sees("audit", &reasons).await;
        self.page.go("h", "Start").await;
        self.page.sees("start-mended", &["No problems"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_their_way_through_every_screen_of_a_server() {
    let Some(mut newcomer) = Newcomer::begin().await else { return };
    newcomer.signs_in().await;
    newcomer.understands_an_order().await;
    newcomer.frees_a_group().await;
    newcomer.mends_a_projection().await;
    newcomer.opens_a_stream_to_a_user().await;
    newcomer.takes_care_of_the_store().await;
    newcomer.watches_and_exports().await;
    newcomer.looks_around().await;
    newcomer.page.look_again(&LOOKS[1..]).await;
    newcomer.page.look_again(&[PHONE]).await;
    newcomer.page.assert_clean();
}
