//! Personal data in what operators see: masked without the right, on every route.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use gesta::{
    Begin, EffectContext, EffectError, FailurePolicy, Gesta, Reactor, Registry, Tag, audit,
    prelude::*,
    store::{
        Append, ContentType, EventType, ExpectedRevision, MemoryReadModels, NewEvent, Rows,
        StreamName,
    },
    testing::drain,
};
use gesta_http::{Access, AccessRole, AccessRules, Api, GestaState, Right};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{access::Named, asked};

/// Part of every personal text here, and of nothing else.
const PLANTED: &str = "ann@example";

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-joined")]
struct UserJoinedV1 {
    user: u8,
    #[event(personal)]
    address: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "user-joined", version = 2, from = UserJoinedV1)]
#[serde(rename_all = "camelCase")]
struct UserJoined {
    user: u8,
    #[event(tag = "mail", personal)]
    mail_address: String,
}

impl From<UserJoinedV1> for UserJoined {
    fn from(old: UserJoinedV1) -> Self {
        Self { user: old.user, mail_address: old.address }
    }
}

#[derive(EventSet, Clone)]
enum UserEvent {
    Joined(UserJoined),
}

#[derive(Default, Serialize)]
struct User {
    mail: String,
    joined: u8,
}

impl Aggregate for User {
    const CATEGORY: &'static str = "user";
    type Id = u8;
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent) {
        let UserEvent::Joined(joined) = event;
        self.mail.clone_from(&joined.mail_address);
        self.joined += 1;
    }
}

/// An aggregate of the same events whose personal members nobody has named.
#[derive(Default, Serialize)]
struct Guest(User);

impl Aggregate for Guest {
    const CATEGORY: &'static str = "guest";
    type Id = u8;
    type Event = UserEvent;

    fn evolve(&mut self, event: &UserEvent) {
        self.0.evolve(event);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "join-user", on = User, new)]
struct JoinUser {
    #[command(id)]
    user: u8,
    mail: String,
}

impl Decide for JoinUser {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &User) -> Decision<Self> {
        Ok(UserJoined { user: self.user, mail_address: self.mail.clone() }.into())
    }
}

#[derive(Debug, thiserror::Error, Rejection)]
#[error("{mail} is away")]
#[rejection(code = "away")]
struct Away {
    mail: String,
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "greet-user", on = User, either)]
struct GreetUser {
    #[command(id)]
    user: u8,
    mail: String,
}

impl Decide for GreetUser {
    type Rejection = Away;

