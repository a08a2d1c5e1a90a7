//! The program of the guide to HTTP: a library that lends books.
//!
//! `docs/guide/http.md` has the same code, block by block; a test compares the two.

use std::convert::Infallible;

use gesta::prelude::*;

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "book-added")]
struct BookAdded {
    title: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "book-lent")]
struct BookLent {
    to: String,
}

#[derive(Event, Serialize, Deserialize, Clone)]
#[event(name = "book-returned")]
struct BookReturned;

#[derive(EventSet, Clone)]
enum BookEvent {
    Added(BookAdded),
    Lent(BookLent),
    Returned(BookReturned),
}

#[derive(Default)]
struct Book {
    is_lent: bool,
}

impl Aggregate for Book {
    const CATEGORY: &'static str = "book";
    type Id = String;
    type Event = BookEvent;

    fn evolve(&mut self, event: &BookEvent) {
        match event {
            BookEvent::Added(_) => {}
            BookEvent::Lent(_) => self.is_lent = true,
            BookEvent::Returned(_) => self.is_lent = false,
        }
    }
}

#[derive(Debug, thiserror::Error, Rejection)]
#[error("the book is lent")]
#[rejection(code = "book-lent")]
struct IsLent;

#[derive(Command, Serialize, Deserialize)]
#[command(name = "add-book", on = Book, new)]
struct AddBook {
    #[command(id)]
    book: String,
    title: String,
}

impl Decide for AddBook {
    type Rejection = Infallible;

    fn decide(&self, _: &Book) -> Decision<Self> {
        Ok(BookAdded { title: self.title.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "lend-book", on = Book)]
struct LendBook {
    #[command(id)]
    book: String,
    to: String,
}

impl Decide for LendBook {
    type Rejection = IsLent;

    fn decide(&self, book: &Book) -> Decision<Self> {
        if book.is_lent { Err(IsLent) } else { Ok(BookLent { to: self.to.clone() }.into()) }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "return-book", on = Book)]
struct ReturnBook {
    #[command(id)]
    book: String,
}

impl Decide for ReturnBook {
    type Rejection = Infallible;

    fn decide(&self, book: &Book) -> Decision<Self> {
        Ok(if book.is_lent { BookReturned.into() } else { Events::none() })
    }
}

use gesta::{Revision, sqlite, store::ListRows};
use gesta_http::{ListPage, PageRequest, Schema};

/// A book of the library.
#[derive(Schema, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BookRow {
    /// Id of the book.
    book: String,
    /// Title of the book.
    title: String,
    /// Name of the person who has the book.
    lent_to: Option<String>,
    /// Revision of the book.
    revision: u64,
}

struct Books;

impl Projection for Books {
    const NAME: &'static str = "books";
    type Event = BookEvent;
}

impl Apply<sqlite::Tx> for Books {
    async fn apply(
        &self,
        tx: &mut sqlite::Tx,
        events: &[Recorded<BookEvent>],
    ) -> Result<(), ApplyError> {
        for recorded in events {
            let book = recorded.stream.as_str().trim_start_matches("book-");
            let mut row: BookRow = tx.get("books", book).await?.unwrap_or_default();
            match &recorded.event {
                BookEvent::Added(BookAdded { title }) => {
                    (row.book, row.title) = (book.to_owned(), title.clone());
                }
                BookEvent::Lent(lent) => row.lent_to = Some(lent.to.clone()),
                BookEvent::Returned(_) => row.lent_to = None,
            }
            row.revision = recorded.revision.number();
            tx.put("books", book, &row).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Books, answer = Option<BookRow>)]
struct FindBook {
    book: String,
}

impl Answer<sqlite::Reader> for FindBook {
    async fn answer(&self, rows: &mut sqlite::Reader) -> Result<Self::Answer, QueryError> {
        Ok(rows.get("books", &self.book).await?)
    }
}

#[derive(Query)]
#[query(reads = Books, answer = BookPage)]
struct ListBooks {
    page: PageRequest<String>,
}

/// A page of books, and whether another one follows.
struct BookPage(Vec<BookRow>, bool);

impl Answer<sqlite::Reader> for ListBooks {
    async fn answer(&self, rows: &mut sqlite::Reader) -> Result<BookPage, QueryError> {
        let limit = usize::from(self.page.limit.number());
        let after = self.page.after.as_deref();
        // One row more than the page has shows whether another page follows.
        let list = ListRows::of("books").after(after).limit(limit + 1);
        let mut found: Vec<(String, BookRow)> = rows.list(list).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(BookPage(found.into_iter().map(|(_, row)| row).collect(), more))
    }
}

impl ListPage for BookPage {
    type Item = BookRow;

