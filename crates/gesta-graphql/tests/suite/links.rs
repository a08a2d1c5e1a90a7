//! Links between resources: their calls, their rights, and what they cost.

use std::sync::{Arc, Mutex};

use gesta::{Gesta, audit::Operator};
use gesta_graphql::{GraphQl, GraphQlLimits};
use gesta_http::{
    Access, AccessRole, AccessRules, ApiKeys, GestaState, NewApiKey, OwnedRequest, Ownership,
    Problem, Right,
};
use serde_json::{Value, json};

use crate::{Client, library, subscriptions::Live};

/// Tells what a call asks for, and records it.
#[derive(Clone)]
struct Recorder {
    calls: Arc<Mutex<Vec<String>>>,
    refuses: fn(&str) -> Refusal,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    No,
    Forbidden,
    /// A problem of this status.
    Status(u16),
}

impl Ownership for Recorder {
    async fn owns(&self, _: &Gesta, request: &OwnedRequest) -> Result<bool, Problem> {
        let id = request.path("reader").or(request.path("book")).unwrap_or_default();
        let call = format!("{} {id}", request.operation()).trim_end().to_owned();
        self.calls.lock().unwrap().push(call.clone());
        match (self.refuses)(&call) {
            Refusal::No => Ok(true),
            Refusal::Forbidden => Ok(false),
            Refusal::Status(status) => {
                let status = status.try_into().unwrap();
                Err(Problem::new(status, "recorded", "the call is refused"))
            }
        }
    }
}

/// A library whose calls are recorded.
struct Recorded {
    client: Client,
    calls: Arc<Mutex<Vec<String>>>,
    key: NewApiKey,
}

impl Recorded {
    async fn new(refuses: fn(&str) -> Refusal) -> Self {
        Self::limited(refuses, GraphQlLimits::DEFAULT).await
    }

    async fn limited(refuses: fn(&str) -> Refusal, limits: GraphQlLimits) -> Self {
        let (calls, key) = (Arc::default(), NewApiKey::random());
        let role = AccessRole::named("reader")
            .may(["addBook", "lendBook", "nameReader"])
            .may_own(["findBook", "listBooks", "findReader", "listReaders"]);
        let keys = ApiKeys::parse(&key.line("ann", &["reader"])).unwrap();
        let recorder = Recorder { calls: Arc::clone(&calls), refuses };
        // Rules cover all routes.
        let staff = AccessRole::named("staff").has(Right::ALL);
        let access = Access::new(AccessRules::new([role, staff])).by(keys).ownership(recorder);
        let state = GestaState::new(library::open().await).access(access);
        let router = GraphQl::over(library::api()).limits(limits).router(state.clone());
        Self { client: Client { router, state }, calls, key }
    }

    async fn ask(&self, query: &str) -> Value {
        let headers = [("x-api-key", self.key.secret())];
        self.client.ask(query, json!({}), &headers).await.json
    }

    /// Returns the data of an answer without errors.
    async fn ok(&self, query: &str) -> Value {
        let answer = self.ask(query).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].clone()
    }

    /// Adds three books, and lends them to these readers, who have names unless they are strangers.
    async fn lend(&self, readers: [&str; 3]) {
        let mut commands = String::new();
        for (book, reader) in ["dracula", "emma", "faust"].into_iter().zip(readers) {
            commands += &format!(
                "add_{book}: addBook(input: {{ book: \"{book}\", title: \"{book}!\" }}) \
                 {{ __typename }} lend_{book}: lendBook(book: \"{book}\", \
                 input: {{ to: \"{reader}\" }}) {{ __typename }} "
            );
            if reader != "stranger" {
                commands += &format!(
                    "name_{book}: nameReader(reader: \"{reader}\", \
                     input: {{ name: \"Dr. {reader}\" }}) {{ __typename }} "
                );
            }
        }
        self.ok(&format!("mutation {{ {commands} }}")).await;
    }

    /// Returns the recorded calls since the last time.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

const NONE: fn(&str) -> Refusal = |_| Refusal::No;

/// The names of the readers of all books, no older than what was lent.
fn readers(at_least: u64) -> String {
    format!("{{ books(atLeast: {at_least}) {{ items {{ reader {{ name }} }} }} }}")
}

fn named(name: &str) -> Value {
    json!({ "reader": { "name": name } })
}

#[tokio::test]
async fn what_several_objects_link_to_is_one_call() {
    let library = Recorded::new(NONE).await;
    library.lend(["ann", "bob", "ann"]).await;
    let found = library.ok(&readers(9)).await;
    let expected = json!([named("Dr. ann"), named("Dr. bob"), named("Dr. ann")]);
    assert_eq!(found["books"]["items"], expected);
    assert_eq!(library.calls(), ["listBooks", "listReaders"]);
}