    fn decide(&self, _: &User) -> Decision<Self> {
        Err(Away { mail: self.mail.clone() })
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Reminder {
    mail: String,
}

/// Greets the first user, which is refused, and fails with the second one.
#[derive(Clone, Default)]
struct Greeter;

impl ProcessManager for Greeter {
    const NAME: &'static str = "greeter";
    type Event = UserEvent;
    type Timer = Reminder;
    type Commands = (GreetUser,);

    fn route(event: &Recorded<UserEvent>) -> Routing {
        Routing::start(&event.stream)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: gesta::RecordedAt) -> Effects<Self> {
        let Input::Event(event) = input else { return Effects::none() };
        let UserEvent::Joined(UserJoined { user, mail_address }) = event;
        assert!(*user != 2, "no greeting for {mail_address}");
        let mail = || mail_address.clone();
        Effects::none()
            .send(GreetUser { user: *user, mail: mail() })
            .after(Duration::from_secs(3_600), Reminder { mail: mail() })
    }
}

struct Postman;

impl Reactor for Postman {
    const NAME: &'static str = "postman";
    type Event = UserEvent;

    async fn react(
        &self,
        event: &Recorded<UserEvent>,
        _: &EffectContext,
    ) -> Result<(), EffectError> {
        let UserEvent::Joined(joined) = &event.event;
        Err(EffectError::permanent(format!("no way to {}", joined.mail_address)))
    }
}

/// A projection that fails with every user.
struct Users<const HALTS: bool>;

impl<const HALTS: bool> Projection for Users<HALTS> {
    const NAME: &'static str = if HALTS { "strict-users" } else { "users" };
    const FAILURE_POLICY: FailurePolicy =
        if HALTS { FailurePolicy::Halt } else { FailurePolicy::SetAside };
    type Event = UserEvent;
}

impl<Tx: Rows, const HALTS: bool> Apply<Tx> for Users<HALTS> {
    async fn apply(&self, _: &mut Tx, events: &[Recorded<UserEvent>]) -> Result<(), ApplyError> {
        let Some(event) = events.first() else { return Ok(()) };
        let UserEvent::Joined(joined) = &event.event;
        Err(ApplyError::because(format!("taken: {}", joined.mail_address)))
    }
}

fn api() -> Api {
    Api::new("Users", "1.0")
        .operated_under("/v1")
        .console("/v1", Registry::of::<UserEvent>())
        .aggregate_with_personal::<User>(&["mail"])
        .aggregate::<Guest>()
}

/// The auditor may do everything but see personal data.
fn rules() -> AccessRules {
    let auditor = Right::ALL.into_iter().filter(|right| *right != Right::Personal);
    let consumer = AccessRole::named("consumer").has([Right::Feed]);
    let keeper = AccessRole::named("keeper").has(Right::ALL);
    AccessRules::new([AccessRole::named("auditor").has(auditor), consumer, keeper])
}

async fn append(gesta: &Gesta, stream: &str, event: NewEvent) {
    let stream = StreamName::new(stream).unwrap();
    gesta.store().append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
}

fn event_of(event_type: &str, data: &'static str) -> NewEvent {
    NewEvent::json(gesta::EventId::random(), EventType::new(event_type).unwrap(), data)
}

/// Users with personal data wherever an operator may meet them.
async fn joined() -> Gesta {
    let models = MemoryReadModels::new();
    let gesta = Gesta::at("memory:")
        .project(Users::<false>, &models)
        .project(Users::<true>, &models)
        .process::<Greeter>()
        .react(Postman, Begin::AtTheStart);
    let gesta = gesta.open().await.unwrap();
    for user in [1, 2] {
        gesta.execute(JoinUser { user, mail: "ann@example.org".to_owned() }).await.unwrap();
    }
    let old = event_of("user-joined", r#"{"user":3,"address":"ann@example.org"}"#);
    append(&gesta, "user-3", old).await;
    let tag = Tag::new("mail:ann@example.org").unwrap();
    let mut unknown = event_of("user-noted", r#"{"text":"ann@example.org"}"#);
    unknown.tags = vec![tag];
    append(&gesta, "note-1", unknown).await;
    let mut opaque = event_of("user-joined", "ann@example.org").schema_version(2);
    opaque.content_type = ContentType::new("text/plain").unwrap();
    append(&gesta, "plain-1", opaque).await;
    drain(&gesta).await;
    gesta
}

async fn text(router: &Router, who: &str, mut request: Request<Body>) -> (u16, String) {
    if !who.is_empty() {
        request.headers_mut().insert("x-test", who.parse().unwrap());
    }
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(router: &Router, who: &str, path: &str) -> Value {
    let (status, text) = text(router, who, asked("GET", path)).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

fn guarded(gesta: &Gesta) -> Router {
    api().router(GestaState::new(gesta.clone()).access(Access::new(rules()).by(Named)))
}

/// Each GET route of operators: its template, a request, and whether its answer has personal data.
const READS: [(&str, &str, bool); 27] = [
    ("/v1/streams", "/v1/streams", false),
    ("/v1/streams/{stream}", "/v1/streams/user-1?upcast=true", true),
    ("/v1/streams/{stream}", "/v1/streams/user-3?upcast=true", true),
    ("/v1/streams/{stream}", "/v1/streams/note-1", true),
    ("/v1/streams/{stream}", "/v1/streams/process:greeter-user-1", true),
    ("/v1/streams/{stream}/metadata", "/v1/streams/user-1/metadata", false),
    ("/v1/categories", "/v1/categories", false),
    ("/v1/all", "/v1/all", true),
    ("/v1/events/{id}", "/v1/events/EVENT?upcast=true", true),
    ("/v1/counts", "/v1/counts", false),
    ("/v1/store", "/v1/store", false),
    ("/v1/aggregates", "/v1/aggregates", false),
    ("/v1/aggregates/{category}/{id}", "/v1/aggregates/user/1", true),
    ("/v1/event-types", "/v1/event-types", false),
    ("/v1/projections", "/v1/projections", true),
    ("/v1/dead-letters", "/v1/dead-letters", true),
    ("/v1/processes", "/v1/processes", true),
    ("/v1/processes/{process}", "/v1/processes/greeter", true),
    ("/v1/processes/{process}/instances", "/v1/processes/greeter/instances", true),
    ("/v1/processes/{process}/instances/{id}", "/v1/processes/greeter/instances/user-1", true),
    ("/v1/processes/{process}/set-aside", "/v1/processes/greeter/set-aside", true),
    ("/v1/processes/{process}/timers", "/v1/processes/greeter/timers", false),
    ("/v1/processes/{process}/commands", "/v1/processes/greeter/commands", false),
    ("/v1/reactors", "/v1/reactors", false),
    ("/v1/reactors/{reactor}", "/v1/reactors/postman", false),
    ("/v1/reactors/{reactor}/dead-letters", "/v1/reactors/postman/dead-letters", true),
    ("/v1/events", "/v1/events?follow=false", true),
];

#[tokio::test]
async fn no_read_of_an_operator_has_personal_data_without_the_right() {
    let gesta = joined().await;
    let router = guarded(&gesta);
    let event = get(&router, "ben keeper", "/v1/streams/user-1").await["events"][0]["id"].clone();
    for (_, path, is_personal) in READS {
        let path = path.replace("EVENT", event.as_str().unwrap());
        let (status, shown) = text(&router, "ben keeper", asked("GET", &path)).await;
        assert_eq!((status, shown.contains(PLANTED)), (200, is_personal), "{path}: {shown}");
        let (status, masked) = text(&router, "cem auditor", asked("GET", &path)).await;
        assert!(!masked.contains(PLANTED), "{path}: {masked}");
        assert_eq!(status, 200, "{path}: {masked}");
        assert_eq!(masked.contains("[personal]"), is_personal, "{path}: {masked}");
    }
    let document = api().document();
    let paths = document["paths"].as_object().unwrap().iter();
    let reads =
        paths.filter(|(path, methods)| path.starts_with("/v1/") && methods["get"] != json!(null));
    let reads: BTreeSet<_> = reads.map(|(path, _)| path.as_str()).collect();
    assert_eq!(reads, READS.iter().map(|(template, ..)| *template).collect(), "each is asked");
}

#[tokio::test]
async fn nothing_is_masked_without_an_access_or_without_marks() {
    let gesta = joined().await;
    let open = api().router(GestaState::new(gesta.clone()));
    for (_, path, is_personal) in READS.iter().filter(|(_, path, _)| !path.contains("EVENT")) {
        let (status, shown) = text(&open, "", asked("GET", path)).await;
        assert_eq!((status, shown.contains(PLANTED)), (200, *is_personal), "{path}");
    }
    let unmarked = Api::new("Users", "1.0").operated_under("/v1").console("/v1", Registry::new());
    let state = GestaState::new(gesta).access(Access::new(rules()).by(Named));
    let (_, shown) = text(&unmarked.router(state), "cem auditor", asked("GET", "/v1/all")).await;
    assert!(shown.contains(PLANTED), "no registry says what is personal");
}

#[tokio::test]
async fn values_and_tags_of_marked_fields_are_masked_and_nothing_else_is() {
    let gesta = joined().await;
    let router = guarded(&gesta);
    let auditor = "cem auditor";
    let stream = get(&router, auditor, "/v1/streams/user-1?upcast=true").await;
    let event = &stream["events"][0];
    assert_eq!(event["data"], json!({ "user": 1, "mailAddress": "[personal]" }));
    assert_eq!(event["tags"], json!(["mail:[personal]"]));
    assert_eq!(
        (&event["type"], &event["contentType"]),
        (&json!("user-joined"), &json!("application/json"))
    );
    let stream = get(&router, auditor, "/v1/streams/user-3?upcast=true").await;
    let event = &stream["events"][0];
    assert_eq!(event["data"], json!({ "user": 3, "address": "[personal]" }));
    assert_eq!(event["upcast"], json!({ "user": 3, "mailAddress": "[personal]" }));
    let stream = get(&router, auditor, "/v1/streams/note-1").await;
    let event = &stream["events"][0];
    assert_eq!(event["data"], "[personal]", "its type is unknown");
    assert_eq!(event["tags"], json!(["mail:[personal]"]));
    let stream = get(&router, auditor, "/v1/streams/plain-1?upcast=true").await;
    let event = &stream["events"][0];
    assert_eq!((&event["data"], event.get("dataBase64")), (&json!("[personal]"), None));
    assert!(event["unreadable"].as_str().unwrap().starts_with("[personal]"), "{event}");
    let process = get(&router, auditor, "/v1/streams/process:greeter-user-1").await;
    let reacted = &process["events"][0]["data"];
    let [send, timer] = [&reacted["effects"][0]["send"], &reacted["effects"][1]["setTimer"]];
    assert_eq!(send, &json!({ "command": "greet-user", "payload": "[personal]" }));
    assert_eq!((&timer["timer"], timer["due"].is_u64()), (&json!("[personal]"), true));
    let types = get(&router, auditor, "/v1/event-types").await;
    assert_eq!(types["items"][0]["personal"], json!(["address", "mailAddress"]));
    let state = get(&router, auditor, "/v1/aggregates/user/1").await;
    assert_eq!(state["data"], json!({ "mail": "[personal]", "joined": 1 }));
}

#[tokio::test]
async fn a_state_whose_personal_members_nobody_has_named_is_refused_and_names_the_right() {
    let gesta = joined().await;
    let (status, problem) =
        text(&guarded(&gesta), "cem auditor", asked("GET", "/v1/aggregates/guest/1")).await;
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert_eq!((status, &problem["right"]), (403, &json!("personal")));
}

/// A request that is sent several times.
type MakeRequest<'a> = Box<dyn Fn() -> Request<Body> + 'a>;

/// Returns an operator's request with data to try.
fn tried(path: &str, data: &str) -> Request<Body> {
    let body = json!({ "data": data }).to_string();
    let mut request = asked("POST", path);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    *request.body_mut() = body.into();
    request
}

#[tokio::test]
async fn acts_of_operators_quote_nothing_and_take_no_mask() {
    let gesta = joined().await;
    let router = guarded(&gesta);
    let (keeper, auditor) = ("ben keeper", "cem auditor");
    let letters = get(&router, keeper, "/v1/dead-letters").await;
    let id = letters["items"][0]["id"].as_str().unwrap();
    let path = format!("/v1/dead-letters/{id}/try");
    let masked = r#"{"user":1,"mailAddress":"[personal]"}"#;
    let (status, refused) = text(&router, auditor, tried(&path, masked)).await;
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("has the mask `[personal]`"), "{refused}");
    assert_eq!(
        text(&router, keeper, tried(&path, masked)).await.0,
        200,
        "it is a value like others"
    );
    let effects = get(&router, keeper, "/v1/reactors/postman/dead-letters").await;
    let of_user = |letter: &&Value| letter["stream"] == "user-1";
    let effect = effects["items"].as_array().unwrap().iter().find(of_user).unwrap();
    let effect = effect["id"].as_str().unwrap();
    let retry_effect = format!("/v1/reactors/postman/dead-letters/{effect}/retry");
    let other = r#"{"user":1,"mailAddress":"ann@example.com"}"#;
    let acts: [(&str, MakeRequest<'_>); 4] = [
        ("the try", Box::new(|| tried(&path, other))),
        ("the retry", Box::new(|| asked("POST", &format!("/v1/dead-letters/{id}/retry")))),
        (
            "the retry of a process",
            Box::new(|| asked("POST", "/v1/processes/greeter/set-aside/instance:user-2/retry")),
        ),
        ("the retry of an effect", Box::new(|| asked("POST", &retry_effect))),
    ];
    for (act, request) in &acts {
        let (status, shown) = text(&router, keeper, request()).await;
        assert!(shown.contains(PLANTED), "{act}: {status} {shown}");
        let (again, masked) = text(&router, auditor, request()).await;
        assert_eq!(again, status, "{act}: {masked}");
        assert!(!masked.contains(PLANTED) && masked.contains("[personal]"), "{act}: {masked}");
    }
}

#[tokio::test]
async fn a_consumer_of_the_feed_gets_the_data_of_the_application() {
    let gesta = joined().await;
    let feed = asked("GET", "/v1/events?follow=false");
    let (status, events) = text(&guarded(&gesta), "dan consumer", feed).await;
    assert_eq!(status, 200);
    assert!(events.contains(PLANTED) && !events.contains("[personal]"), "{events}");
}

#[tokio::test]
async fn health_is_open_and_has_no_personal_data() {
    let gesta = joined().await;
    let (status, shown) = text(&guarded(&gesta), "ben keeper", asked("GET", "/health/ready")).await;
    assert!(shown.contains(PLANTED), "{status} {shown}");
    let (again, masked) = text(&guarded(&gesta), "", asked("GET", "/health/ready")).await;
    assert_eq!(again, status);
    assert!(!masked.contains(PLANTED) && masked.contains("strict-users"), "{masked}");
    // Only the quoted errors are hidden.
    for own_words in [
        "at position 1: [personal]",
        "4 events are set aside",
        "set-aside inputs: 1; first error: [personal]",
        "dead letters: 4; first error: stream plain-1: [personal]",
    ] {
        assert!(masked.contains(own_words), "{own_words}: {masked}");
    }
}

#[tokio::test]
async fn health_tells_everyone_that_a_part_is_paused() {
    let gesta = joined().await;
    let operator = audit::Operator::new("ann");
    gesta.pause_process("greeter", &operator).await.unwrap();
    let (_, shown) = text(&guarded(&gesta), "", asked("GET", "/health/ready")).await;
    let paused = "the process manager is paused; resume it to continue";
    assert!(shown.contains(paused), "{shown}");
}