    fn into_items(self) -> (Vec<BookRow>, Option<String>) {
        let Self(rows, more) = self;
        let last = rows.last().filter(|_| more).map(|row| row.book.clone());
        (rows, last)
    }
}

use gesta_http::{Api, ApiRoute, RequestFields};

/// The book to add.
#[derive(RequestFields)]
#[request(command = AddBook)]
struct NewBook {
    /// Id of the book.
    book: String,
    /// Title of the book.
    title: String,
}

/// Details of a loan.
#[derive(RequestFields)]
#[request(command = LendBook, path(book: String))]
struct Loan {
    /// Name of the person who takes the book.
    to: String,
}

fn api() -> Api {
    let add = ApiRoute::post("/books", "Adds a book").create(NewBook::into_command);
    let lend = ApiRoute::post("/books/{book}/lend", "Lends a book")
        .update(Loan::into_command)
        .rejects(&["book-lent"]);
    let find = ApiRoute::get("/books/{book}", "Returns a book").find_versioned(
        "book",
        |book| FindBook { book },
        |row| Revision::new(row.revision),
    );
    let list =
        ApiRoute::get("/books", "Lists books").list("books", |(), (), page| ListBooks { page });
    Api::new("Library", "1.0").with("books", [add, lend, find, list])
}

use axum::{
    Router,
    extract::{FromRef, Path, State},
    routing::{get, post},
};
use gesta_http::{GestaState, HttpRules, Problem, UpdateCommands, Updated};

#[derive(Clone)]
struct Library {
    name: &'static str,
    is_open: bool,
    gesta: GestaState,
}

impl FromRef<Library> for GestaState {
    fn from_ref(library: &Library) -> Self {
        library.gesta.clone()
    }
}

async fn welcome(State(library): State<Library>) -> String {
    format!("Welcome to {}", library.name)
}

async fn give_back(
    commands: UpdateCommands,
    State(library): State<Library>,
    Path(book): Path<String>,
) -> Result<Updated, Problem> {
    if !library.is_open {
        return Err(Problem::rejected("library-closed", "the library opens at nine"));
    }
    commands.execute(ReturnBook { book }).await
}

fn router(library: Library) -> Router {
    Router::new()
        .route("/books/{book}/return", post(give_back))
        .layer(HttpRules::new(&library.gesta))
        .route("/", get(welcome))
        .merge(api().nested(library.gesta.clone()))
        .with_state(library)
}

use gesta_http::serve;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let read_models = sqlite::Sqlite::open("data/read-models").await?;
    let gesta = Gesta::at("gesta:./data").project(Books, &read_models).open().await?;
    let state = GestaState::new(gesta.clone());
    let router = router(Library { name: "Main Street", is_open: true, gesta: state.clone() });
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve(listener, router, state, std::future::pending()).await?;
    gesta.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{HeaderMap, Request, request::Builder},
    };
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn library() -> Router {
        let read_models = sqlite::Sqlite::temporary().await.expect("a temporary directory");
        let gesta = Gesta::at("memory:").project(Books, &read_models).open().await;
        let gesta = GestaState::new(gesta.expect("a memory store opens"));
        router(Library { name: "Main Street", is_open: true, gesta })
    }

    async fn send(router: &Router, request: Builder, body: Value) -> (u16, HeaderMap, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.header("content-type", "application/json").body(body);
        let request = request.expect("the request is well-formed");
        let response = router.clone().oneshot(request).await.expect("a router answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("the body is read");
        (status, headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn add(router: &Router) -> (u16, HeaderMap, Value) {
        let emma = json!({ "book": "emma", "title": "Emma" });
        send(router, Request::post("/books"), emma).await
    }

    async fn lend(router: &Router, request: Builder) -> (u16, HeaderMap, Value) {
        send(router, request.uri("/books/emma/lend").method("POST"), json!({ "to": "Ann" })).await
    }

    #[tokio::test]
    async fn a_problem_has_a_status_and_a_code() {
        let library = library().await;
        let (status, _, problem) = lend(&library, Request::builder()).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not-found")));
        add(&library).await;
        lend(&library, Request::builder()).await;
        let (status, _, problem) = lend(&library, Request::builder()).await;
        assert_eq!((status, &problem["code"]), (422, &json!("book-lent")));
        let wrong = json!({ "to": 7, "until": "May" });
        let (status, _, problem) = send(&library, Request::post("/books/emma/lend"), wrong).await;
        assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(2)));
    }

    #[tokio::test]
    async fn a_change_of_an_old_state_is_refused() {
        let library = library().await;
        let (_, added, _) = add(&library).await;
        lend(&library, Request::builder()).await;
        let stale = Request::post("/books/emma/return").header("if-match", &added["etag"]);
        let (status, _, problem) = send(&library, stale, Value::Null).await;
        assert_eq!((status, &problem["code"]), (412, &json!("revision-mismatch")));
        assert_eq!(problem["revision"], 1);
    }

    #[tokio::test]
    async fn a_repeated_request_changes_nothing() {
        let library = library().await;
        add(&library).await;
        let (first, _, _) =
            lend(&library, Request::builder().header("idempotency-key", "k1")).await;
        let (again, _, _) =
            lend(&library, Request::builder().header("idempotency-key", "k1")).await;
        assert_eq!((first, again), (200, 200), "without the key, the book would be lent already");
    }

    #[tokio::test]
    async fn a_reader_sees_its_own_write() {
        let library = library().await;
        add(&library).await;
        let (_, lent, _) = lend(&library, Request::builder()).await;
        let find = Request::get("/books/emma").header("gesta-position", &lent["gesta-position"]);
        let (status, _, book) = send(&library, find, Value::Null).await;
        assert_eq!((status, &book["lentTo"]), (200, &json!("Ann")));
    }
}
