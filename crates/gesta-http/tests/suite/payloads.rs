//! Payloads pass in and out without rounding, sorting or loss.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use futures_util::StreamExt as _;
use gesta::{
    Gesta,
    prelude::*,
    store::{Append, ContentType, ExpectedRevision, NewEvent},
};
use gesta_http::{
    Api, ApiRoute, Commands, Created, GestaState, HistoryEntry, JsonBody, ListHistory, PageLinks,
    Paged, Problem, Queries, QueryOf, RequestFields, Resource,
};
use tower::ServiceExt as _;

use crate::{asked, send};

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "weighed")]
struct Weighed {
    grams: i128,
    share: f64,
}

#[derive(EventSet, Clone)]
enum ScaleEvent {
    Weighed(Weighed),
}

#[derive(Default)]
struct Scale;

impl Aggregate for Scale {
    const CATEGORY: &'static str = "scale";
    type Id = u8;
    type Event = ScaleEvent;

    fn evolve(&mut self, _: &ScaleEvent) {}
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "weigh", on = Scale, either)]
struct Weigh {
    #[command(id)]
    scale: u8,
    grams: i128,
    of: u64,
}

impl Decide for Weigh {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Scale) -> Decision<Self> {
        // NaN for `of == 0`, which JSON cannot represent.
        let share = 0.0 / self.of as f64;
        Ok(Weighed { grams: self.grams, share }.into())
    }
}

/// A weighing.
#[derive(RequestFields, Clone, Debug)]
struct WeighBody {
    /// Weight, in grams.
    grams: Grams,
    /// Total, in grams.
    of: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Grams(i128);

impl gesta_http::Schema for Grams {
    fn schema(_: &mut gesta_http::Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "integer" })
    }
}

async fn weigh(commands: Commands, body: JsonBody<WeighBody>) -> Result<Created, Problem> {
    let JsonBody(WeighBody { grams: Grams(grams), of }) = body;
    commands.create(Weigh { scale: 1, grams, of }, 1, "/scales").await
}

async fn history(
    queries: Queries,
    links: PageLinks,
    list: QueryOf<ListHistory>,
) -> Result<Resource<Paged<HistoryEntry>>, Problem> {
    let stream = StreamName::new("scale-1").expect("a name");
    queries.history(stream, &list, &links).await?.found("scale")
}

fn api() -> Api {
    let routes = [
        ApiRoute::post("/scales", "Weighs").handle(weigh),
        ApiRoute::get("/scales/1/history", "Lists the history").handle(history),
    ];
    Api::new("Scales", "1.0").operated_under("/v1").with("scales", routes)
}

/// Returns a router and its application.
async fn scales() -> (Router, Gesta) {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    (api().router(GestaState::new(gesta.clone())), gesta)
}

async fn append(gesta: &Gesta, content_type: &str, data: &'static [u8]) {
    let event_type = EventType::new("noted").unwrap();
    let content_type = ContentType::new(content_type).unwrap();
    let event = NewEvent::new(EventId::random(), event_type, content_type, data);
    let stream = StreamName::new("scale-1").unwrap();
    gesta.store().append(Append::to(stream, ExpectedRevision::Any, [event])).await.unwrap();
}

fn weighing(body: &str) -> Request<Body> {
    let request = Request::post("/scales").header("content-type", "application/json");
    request.body(Body::from(body.to_owned())).unwrap()
}

/// Returns the raw text of a response: a JSON parser would round numbers.
async fn text(router: &Router, path: &str) -> String {
    let response = router.clone().oneshot(asked("GET", path)).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.into()).unwrap()
}

/// Returns the first chunk of a feed.
async fn first_of_feed(router: &Router) -> String {
    let response = router.clone().oneshot(asked("GET", "/v1/events")).await.unwrap();
    let chunk = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    String::from_utf8(chunk.into()).unwrap()
}

#[tokio::test]
async fn long_numbers_and_decimals_are_sent_as_they_were_written() {
    for written in [
        r#"{"b":0.1234567890123456789,"a":123456789012345678901,"c":1.10}"#,
        r#"{"a":1,"a":2}"#,
        "[1e2,-0.0,9007199254740993]",
        "null",
    ] {
        let (router, gesta) = scales().await;
        append(&gesta, "application/json", written.as_bytes()).await;
        for sent in [text(&router, "/scales/1/history").await, first_of_feed(&router).await] {
            assert!(sent.contains(&format!(r#""data":{written}"#)), "{written}: {sent}");
        }
    }
}

#[tokio::test]
async fn a_payload_that_is_not_json_is_sent_as_base64_with_its_type() {
    for (content_type, data, base64) in [
        ("text/plain", &b"soap"[..], "c29hcA=="),
        ("application/json", b"", ""),
        ("application/json", b"\xef\xbb\xbf{}", "77u/e30="),
    ] {
        let (router, gesta) = scales().await;
        append(&gesta, content_type, data).await;
        for sent in [text(&router, "/scales/1/history").await, first_of_feed(&router).await] {
            let expected = format!(r#""contentType":"{content_type}","dataBase64":"{base64}""#);
            assert!(sent.contains(&expected) && !sent.contains(r#""data":"#), "{sent}");
        }
    }
}

#[tokio::test]
async fn a_whole_number_of_any_length_comes_in_as_it_is_written() {
    let (router, _) = scales().await;
    let longest = i128::MIN;
    let body = format!(r#"{{"grams":{longest},"of":18446744073709551615}}"#);
    let (status, _, answer) = send(router.clone(), weighing(&body)).await;
    assert_eq!(status, 201, "{answer}");
    let sent = text(&router, "/scales/1/history").await;
    assert!(sent.contains(&format!(r#""data":{{"grams":{longest},"share":0.0}}"#)), "{sent}");
}

#[tokio::test]
async fn a_decision_that_could_not_be_read_back_is_refused_with_its_field() {
    let (router, _) = scales().await;
    let (status, _, problem) = send(router.clone(), weighing(r#"{"grams":1,"of":0}"#)).await;
    assert_eq!((status, &problem["code"]), (422, &"unencodable".into()));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("weighed cannot be recorded: share is NaN"), "{detail}");
    assert_eq!(send(router, asked("GET", "/scales/1/history")).await.0, 404, "nothing happened");
}

#[tokio::test]
async fn an_unknown_stored_event_is_a_problem_with_its_type_and_position() {
    let (router, gesta) = scales().await;
    append(&gesta, "application/json", b"{}").await;
    let (status, _, problem) = send(router, weighing(r#"{"grams":1,"of":1}"#)).await;
    assert_eq!((status, &problem["code"]), (500, &"undecodable-event".into()));
    let detail = problem["detail"].as_str().unwrap();
    let place = "the event at revision 0 of scale-1 cannot be read (type noted, position 1)";
    assert!(detail.starts_with(place), "{detail}");
    assert!(detail.contains(r#"#[events(ignore("noted"))]"#), "the way out: {detail}");
}
