//! The domain of the tests: a library that lends books.

use gesta::{
    Answer, Apply, ApplyError, Builder, Clock, Gesta, Projection, Query, QueryError, Revision,
    SystemClock, TenantId,
    prelude::*,
    store::{MemoryReadModels, MemoryReader, Rows},
};
use gesta_http::{Api, ApiRoute, ListPage, Problem, RequestFields, Schema};
use tokio::sync::Notify;

use crate::readers::{self, Readers};

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

#[derive(EventSet, Clone)]
enum BookEvent {
    Added(BookAdded),
    Lent(BookLent),
}

#[derive(Default)]
struct Book {
    lent_to: Option<String>,
}

impl Aggregate for Book {
    const CATEGORY: &'static str = "book";
    type Id = String;
    type Event = BookEvent;

    fn evolve(&mut self, event: &BookEvent) {
        match event {
            BookEvent::Added(_) => {}
            BookEvent::Lent(lent) => self.lent_to = Some(lent.to.clone()),
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "add-book", on = Book, new)]
struct AddBook {
    #[command(id)]
    book: String,
    title: String,
}

impl Decide for AddBook {
    type Rejection = std::convert::Infallible;

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

#[derive(Debug, thiserror::Error, Rejection)]
#[error("the book is lent to {to}")]
#[rejection(code = "book-lent")]
struct IsLent {
    to: String,
}

impl Decide for LendBook {
    type Rejection = IsLent;

    fn decide(&self, book: &Book) -> Decision<Self> {
        if let Some(to) = &book.lent_to {
            return Err(IsLent { to: to.clone() });
        }
        Ok(BookLent { to: self.to.clone() }.into())
    }
}

/// A kind of book.
#[derive(Schema, Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum BookState {
    OnTheShelf,
    Lent,
}

/// A book on a shelf, or at a reader's.
#[derive(Schema, Serialize, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BookDetails {
    /// Its name.
    book: String,
    /// Its title.
    title: String,
    /// Its state.
    state: BookState,
    /// Reader who has it.
    lent_to: Option<String>,
    #[serde(skip)]
    revision: u64,
}

/// The book and its revision, as they are stored.
type BookRow = (BookDetails, u64);

struct Books;

impl Projection for Books {
    const NAME: &'static str = "books";
    type Event = BookEvent;
}

impl<Tx: Rows> Apply<Tx> for Books {
    async fn apply(&self, tx: &mut Tx, events: &[Recorded<BookEvent>]) -> Result<(), ApplyError> {
        for event in events {
            let name = event.stream.as_str().trim_start_matches("book-").to_owned();
            let known: Option<BookRow> = tx.get("books", &name).await?;
            let details = match (&event.event, known) {
                (BookEvent::Added(added), _) => BookDetails {
                    book: name.clone(),
                    title: added.title.clone(),
                    state: BookState::OnTheShelf,
                    lent_to: None,
                    revision: 0,
                },
                (BookEvent::Lent(lent), Some((known, _))) => {
                    BookDetails { state: BookState::Lent, lent_to: Some(lent.to.clone()), ..known }
                }
                (BookEvent::Lent(_), None) => continue,
            };
            tx.put("books", &name, &(details, event.revision.number())).await?;
        }
        Ok(())
    }
}

#[derive(Query)]
#[query(reads = Books, answer = Option<BookDetails>)]
struct FindBook {
    book: String,
}

/// A look-up of the book `held` tells that it has begun, and waits.
pub(crate) static HELD: Held = Held { begun: Notify::const_new(), let_go: Notify::const_new() };

/// The begin and the end of a query that takes long.
pub(crate) struct Held {
    pub(crate) begun: Notify,
    pub(crate) let_go: Notify,
}

impl Answer<MemoryReader> for FindBook {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        if self.book == "held" {
            HELD.begun.notify_one();
            HELD.let_go.notified().await;
        }
        let row: Option<BookRow> = rows.get("books", &self.book).await?;
        Ok(row.map(|(details, revision)| BookDetails { revision, ..details }))
    }
}