#[tokio::test]
async fn equal_look_ups_of_an_answer_are_one() {
    let library = Recorded::new(NONE).await;
    library.lend(["ann", "ann", "ann"]).await;
    let book = "book(book: \"emma\", atLeast: 9) { reader { name } }";
    let all = "books(atLeast: 9) { items { reader { name } also: reader { reader } } }";
    let found = library.ok(&format!("{{ {book} again: {book} {all} }}")).await;
    assert_eq!(found["book"], named("Dr. ann"));
    assert_eq!(found["books"]["items"][2]["also"]["reader"], "ann");
    let mut calls = library.calls();
    calls.sort();
    assert_eq!(calls, ["findBook emma", "findBook emma", "findReader ann", "listBooks"]);
}

#[tokio::test]
async fn what_is_linked_reflects_the_position_of_its_root() {
    let library = Recorded::new(NONE).await;
    let state = &library.client.state;
    state.gesta().pause_projection("readers", &Operator::new("olga")).await.unwrap();
    library.lend(["ann", "bob", "ann"]).await;
    let at = state.gesta().store().head().await.unwrap().position.number();
    let two = format!(
        "{{ late: books(atLeast: {at}) {{ items {{ reader {{ name }} }} }} \
         any: books {{ items {{ reader {{ name }} }} }} }}"
    );
    // The second field may find books that were lent, too; its look-ups wait for nothing.
    let answer = library.ask(&two).await;
    assert_eq!(answer["data"]["late"]["items"][0]["reader"], Value::Null);
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{answer}");
    for error in errors {
        assert_eq!(error["path"][0], "late", "{answer}");
        assert_eq!(error["extensions"]["status"], 503, "{answer}");
    }
}

#[tokio::test]
async fn what_is_missing_is_null_without_an_error() {
    let library = Recorded::new(NONE).await;
    library.lend(["stranger", "bob", "other"]).await;
    library.ok("mutation { addBook(input: { book: \"x\", title: \"X\" }) { __typename } }").await;
    let found = library.ok(&readers(9)).await;
    assert_eq!(found["books"]["items"][0], json!({ "reader": null }));
    assert_eq!(found["books"]["items"][1], named("Dr. bob"));
    library.calls();
    let one =
        |book: &str| format!("{{ book(book: \"{book}\", atLeast: 9) {{ reader {{ name }} }} }}");
    assert_eq!(library.ok(&one("dracula")).await["book"]["reader"], Value::Null);
    assert_eq!(library.calls(), ["findBook dracula", "findReader stranger"]);
    assert_eq!(library.ok(&one("x")).await["book"]["reader"], Value::Null);
    assert_eq!(library.calls(), ["findBook x"], "a book on the shelf has no reader");
}

#[tokio::test]
async fn a_refused_batch_is_looked_up_one_by_one() {
    for status in [400, 403, 422] {
        let refuses: fn(&str) -> Refusal = match status {
            400 => |call| if call == "listReaders" { Refusal::Status(400) } else { by_bob(call) },
            422 => |call| if call == "listReaders" { Refusal::Status(422) } else { by_bob(call) },
            _ => |call| if call == "listReaders" { Refusal::Forbidden } else { by_bob(call) },
        };
        let library = Recorded::new(refuses).await;
        library.lend(["ann", "bob", "ann"]).await;
        let answer = library.ask(&readers(9)).await;
        let items = &answer["data"]["books"]["items"];
        assert_eq!(*items, json!([named("Dr. ann"), { "reader": null }, named("Dr. ann")]));
        let [error] = &answer["errors"].as_array().unwrap()[..] else { panic!("{answer}") };
        assert_eq!(error["extensions"]["code"], "forbidden");
        assert_eq!(error["path"], json!(["books", "items", 1, "reader"]));
        let mut calls = library.calls();
        calls.sort();
        let expected = ["findReader ann", "findReader bob", "listBooks", "listReaders"];
        assert_eq!(calls, expected, "{status}");
    }
}

/// Refuses the look-up of Bob.
fn by_bob(call: &str) -> Refusal {
    if call == "findReader bob" { Refusal::Forbidden } else { Refusal::No }
}

#[tokio::test]
async fn a_batch_that_fails_otherwise_is_not_repeated() {
    for status in [429, 503] {
        let refuses: fn(&str) -> Refusal = match status {
            429 => |call| if call == "listReaders" { Refusal::Status(429) } else { Refusal::No },
            _ => |call| if call == "listReaders" { Refusal::Status(503) } else { Refusal::No },
        };
        let library = Recorded::new(refuses).await;
        library.lend(["ann", "bob", "ann"]).await;
        let answer = library.ask(&readers(9)).await;
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 3, "{answer}");
        assert!(errors.iter().all(|error| error["extensions"]["status"] == status), "{answer}");
        assert_eq!(library.calls(), ["listBooks", "listReaders"]);
    }
}

#[tokio::test]
async fn a_link_to_a_list_takes_its_arguments() {
    let library = Recorded::new(NONE).await;
    library.lend(["ann", "bob", "ann"]).await;
    let query = "{ reader(reader: \"ann\", atLeast: 9) { \
                 all: books(limit: 5) { items { title } next } \
                 first: books(limit: 1, state: lent) { items { title reader { name } } next } \
                 shelf: books(limit: 1, state: on_the_shelf) { items { title } } } }";
    let found = library.ok(query).await["reader"].clone();
    let all = json!([{ "title": "dracula!" }, { "title": "faust!" }]);
    assert_eq!(found["all"], json!({ "items": all, "next": null }));
    assert_eq!(found["first"]["items"][0]["reader"]["name"], "Dr. ann");
    assert!(found["first"]["next"].is_string(), "{found}");
    assert_eq!(found["shelf"]["items"], json!([]));
}