/// Books after a name, and the last name if there are more.
struct BookPage(Vec<BookDetails>, Option<String>);

impl ListPage for BookPage {
    type Item = BookDetails;

    fn into_items(self) -> (Vec<BookDetails>, Option<String>) {
        (self.0, self.1)
    }
}

#[derive(Query)]
#[query(reads = Books, answer = BookPage)]
struct ListBooks {
    state: Option<BookState>,
    lent_to: Option<String>,
    after: String,
    limit: u16,
}

impl Answer<MemoryReader> for ListBooks {
    async fn answer(&self, rows: &mut MemoryReader) -> Result<Self::Answer, QueryError> {
        let mut books = Vec::new();
        for name in ["dracula", "emma", "faust"] {
            let row: Option<BookRow> = rows.get("books", name).await?;
            books.extend(row.map(|(details, _)| details));
        }
        let is_wanted = |book: &BookDetails| match self.state {
            None => true,
            Some(BookState::Lent) => book.lent_to.is_some(),
            Some(BookState::OnTheShelf) => book.lent_to.is_none(),
        };
        let is_at = |book: &BookDetails| self.lent_to.is_none() || self.lent_to == book.lent_to;
        books.retain(|book| book.book > self.after && is_wanted(book) && is_at(book));
        let limit = usize::from(self.limit);
        let last = (books.len() > limit).then(|| books[limit - 1].book.clone());
        books.truncate(limit);
        Ok(BookPage(books, last))
    }
}

/// The book to add.
#[derive(RequestFields)]
#[request(command = AddBook)]
struct NewBook {
    /// Name of the book.
    book: String,
    /// Title on its cover.
    title: String,
}

/// The lending to record.
#[derive(RequestFields)]
#[request(command = LendBook, path(book: String))]
struct Lending {
    /// Reader who takes it.
    to: String,
}

/// Search for books.
#[derive(RequestFields)]
struct BookSearch {
    /// Only books in this state.
    state: Option<BookState>,
    /// Only books that this reader has.
    lent_to: Option<String>,
}

pub(crate) fn api() -> Api {
    let routes = [
        ApiRoute::post("/books", "Adds a book").create(NewBook::into_command),
        ApiRoute::post("/books/{book}/lend", "Lends a book")
            .update(Lending::into_command)
            .rejects(&["book-lent"]),
        ApiRoute::post("/books/{book}/burn", "Refuses to burn a book")
            .update(|(), book: String, _| match book.as_str() {
                "" => Ok(LendBook { book, to: String::new() }),
                _ => Err(Problem::rejected("never", "books are not burnt")),
            })
            .operation_id("burnBook"),
        ApiRoute::get("/books/{book}", "Returns a book").find_versioned(
            "book",
            |book: String| FindBook { book },
            |book| Revision::new(book.revision),
        ),
        ApiRoute::get("/books", "Lists books").list("books", |search: BookSearch, (), page| {
            ListBooks {
                state: search.state,
                lent_to: search.lent_to,
                after: page.after.unwrap_or_default(),
                limit: page.limit.number(),
            }
        }),
    ];
    let api = Api::new("Library", "1.0").operated_under("/v1").with("books", routes);
    readers::links().into_iter().fold(api.with("readers", readers::routes()), Api::link)
}

/// Returns the command that adds a book.
pub(crate) fn book(name: &str) -> impl Decide {
    AddBook { book: name.to_owned(), title: format!("{name}!") }
}

pub(crate) async fn open() -> Gesta {
    open_at(SystemClock).await
}

/// Opens the library of a tenant.
pub(crate) async fn open_for(tenant: TenantId) -> Gesta {
    opened(Gesta::at("memory:").tenant(tenant)).await
}

/// Opens a library with this clock.
pub(crate) async fn open_at(clock: impl Clock) -> Gesta {
    opened(Gesta::at("memory:").clock(clock)).await
}

async fn opened(library: Builder) -> Gesta {
    let library = library.project(Books, &MemoryReadModels::new());
    library.project(Readers, &MemoryReadModels::new()).open().await.unwrap()
}