#[tokio::test]
async fn links_cost_their_objects_and_their_calls() {
    let limited = |cost| Recorded::limited(NONE, GraphQlLimits::DEFAULT.cost_max(cost));
    let code = |answer: Value| answer["errors"][0]["extensions"]["code"].clone();
    // The list and one call for all readers; its items, 50 readers and 50 names.
    let one_call = "{ books(limit: 50) { items { reader { name } } } }";
    limited(301).await.ok(one_call).await;
    assert_eq!(code(limited(300).await.ask(one_call).await), "query-too-costly");
    // The list and two calls: one of them finds 100 at most.
    let two_calls = "{ books(limit: 101) { items { reader { name } } } }";
    limited(503).await.ok(two_calls).await;
    assert_eq!(code(limited(502).await.ask(two_calls).await), "query-too-costly");
    // A call for each of ten readers, whose pages have two entries.
    let lists = "{ readers(limit: 10) { items { books(limit: 2) { items { title } } } } }";
    limited(1_141).await.ok(lists).await;
    assert_eq!(code(limited(1_140).await.ask(lists).await), "query-too-costly");
}

#[tokio::test]
async fn links_count_as_depth() {
    let deep = "{ books { items { reader { books(limit: 1) { items { title } } } } } }";
    let limited = |depth| Recorded::limited(NONE, GraphQlLimits::DEFAULT.depth_max(depth));
    limited(6).await.ok(deep).await;
    let refused = limited(5).await.ask(deep).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "query-too-deep");
}

#[tokio::test]
async fn a_live_query_answers_again_when_what_is_linked_has_changed() {
    let client = Client::new().await;
    let name = async |name: &str| {
        let mutation = format!(
            "mutation {{ nameReader(reader: \"ann\", input: {{ name: \"{name}\" }}) \
             {{ ... on Changed {{ position }} }} }}"
        );
        client.ok(&mutation).await["data"]["nameReader"]["position"].as_u64().unwrap()
    };
    client.add("emma").await;
    client.ok("mutation { lendBook(book: \"emma\", input: { to: \"ann\" }) { __typename } }").await;
    let position = name("Ann").await;
    let query = format!(
        "subscription {{ book(book: \"emma\", atLeast: {position}) {{ title reader {{ name }} }} }}"
    );
    let mut live = Live::open(&client, &query).await;
    let ann = |name: &str| json!({ "title": "emma!", "reader": { "name": name } });
    assert_eq!(live.next().await.unwrap()["data"]["book"], ann("Ann"));
    // Neither another book nor the same name changes the answer.
    client.add("faust").await;
    name("Ann").await;
    let last = name("Anna").await;
    let second = live.next().await.unwrap();
    assert_eq!(second["data"]["book"], ann("Anna"));
    assert_eq!(second["extensions"]["position"], last);
}

#[tokio::test]
async fn a_live_query_goes_on_after_an_error_behind_a_link() {
    let library = Recorded::new(|call| match call {
        "listReaders" | "findReader ann" => Refusal::Forbidden,
        _ => Refusal::No,
    })
    .await;
    library.lend(["ann", "bob", "bob"]).await;
    let query = "subscription { books(atLeast: 9) { items { reader { name } } } }";
    let key = [("x-api-key", library.key.secret())];
    let mut live = Live::open_as(&library.client, query, &key).await;
    for name in ["Dr. bob", "Bob"] {
        let answer = live.next().await.unwrap();
        let expected = json!([{ "reader": null }, named(name), named(name)]);
        assert_eq!(answer["data"]["books"]["items"], expected);
        let [error] = &answer["errors"].as_array().unwrap()[..] else { panic!("{answer}") };
        assert_eq!(error["path"], json!(["books", "items", 0, "reader"]));
        assert_eq!(error["extensions"]["code"], "forbidden");
        let renamed = "mutation { nameReader(reader: \"bob\", input: { name: \"Bob\" }) \
                       { __typename } }";
        library.ok(renamed).await;
    }
}

#[tokio::test]
async fn the_schema_has_links_with_the_arguments_of_their_operations() {
    let client = Client::new().await;
    let query = "{ book: __type(name: \"BookDetails\") { fields { name type { kind name } args { name } } } \
                 reader: __type(name: \"ReaderDetails\") { fields { name type { kind name } args { name } } } }";
    let types = client.ok(query).await["data"].clone();
    let link = |of: &str, name: &str| {
        let fields = types[of]["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap().clone()
    };
    let reader = link("book", "reader");
    assert_eq!(reader["type"], json!({ "kind": "OBJECT", "name": "ReaderDetails" }));
    assert_eq!(reader["args"], json!([]));
    let books = link("reader", "books");
    let names: Vec<_> =
        books["args"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["state", "cursor", "limit"]);
}
